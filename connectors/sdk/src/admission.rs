//! Limits at the door: a push source asks before it reads a body.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderMap;

/// What is known about a request before its body is read.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// The client's address, behind trusted proxies the forwarded one.
    pub client: IpAddr,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// Decides who may come in.
pub trait Limiter: Send + Sync + 'static {
    /// Charges one unit, or says when to come back.
    ///
    /// # Errors
    /// [`Limited`] with the figures for the answer's headers.
    fn admit(&self, arrival: Arrival<'_>) -> Result<Admitted, Limited>;
}

/// A source's access to the limits of its pipeline.
#[derive(Clone)]
pub struct Admission(Arc<dyn Limiter>);

impl Admission {
    /// Asks `limiter`.
    #[must_use]
    pub fn new(limiter: Arc<dyn Limiter>) -> Self {
        Self(limiter)
    }

    /// Admits everything.
    #[must_use]
    pub fn unlimited() -> Self {
        struct Unlimited;
        impl Limiter for Unlimited {
            fn admit(&self, _: Arrival<'_>) -> Result<Admitted, Limited> {
                Ok(Admitted::free())
            }
        }
        Self::new(Arc::new(Unlimited))
    }

    /// Charges one unit for a request. Give it [back](Admitted::refund) if the request turns out to be a forgery.
    ///
    /// # Errors
    /// [`Limited`]: answer 429.
    pub fn admit(&self, arrival: Arrival<'_>) -> Result<Admitted, Limited> {
        self.0.admit(arrival)
    }
}

/// A charged unit. Dropping it keeps the charge.
#[must_use = "refund the unit if verification fails"]
pub struct Admitted(Option<Box<dyn FnOnce() + Send>>);

impl Admitted {
    /// No limit applied.
    pub fn free() -> Self {
        Self(None)
    }

    /// A unit that `refund` gives back.
    pub fn charged(refund: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(refund)))
    }

    /// Gives the unit back.
    pub fn refund(self) {
        if let Some(refund) = self.0 {
            refund();
        }
    }
}

/// Over the limit. The figures are those of `RateLimit` and `RateLimit-Policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// The name of the limit.
    pub policy: String,
    /// Units a window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
    /// When the next unit is free.
    pub retry_after: Duration,
}
