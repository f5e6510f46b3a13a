//! Stores new keys, then lets the batch go on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::sync::{Mutex, oneshot};
use tower::{Service, ServiceExt};

use super::DedupState;
use crate::pipeline::{PipelineBatch, PipelineError, step::Chain};

/// Drops duplicates, and holds a batch back until the keys of its other events are on disk.
///
/// It is always ready: the inner service's readiness is awaited in the call, after the keys. Calls are made one after the
/// other, so the lock is never contended.
pub struct Dedup<S> {
    inner: Arc<Mutex<S>>,
    steps: Chain,
    state: Arc<DedupState>,
}

impl<S> Dedup<S> {
    pub(super) fn new(inner: S, steps: Chain, state: Arc<DedupState>) -> Self {
        Self {
            inner: Arc::new(Mutex::new(inner)),
            steps,
            state,
        }
    }
}

impl<S> Service<PipelineBatch> for Dedup<S>
where
    S: Service<PipelineBatch, Error = PipelineError> + Send + 'static,
    S::Future: Send,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = PipelineError;
    type Future = BoxFuture<'static, Result<S::Response, PipelineError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PipelineError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut batch: PipelineBatch) -> Self::Future {
        let changes = self.steps.apply(&mut batch);
        let (inner, state) = (Arc::clone(&self.inner), Arc::clone(&self.state));
        Box::pin(async move {
            let (done, stored) = oneshot::channel();
            let done = Box::new(move || _ = done.send(()));
            if let Some((store, commit)) = state.commit(changes, Some(done)) {
                store.commit(commit).await;
                stored.await.map_err(|_| PipelineError::Closed)?;
            }
            let mut inner = inner.lock_owned().await;
            let call = inner.ready().await?.call(batch);
            drop(inner);
            call.await
        })
    }
}
