//! Builds [`RateLimit`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, Limiter, RateLimit};
use crate::pipeline::LayerStates;

/// Wraps a service in a [`RateLimit`].
#[derive(Clone)]
pub struct RateLimitLayer {
    config: Arc<Config>,
    limiter: Arc<Limiter>,
    step: Str,
}

impl RateLimitLayer {
    /// The rate limit of a step; its state is found again under `state` as long as the limit stays the same.
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, states: &LayerStates, state: &str) -> Self {
        let limiter = states.get(
            state,
            |limiter: &Limiter| limiter.rate() == config.limit,
            || Limiter::new(config.limit),
        );
        Self {
            config: Arc::new(config.clone()),
            limiter,
            step: step.into(),
        }
    }

    /// The limiter, for the door.
    #[must_use]
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(
            inner,
            Arc::clone(&self.config),
            Arc::clone(&self.limiter),
            self.step.clone(),
        )
    }
}
