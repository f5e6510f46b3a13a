//! Builds [`Filter`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tower::Layer;

use super::{Config, Equals, Filter};

/// Wraps a service in a [`Filter`].
#[derive(Debug, Clone)]
pub struct FilterLayer {
    equals: Arc<Equals>,
    step: Str,
}

impl FilterLayer {
    /// The filter of a step.
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>) -> Self {
        Self {
            equals: Arc::new(config.equals.clone()),
            step: step.into(),
        }
    }
}

impl<S> Layer<S> for FilterLayer {
    type Service = Filter<S>;

    fn layer(&self, inner: S) -> Filter<S> {
        Filter::new(inner, Arc::clone(&self.equals), &self.step)
    }
}
