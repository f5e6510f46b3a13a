//! Builds [`Route`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, Route, Router};

/// Turns a service of routed batches into one of pipeline batches.
#[derive(Debug, Clone)]
pub struct RouteLayer {
    config: Arc<Config>,
    sinks: Arc<[Str]>,
    step: Str,
}

impl RouteLayer {
    /// The route of a step, to sinks out of `all` (names in the order of their indices).
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, all: &[Str]) -> Self {
        Self {
            config: Arc::new(config.clone()),
            sinks: all.into(),
            step: step.into(),
        }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route::new(
            inner,
            Router::new(&self.config, self.step.clone(), &self.sinks),
        )
    }
}
