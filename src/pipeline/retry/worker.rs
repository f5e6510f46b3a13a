//! The window of undurable batches.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesOrdered};
use headgate_sdk::{Str, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tower::{Service, ServiceExt};

use super::service::Request;
use crate::{
    pipeline::breaker::{Breaker, Jitter},
    sink::{Accepted, Outcome, SinkBatch, SinkError},
    trace::{Ledger, Run},
};

/// Batches that may be under way at once for one lane and sink.
const WINDOW: usize = 256;

/// Owns a lane's way into a sink. Invariants: the first `sent` batches of the window have a pending outcome each, in order; the
/// first `tried` of them, at least as many, were sent at some time.
pub(super) struct Worker<S> {
    inner: S,
    requests: mpsc::Receiver<Request>,
    window: VecDeque<Request>,
    sent: usize,
    tried: usize,
    /// How many may be under way: one after a failure, twice as many with each that became durable.
    most: usize,
    outcomes: FuturesOrdered<Accepted>,
    breaker: Arc<Breaker>,
    failures: u32,
    notes: Option<Notes>,
}

/// Where is noted how batches went.
#[derive(Clone)]
pub(super) struct Notes {
    pub(super) sink: Str,
    pub(super) ledger: Ledger,
}

impl Notes {
    fn note(&self, request: &Request, outcome: &Outcome) {
        let refused = match outcome {
            Outcome::Rejected(rejections) => rejections.len() as u64,
            Outcome::Durable | Outcome::Retriable(_) => 0,
        };
        let now = Timestamp::now();
        let batch = &request.batch;
        self.ledger.note(Run {
            lane: Str::new(batch.lane.as_str()),
            sink: self.sink.clone(),
            first: batch.number,
            last: batch.number,
            batches: 1,
            events: batch.records.len() as u64,
            attempts: request.attempts,
            refused,
            begun_ms: request.begun.unwrap_or(now).as_millisecond(),
            durable_ms: now.as_millisecond(),
            landed: batch.landed.take(),
        });
    }
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
    pub(super) fn new(
        inner: S,
        requests: mpsc::Receiver<Request>,
        breaker: Arc<Breaker>,
        notes: Option<Notes>,
    ) -> Self {
        Self {
            inner,
            requests,
            window: VecDeque::new(),
            sent: 0,
            tried: 0,
            most: WINDOW,
            outcomes: FuturesOrdered::new(),
            breaker,
            failures: 0,
            notes,
        }
    }

    /// Works until no more requests can come and everything has its outcome.
    pub(super) async fn run(mut self) {
        let mut open = true;
        while open || !self.window.is_empty() {
            let (window, may_send) = (self.window.len(), self.may_send());
            let next = tokio::select! {
                biased;
                Some(outcome) = self.outcomes.next(), if !self.outcomes.is_empty() => Next::Outcome(outcome),
                request = self.requests.recv(), if open && window < WINDOW => Next::Request(request),
                ready = self.inner.ready(), if may_send => Next::Ready(ready.map(|_| ())),
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

    /// Whether the next batch of the window may be sent as soon as the inner service is ready.
    fn may_send(&self) -> bool {
        self.sent < self.window.len().min(self.most)
    }

    /// Sends the next batch of the window; the inner service is ready.
    async fn send(&mut self) {
        if self.sent < self.tried {
            self.breaker.sent_again();
        } else {
            self.breaker.first_attempt();
            self.tried += 1;
        }
        let request = &mut self.window[self.sent];
        request.attempts += 1;
        request.begun.get_or_insert_with(Timestamp::now);
        let batch = Arc::clone(&request.batch);
        let accepted = match self.inner.call(batch).await {
            Ok(accepted) => accepted,
            Err(error) => Accepted::known(Outcome::Retriable(error)),
        };
        self.outcomes.push_back(accepted);
        self.sent += 1;
    }

    /// The first batch of the window has its final outcome.
    fn settle(&mut self, outcome: Outcome) {
        crate::failpoint::reach("sink-written");
        self.failures = 0;
        self.sent -= 1;
        self.tried -= 1;
        // What follows was tried too: it waits for its turn until the sink is seen to take things again, one after the other if
        // too much had to be sent again already.
        if self.tried == 0 || self.breaker.budget_left() {
            self.most = self.most.saturating_mul(2).min(WINDOW);
        }
        if let Some(request) = self.window.pop_front() {
            if let Some(notes) = &self.notes {
                notes.note(&request, &outcome);
            }
            let Request { reply, .. } = request;
            let _nobody_waits: Result<(), _> = oneshot::Sender::send(reply, outcome);
        }
    }

    /// The first batch of the window failed: waits for the outcomes of all that is under way, so that nothing overtakes it, and
    /// starts again from it after a pause.
    async fn go_back(&mut self, error: &SinkError) {
        while self.outcomes.next().await.is_some() {}
        self.sent = 0;
        self.most = 1;
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause();
        tracing::warn!(%error, batches = self.window.len(), ?pause, "sending again from the first batch that is not durable");
        tokio::time::sleep(pause).await;
        if self.tried > 0 {
            // Without budget this opens the breaker, which lets it go as a probe.
            self.breaker.may_send_again();
        }
    }

    /// Exponential, less what is left to chance.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(20);
        let config = self.breaker.config();
        let longest = config
            .initial
            .get()
            .saturating_mul(1 << doublings)
            .min(config.max.get());
        match config.jitter {
            Jitter::Full => longest.mul_f64(fastrand::f64()),
            Jitter::None => longest,
        }
    }
}
