//! Hands batches to the worker.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use headgate_sdk::{Str, Timestamp};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tower::Service;

use crate::sink::{Accepted, Outcome, Rejection, SinkBatch, SinkError};

/// Batches that may wait for the worker. Their bytes are bounded by the lane's room, or by the sink's queue.
const REQUESTS: usize = 64;

/// Why an event did not get to a sink that nobody waits for.
pub(in crate::pipeline) const UNAVAILABLE: Str = Str::new_static("sink_unavailable");

/// A lane's way into a sink that holds everything until it is durable.
pub struct Retry {
    requests: mpsc::Sender<Request>,
    queue: Option<Arc<Semaphore>>,
}

/// A batch for the worker.
pub(super) struct Request {
    pub(super) batch: Arc<SinkBatch>,
    pub(super) reply: oneshot::Sender<Outcome>,
    /// How often it was sent, and when for the first time.
    pub(super) attempts: u32,
    pub(super) begun: Option<Timestamp>,
    /// Room in the sink's queue, given back when the batch is settled.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

impl Retry {
    pub(super) fn new(queue: Option<Arc<Semaphore>>) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        (Self { requests, queue }, receiver)
    }
}

impl Service<Arc<SinkBatch>> for Retry {
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let room = match &self.queue {
            None => None,
            Some(queue) => {
                let bytes = u32::try_from(batch.weight()).unwrap_or(u32::MAX);
                match Arc::clone(queue).try_acquire_many_owned(bytes) {
                    Ok(room) => Some(room),
                    Err(_full) => {
                        return Box::pin(async move { Ok(Accepted::known(missed(&batch))) });
                    }
                }
            }
        };
        let nobody_waits = room.is_some();
        let requests = self.requests.clone();
        Box::pin(async move {
            let (reply, outcome) = oneshot::channel();
            let request = Request {
                batch,
                reply,
                attempts: 0,
                begun: None,
                _room: room,
            };
            if nobody_waits {
                match requests.try_send(request) {
                    Err(TrySendError::Full(request)) => {
                        return Ok(Accepted::known(missed(&request.batch)));
                    }
                    sent => sent.map_err(|_| closed())?,
                }
            } else {
                requests.send(request).await.map_err(|_| closed())?;
            }
            Ok(Accepted::reply(outcome))
        })
    }
}

fn closed() -> SinkError {
    SinkError::new("the gateway shuts down")
}

/// What a sink that nobody waits for had no room for.
fn missed(batch: &SinkBatch) -> Outcome {
    let message = Str::new_static(
        "the sink was away and its queue full: retry these dead letters when it is back, or give it `buffer: log`",
    );
    let rejection = |index| Rejection {
        index,
        reason: UNAVAILABLE,
        message: message.clone(),
    };
    Outcome::Rejected((0..batch.records.len()).map(rejection).collect())
}
