//! The log as a sink.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use headgate_sdk::status::{State, Status};
use headgate_sdk::{LaneId, Str};
use tower::Service;
use tower::util::BoxService;

use super::EmbeddedLog;
use super::store::Encoded;
use crate::runtime::Checkpoints;
use crate::segment::SegmentError;
use crate::sink::{
    Accepted, Keeps, Landed, LaneSink, Outcome, Rejection, Sent, Sink, SinkBatch, SinkError,
};

/// Writes to an [`EmbeddedLog`].
pub struct LogSink {
    name: Str,
    log: Arc<EmbeddedLog>,
    status: Status,
    sent: Sent,
}

impl LogSink {
    /// A sink of this name over an open log.
    #[must_use]
    pub fn new(name: Str, log: Arc<EmbeddedLog>) -> Self {
        let status = Status::default();
        status.set(State::Ready);
        let sent = Sent::new(&name);
        Self {
            name,
            log,
            status,
            sent,
        }
    }

    /// The buffer in front of the sink of this name, which counts by itself what it has sent.
    #[must_use]
    pub fn buffer(name: Str, log: Arc<EmbeddedLog>) -> Self {
        Self {
            sent: Sent::buffered(&name),
            ..Self::new(name, log)
        }
    }
}

impl Sink for LogSink {
    fn name(&self) -> &Str {
        &self.name
    }

    fn keeps(&self) -> Keeps {
        Keeps {
            checkpoints: true,
            dead_letters: false,
        }
    }

    fn max_event_bytes(&self) -> usize {
        self.log.max_event_bytes()
    }

    fn recover<'a>(&'a self, checkpoints: &'a Checkpoints) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let caught_up = self
                .log
                .recover(&self.name, checkpoints)
                .await
                .map_err(|error| {
                    SinkError::caused(
                        "the embedded log's checkpoints could not be brought into the index",
                        error,
                    )
                })?;
            if caught_up > 0 {
                tracing::info!(sink = %self.name, caught_up, "checkpoints taken from the embedded log");
            }
            Ok(())
        })
    }

    fn open_lane(&self, lane: &LaneId, _shard: u32) -> LaneSink {
        BoxService::new(LogLane {
            lane: lane.clone(),
            log: self.log.clone(),
            status: self.status.clone(),
            sent: self.sent.clone(),
        })
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn log(&self) -> Option<&Arc<EmbeddedLog>> {
        Some(&self.log)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let log = self.log.clone();
        Box::pin(async move {
            // It fails only when the runtime is going away; dropping the log closes it too.
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        })
    }
}

/// A lane's way into the log.
struct LogLane {
    lane: LaneId,
    log: Arc<EmbeddedLog>,
    status: Status,
    sent: Sent,
}

impl Service<Arc<SinkBatch>> for LogLane {
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let encoded = Encoded::new(&self.lane, &batch.records, batch.checkpoint.as_ref());
        let (log, status, sent) = (self.log.clone(), self.status.clone(), self.sent.clone());
        Box::pin(async move {
            let encoded = match encoded {
                Ok(encoded) => encoded,
                Err(error) => return Ok(Accepted::known(reject_all(&batch, &error.to_string()))),
            };
            let ticket = loop {
                let room = log.room();
                match log.try_append(&encoded) {
                    Ok(Some(ticket)) => break ticket,
                    Ok(None) => room.await,
                    Err(error) => return Ok(Accepted::known(refused(&batch, error, &status))),
                }
            };
            Ok(Accepted::future(async move {
                match ticket.await {
                    Ok(positions) => {
                        let mut landed = Landed::default();
                        landed.add_log(&positions);
                        batch.landed.add(&landed);
                        sent.add(&batch, &[]);
                        if !matches!(status.get(), State::Ready) {
                            status.set(State::Ready);
                        }
                        Outcome::Durable
                    }
                    Err(error) => refused(&batch, error, &status),
                }
            }))
        })
    }
}

/// What a refused append means for its batch.
fn refused(batch: &SinkBatch, error: SegmentError, status: &Status) -> Outcome {
    if let SegmentError::TooLarge { .. } = error {
        return reject_all(batch, &error.to_string());
    }
    let message = error.to_string();
    status.set(if error.is_retriable() {
        State::Waiting(message.clone())
    } else {
        State::Failed(message.clone())
    });
    Outcome::Retriable(SinkError::caused(message, error))
}

fn reject_all(batch: &SinkBatch, message: &str) -> Outcome {
    let rejection = |index| Rejection {
        index,
        reason: Str::new_static("too_large"),
        message: message.into(),
    };
    Outcome::Rejected((0..batch.records.len()).map(rejection).collect())
}
