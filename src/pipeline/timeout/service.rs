//! Trips the breaker when an outcome is late.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tower::Service;

use crate::{
    pipeline::breaker::Breaker,
    sink::{Accepted, SinkBatch, SinkError},
};

/// A lane's way into a sink whose outcomes are watched.
pub struct Timeout<S> {
    inner: S,
    after: Duration,
    breaker: Arc<Breaker>,
}

impl<S> Timeout<S> {
    pub(super) fn new(inner: S, after: Duration, breaker: Arc<Breaker>) -> Self {
        Self {
            inner,
            after,
            breaker,
        }
    }
}

impl<S> Service<Arc<SinkBatch>> for Timeout<S>
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError>,
    S::Future: Send + 'static,
{
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let (after, breaker) = (self.after, Arc::clone(&self.breaker));
        let call = self.inner.call(batch);
        Box::pin(async move {
            let mut accepted = call.await?;
            Ok(Accepted::future(async move {
                tokio::select! {
                    biased;
                    outcome = &mut accepted => return outcome,
                    () = tokio::time::sleep(after) => {}
                }
                breaker.trip(&format!(
                    "no outcome within {after:?}; what was sent may still arrive"
                ));
                accepted.await
            }))
        })
    }
}
