//! Builds [`StepService`]s.

use std::sync::Arc;

use tower::Layer;

use super::{EventStep, StepService};

/// Puts a step in front of a service. The step is shared by all lanes that use the pipeline.
#[derive(Debug)]
pub struct StepLayer<T: ?Sized>(Arc<T>);

impl<T: EventStep + ?Sized> StepLayer<T> {
    /// The layer of `step`.
    #[must_use]
    pub fn new(step: Arc<T>) -> Self {
        Self(step)
    }
}

impl<S, T: EventStep + ?Sized> Layer<S> for StepLayer<T> {
    type Service = StepService<S, T>;

    fn layer(&self, inner: S) -> StepService<S, T> {
        StepService::new(inner, Arc::clone(&self.0))
    }
}
