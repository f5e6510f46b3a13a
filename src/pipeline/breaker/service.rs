//! Asks the breaker before each call and tells it each outcome.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use tower::Service;

use super::{Admission, Breaker};
use crate::sink::{Accepted, Outcome, SinkBatch, SinkError};

/// A lane's way into a sink behind the sink's breaker. It is ready when the breaker admits a call *and* the inner service is ready.
pub struct CircuitBreaker<S> {
    inner: S,
    breaker: Arc<Breaker>,
    /// Waiting for the breaker.
    waiting: Option<BoxFuture<'static, Admission>>,
    /// The breaker has admitted the next call.
    admission: Option<Admission>,
}

impl<S> CircuitBreaker<S> {
    pub(super) fn new(inner: S, breaker: Arc<Breaker>) -> Self {
        Self {
            inner,
            breaker,
            waiting: None,
            admission: None,
        }
    }
}

impl<S> Service<Arc<SinkBatch>> for CircuitBreaker<S>
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError>,
    S::Future: Send + 'static,
{
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        // First the sink: a lane that it holds up must not keep the one probe from the others.
        if !self.inner.poll_ready(cx)?.is_ready() {
            self.admission = None;
            return Poll::Pending;
        }
        if self.admission.is_none() {
            let breaker = &self.breaker;
            let waiting = self.waiting.get_or_insert_with(|| {
                let breaker = Arc::clone(breaker);
                async move { breaker.admit().await }.boxed()
            });
            let admission = ready!(waiting.poll_unpin(cx));
            self.waiting = None;
            self.admission = Some(admission);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let admission = self.admission.take();
        let breaker = Arc::clone(&self.breaker);
        let call = self.inner.call(batch);
        Box::pin(async move {
            let accepted = match call.await {
                Ok(accepted) => accepted,
                Err(error) => Accepted::known(Outcome::Retriable(error)),
            };
            Ok(Accepted::future(async move {
                let outcome = accepted.await;
                match &outcome {
                    Outcome::Durable | Outcome::Rejected(_) => breaker.succeeded(),
                    Outcome::Retriable(error) => breaker.failed(&error.to_string()),
                }
                // A probe is over with its outcome, and also when nobody waits for that any more.
                drop(admission);
                outcome
            }))
        })
    }
}
