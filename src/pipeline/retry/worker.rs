//! The window of undurable batches.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesOrdered};
use tokio::sync::{mpsc, oneshot};
use tower::{Service, ServiceExt};

use super::service::Request;
use crate::{
    pipeline::breaker::Config,
    sink::{Accepted, Outcome, SinkBatch, SinkError},
};

/// Batches that may be under way at once for one lane and sink.
const WINDOW: usize = 256;

/// Owns a lane's way into a sink. Invariant: the first `sent` batches of the window have a pending outcome each, in order.
pub(super) struct Worker<S> {
    inner: S,
    requests: mpsc::Receiver<Request>,
    window: VecDeque<Request>,
    sent: usize,
    outcomes: FuturesOrdered<Accepted>,
    config: Config,
    failures: u32,
}

enum Next {
    Outcome(Outcome),
    Request(Option<Request>),
    Ready(Result<(), SinkError>),
}

impl<S> Worker<S>
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError>,
{
    pub(super) fn new(inner: S, requests: mpsc::Receiver<Request>, config: Config) -> Self {
        Self {
            inner,
            requests,
            window: VecDeque::new(),
            sent: 0,
            outcomes: FuturesOrdered::new(),
            config,
            failures: 0,
        }
    }

    /// Works until no more requests can come and everything has its outcome.
    pub(super) async fn run(mut self) {
        let mut open = true;
        while open || !self.window.is_empty() {
            let (window, sent) = (self.window.len(), self.sent);
            let next = tokio::select! {
                biased;
                Some(outcome) = self.outcomes.next(), if !self.outcomes.is_empty() => Next::Outcome(outcome),
                request = self.requests.recv(), if open && window < WINDOW => Next::Request(request),
                ready = self.inner.ready(), if sent < window => Next::Ready(ready.map(|_| ())),
            };
            match next {
                Next::Outcome(Outcome::Retriable(error)) => self.go_back(&error).await,
                Next::Outcome(outcome) => self.settle(outcome),
                Next::Request(Some(request)) => self.window.push_back(request),
                Next::Request(None) => open = false,
                Next::Ready(Ok(())) => self.send().await,
                Next::Ready(Err(error)) => self.go_back(&error).await,
            }
        }
    }

    /// Sends the next batch of the window; the inner service is ready.
    async fn send(&mut self) {
        let batch = Arc::clone(&self.window[self.sent].batch);
        let accepted = match self.inner.call(batch).await {
            Ok(accepted) => accepted,
            Err(error) => Accepted::known(Outcome::Retriable(error)),
        };
        self.outcomes.push_back(accepted);
        self.sent += 1;
    }

    /// The first batch of the window has its final outcome.
    fn settle(&mut self, outcome: Outcome) {
        self.failures = 0;
        self.sent -= 1;
        if let Some(Request { reply, .. }) = self.window.pop_front() {
            let _nobody_waits: Result<(), _> = oneshot::Sender::send(reply, outcome);
        }
    }

    /// The first batch of the window failed: waits for the outcomes of all that is under way, so that nothing overtakes it, and
    /// starts again from it after a pause.
    async fn go_back(&mut self, error: &SinkError) {
        while self.outcomes.next().await.is_some() {}
        self.sent = 0;
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause();
        tracing::warn!(%error, batches = self.window.len(), ?pause, "sending again from the first batch that is not durable");
        metrics::counter!("headgate_sink_retries_total").increment(1);
        tokio::time::sleep(pause).await;
    }

    /// Exponential, with full jitter.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(20);
        let longest = self
            .config
            .initial
            .get()
            .saturating_mul(1 << doublings)
            .min(self.config.max.get());
        longest.mul_f64(fastrand::f64())
    }
}
