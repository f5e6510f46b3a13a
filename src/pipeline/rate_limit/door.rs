//! The door: a source's view of the limits of its pipeline.

use std::sync::Arc;

use headgate_sdk::{
    Str,
    admission::{self, Admitted, Arrival, Limited},
};

use super::{Limiter, Per};

/// The `reject` limits that stand before a push source, in order.
pub struct Door {
    source: Str,
    limits: Vec<(Str, Per, Arc<Limiter>)>,
}

impl Door {
    /// A door for `source` with (name, what is counted apart, limiter).
    #[must_use]
    pub fn new(source: Str, limits: Vec<(Str, Per, Arc<Limiter>)>) -> Self {
        Self { source, limits }
    }

    fn key(&self, per: &Per, arrival: &Arrival<'_>) -> Str {
        match per {
            Per::Source => self.source.clone(),
            Per::Tenant => arrival.tenant.into(),
            Per::Client => arrival.client.to_string().into(),
            Per::Header(name) => {
                let value = arrival
                    .headers
                    .get(name)
                    .and_then(|value| value.to_str().ok());
                value.unwrap_or_default().into()
            }
        }
    }
}

impl admission::Limiter for Door {
    fn admit(&self, arrival: Arrival<'_>) -> Result<Admitted, Limited> {
        let mut charged: Vec<(Arc<Limiter>, Str)> = Vec::with_capacity(self.limits.len());
        for (name, per, limiter) in &self.limits {
            let key = self.key(per, &arrival);
            match limiter.charge(&key) {
                Ok(()) => charged.push((Arc::clone(limiter), key)),
                Err(retry_after) => {
                    charged
                        .iter()
                        .for_each(|(limiter, key)| limiter.refund(key));
                    let rate = limiter.rate();
                    return Err(Limited {
                        policy: name.to_string(),
                        quota: rate.events().get(),
                        window: rate.period(),
                        retry_after,
                    });
                }
            }
        }
        if charged.is_empty() {
            return Ok(Admitted::free());
        }
        Ok(Admitted::charged(move || {
            charged
                .iter()
                .for_each(|(limiter, key)| limiter.refund(key))
        }))
    }
}
