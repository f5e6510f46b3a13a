//! The sink's end of a buffer.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use headgate_sdk::{LaneId, Position};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::lane_of;
use crate::{
    runtime::{AckTracker, CheckpointError, Checkpoints, Commit},
    sink::{
        Checkpoint, LaneSink, Notes, Outcome, SinkBatch, SinkError,
        log::{EmbeddedLog, Hold, LogError, LogReader, Logged, Start},
    },
};

/// Bytes that may be under way to the sink.
const UNDER_WAY: usize = 32 << 20;
/// Bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;

/// Writes what a buffer holds to its sink.
pub struct Pump {
    lane: LaneId,
    sink: LaneSink,
    reader: LogReader,
    hold: Arc<Hold>,
    checkpoints: Checkpoints,
    room: Arc<Semaphore>,
    tracker: AckTracker,
    outcomes: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
}

enum Next {
    Outcome(u64, Outcome),
    Events(Result<Vec<Logged>, LogError>),
    Stopped,
}

impl Pump {
    /// A pump from `log` to `sink`, which has the layers of a lane in front of it. Goes on where the last one stopped.
    ///
    /// # Errors
    /// [`CheckpointError`] if the place cannot be read.
    pub fn new(
        name: &str,
        log: &Arc<EmbeddedLog>,
        sink: LaneSink,
        checkpoints: Checkpoints,
    ) -> Result<Self, CheckpointError> {
        let lane = lane_of(name);
        let stored = checkpoints
            .restored(&lane)?
            .and_then(|stored| stored.position);
        let read = stored
            .and_then(|position| position.decode::<u64>().ok())
            .unwrap_or(0);
        Ok(Self {
            hold: Arc::new(log.hold(&name.into(), read)),
            reader: log.reader(if read == 0 {
                Start::Oldest
            } else {
                Start::After(read)
            }),
            lane,
            sink,
            checkpoints,
            room: Arc::new(Semaphore::new(UNDER_WAY)),
            tracker: AckTracker::default(),
            outcomes: FuturesUnordered::new(),
        })
    }

    /// Pumps until `stop`, and then until what is under way has its outcome.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut stopped = false;
        while !stopped || !self.outcomes.is_empty() {
            let may_read = !stopped && self.room.available_permits() > 0;
            let next = tokio::select! {
                biased;
                Some((serial, outcome)) = self.outcomes.next(), if !self.outcomes.is_empty() => Next::Outcome(serial, outcome),
                () = stop.cancelled(), if !stopped => Next::Stopped,
                events = self.reader.next(BATCH_BYTES), if may_read => Next::Events(events),
            };
            match next {
                Next::Stopped => stopped = true,
                Next::Outcome(serial, outcome) => {
                    if !matches!(outcome, Outcome::Durable) {
                        if stopped {
                            // The deadline of the shutdown: what is left is sent at the next start.
                            return;
                        }
                        tracing::error!(lane = %self.lane, ?outcome, "a batch came back undurable: the buffer is read no further");
                        return;
                    }
                    self.durable(serial).await;
                }
                Next::Events(Ok(events)) if events.is_empty() => stopped = true,
                Next::Events(Ok(events)) => {
                    if let Err(error) = self.send(events).await {
                        tracing::warn!(lane = %self.lane, %error, "the sink is closed");
                        stopped = true;
                    }
                }
                Next::Events(Err(error)) => {
                    tracing::error!(lane = %self.lane, %error, "the buffer cannot be read further: restart the gateway");
                    stopped = true;
                }
            }
        }
    }

    async fn send(&mut self, events: Vec<Logged>) -> Result<(), SinkError> {
        let position = self.reader.position();
        let batch = Arc::new(SinkBatch {
            lane: self.lane.clone(),
            number: position,
            records: events.into_iter().map(|event| event.record).collect(),
            dead_letters: Vec::new(),
            checkpoint: None,
            landed: Notes::default(),
        });
        // Takes what there is: the last batch before the bound may go beyond it, and then nothing more is read.
        let bytes = batch.weight().min(self.room.available_permits());
        let bytes = u32::try_from(bytes).expect("the bound fits");
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok();
        let checkpoint = Checkpoint {
            position: Some(Position::encode(&position)),
            ..Checkpoint::default()
        };
        let serial = self.tracker.push(position, checkpoint, room);
        let accepted = self.sink.ready().await?.call(batch).await?;
        self.outcomes
            .push(accepted.map(move |outcome| (serial, outcome)).boxed());
        Ok(())
    }

    /// Stores how far the sink is, and then lets the log go on.
    async fn durable(&mut self, serial: u64) {
        let Some(prefix) = self.tracker.durable(serial) else {
            return;
        };
        let (hold, read) = (Arc::clone(&self.hold), prefix.number);
        let done: Box<dyn FnOnce() + Send> = Box::new(move || hold.advance(read));
        let lane = self.lane.clone();
        self.checkpoints
            .commit(Commit {
                lane,
                checkpoint: prefix.checkpoint,
                mark: None,
                done: Some(done),
            })
            .await;
    }
}
