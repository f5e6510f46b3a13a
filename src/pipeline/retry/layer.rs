//! Builds [`Retry`]s.

use std::sync::Arc;

use headgate_sdk::Str;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service};

use super::{
    Retry,
    worker::{Notes, Worker},
};
use crate::{
    pipeline::breaker::Breaker,
    sink::{Accepted, SinkBatch, SinkError},
    trace::Ledger,
};

/// Puts a window of undurable batches before a lane's way into a sink.
#[derive(Clone)]
pub struct RetryLayer {
    breaker: Arc<Breaker>,
    queue: Option<Arc<Semaphore>>,
    tasks: TaskTracker,
    abandon: CancellationToken,
    notes: Option<Notes>,
}

impl RetryLayer {
    /// Limits and budget are those of the sink's `breaker`. Workers run on `tasks` and give up waiting when `abandon` is cancelled. With a `queue` (for sinks that nobody waits for),
    /// its permits are the bytes that may be held; a batch that finds no room is refused with the reason `sink_unavailable`.
    #[must_use]
    pub fn new(
        breaker: Arc<Breaker>,
        queue: Option<Arc<Semaphore>>,
        tasks: TaskTracker,
        abandon: CancellationToken,
    ) -> Self {
        Self {
            breaker,
            queue,
            tasks,
            abandon,
            notes: None,
        }
    }

    /// Notes in `ledger`, if there is one, how the batches of `sink` went.
    #[must_use]
    pub fn noting(mut self, sink: &Str, ledger: Option<&Ledger>) -> Self {
        self.notes = ledger.map(|ledger| Notes {
            sink: sink.clone(),
            ledger: ledger.clone(),
        });
        self
    }
}

impl<S> Layer<S> for RetryLayer
where
    S: Service<Arc<SinkBatch>, Response = Accepted, Error = SinkError> + Send + 'static,
    S::Future: Send,
{
    type Service = Retry;

    fn layer(&self, inner: S) -> Retry {
        let (retry, requests) = Retry::new(self.queue.clone());
        let worker = Worker::new(
            inner,
            requests,
            Arc::clone(&self.breaker),
            self.notes.clone(),
        );
        let abandon = self.abandon.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = worker.run() => {}
                () = abandon.cancelled() => {}
            }
        });
        retry
    }
}
