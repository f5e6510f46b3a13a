//! A step in front of a service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::EventStep;
use crate::pipeline::PipelineBatch;

/// Applies its step to each batch, then calls the service behind it.
#[derive(Debug)]
pub struct StepService<S, T: ?Sized> {
    inner: S,
    step: Arc<T>,
}

impl<S, T: EventStep + ?Sized> StepService<S, T> {
    pub(super) fn new(inner: S, step: Arc<T>) -> Self {
        Self { inner, step }
    }
}

impl<S: Service<PipelineBatch>, T: EventStep + ?Sized> Service<PipelineBatch>
    for StepService<S, T>
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut batch: PipelineBatch) -> S::Future {
        self.step.apply(&mut batch);
        self.inner.call(batch)
    }
}
