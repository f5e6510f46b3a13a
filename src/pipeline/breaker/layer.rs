//! Builds [`CircuitBreaker`]s.

use std::sync::Arc;

use tower::Layer;

use super::{Breaker, CircuitBreaker};

/// Puts a sink's breaker before a lane's way into it.
#[derive(Clone)]
pub struct BreakerLayer {
    breaker: Arc<Breaker>,
}

impl BreakerLayer {
    /// The layer of a sink's breaker.
    #[must_use]
    pub fn new(breaker: Arc<Breaker>) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = CircuitBreaker<S>;

    fn layer(&self, inner: S) -> CircuitBreaker<S> {
        CircuitBreaker::new(inner, Arc::clone(&self.breaker))
    }
}
