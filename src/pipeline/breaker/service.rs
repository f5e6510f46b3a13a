//! Asks the breaker before each call and tells it each outcome.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use tower::Service;

use super::Breaker;
use crate::sink::{Accepted, Outcome, SinkBatch, SinkError};

/// A lane's way into a sink behind the sink's breaker. It is ready when the breaker admits a call *and* the inner service is ready.
pub struct CircuitBreaker<S> {
    inner: S,
    breaker: Arc<Breaker>,
    /// Waiting for the breaker, `None` when it has admitted the next call.
    admission: Option<BoxFuture<'static, ()>>,
    admitted: bool,
}

impl<S> CircuitBreaker<S> {
    pub(super) fn new(inner: S, breaker: Arc<Breaker>) -> Self {
        Self {
            inner,
            breaker,
            admission: None,
            admitted: false,
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
        if !self.admitted {
            let breaker = &self.breaker;
            let admission = self.admission.get_or_insert_with(|| {
                let breaker = Arc::clone(breaker);
                async move { breaker.admit().await }.boxed()
            });
            ready!(admission.poll_unpin(cx));
            self.admission = None;
            self.admitted = true;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        self.admitted = false;
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
                outcome
            }))
        })
    }
}
