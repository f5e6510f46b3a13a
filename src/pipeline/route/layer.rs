//! Builds [`Route`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, HotKeys, Route, Router};
use crate::pipeline::step::Chain;

/// Turns a service of routed batches into one of pipeline batches.
#[derive(Clone)]
pub struct RouteLayer {
    config: Arc<Config>,
    sinks: Arc<[Str]>,
    step: Str,
    hot_keys: Option<Arc<HotKeys>>,
    before: Chain,
}

impl RouteLayer {
    /// The route of a step, to sinks out of `all` (names in the order of their indices).
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, all: &[Str]) -> Self {
        Self {
            config: Arc::new(config.clone()),
            sinks: all.into(),
            step: step.into(),
            hot_keys: None,
            before: Chain::new(Vec::new()),
        }
    }

    /// Has keys counted by `hot_keys`.
    #[must_use]
    pub fn watching(mut self, hot_keys: Arc<HotKeys>) -> Self {
        self.hot_keys = Some(hot_keys);
        self
    }

    /// Has each event go through these steps first, one event after the other.
    #[must_use]
    pub fn behind(mut self, before: Chain) -> Self {
        self.before = before;
        self
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        let router = Router::new(&self.config, self.step.clone(), &self.sinks);
        Route::new(inner, self.before.clone(), router, self.hot_keys.clone())
    }
}
