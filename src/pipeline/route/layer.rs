//! Builds [`Route`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, Route, SinkSet};

/// Turns a service of routed batches into one of pipeline batches.
#[derive(Debug, Clone)]
pub struct RouteLayer {
    config: Arc<Config>,
    sinks: SinkSet,
    step: Str,
}

impl RouteLayer {
    /// The route of a step, to the sinks named in it out of `all` (names in the order of their indices). Unknown names were refused
    /// when the configuration was loaded.
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, all: &[Str]) -> Self {
        let sinks = match &config.sinks {
            None => SinkSet::first(all.len()),
            Some(named) => SinkSet::of(
                named
                    .iter()
                    .filter_map(|name| all.iter().position(|sink| sink == name)),
            ),
        };
        Self {
            config: Arc::new(config.clone()),
            sinks,
            step: step.into(),
        }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route::new(
            inner,
            Arc::clone(&self.config),
            self.sinks,
            self.step.clone(),
        )
    }
}
