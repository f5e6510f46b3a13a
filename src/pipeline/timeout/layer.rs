//! Builds [`Timeout`]s.

use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::Timeout;
use crate::pipeline::breaker::Breaker;

/// Watches the outcomes of a lane's way into a sink.
#[derive(Clone)]
pub struct TimeoutLayer {
    after: Duration,
    breaker: Arc<Breaker>,
}

impl TimeoutLayer {
    /// Trips `breaker` when an outcome takes longer than `after`.
    #[must_use]
    pub fn new(after: Duration, breaker: Arc<Breaker>) -> Self {
        Self { after, breaker }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout::new(inner, self.after, Arc::clone(&self.breaker))
    }
}
