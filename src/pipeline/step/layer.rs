//! Builds [`StepService`]s.

use tower::Layer;

use super::{Chain, StepService};

/// Puts steps in front of a service. They are shared by all lanes that use the pipeline.
#[derive(Debug, Clone)]
pub struct StepLayer(Chain);

impl StepLayer {
    /// The layer of these steps.
    #[must_use]
    pub fn new(steps: impl Into<Chain>) -> Self {
        Self(steps.into())
    }
}

impl<S> Layer<S> for StepLayer {
    type Service = StepService<S>;

    fn layer(&self, inner: S) -> StepService<S> {
        StepService::new(inner, self.0.clone())
    }
}
