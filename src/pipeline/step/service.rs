//! Steps in front of a service.

use std::task::{Context, Poll};

use tower::Service;

use super::Chain;
use crate::pipeline::PipelineBatch;

/// Applies its steps to each batch, then calls the service behind them.
#[derive(Debug)]
pub struct StepService<S> {
    inner: S,
    steps: Chain,
}

impl<S> StepService<S> {
    pub(super) fn new(inner: S, steps: Chain) -> Self {
        Self { inner, steps }
    }
}

impl<S: Service<PipelineBatch>> Service<PipelineBatch> for StepService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut batch: PipelineBatch) -> S::Future {
        let changes = self.steps.apply(&mut batch);
        debug_assert!(
            changes.is_empty(),
            "what stores something has a layer of its own"
        );
        self.inner.call(batch)
    }
}
