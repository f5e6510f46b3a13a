//! What the journal holds of sources that the configuration no longer has becomes dead letters.
//!
//! Where their lanes are is known only once the sink that keeps their checkpoints has prepared them: what was committed to Kafka just before a
//! crash is not in the index yet, and is no dead letter. A sink that is away delays this, and nothing else.

use headgate_sdk::{Batch, DeadLetter, LaneId, batch::wire};

use super::Gateway;
use crate::{
    journal::JournalError,
    pipeline::{dead_letter::DeadLetterWriter, stack},
    runtime::{CheckpointError, lane::Place},
    sink::SinkError,
};

const READ_BYTES: usize = 1 << 20;

/// Why a lane's events wait for the next start.
#[derive(Debug, thiserror::Error)]
enum BuryError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Index(#[from] CheckpointError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Gateway {
    /// Begins with it.
    pub(super) fn bury_removed_sources(&self) {
        for lane in self.inner.journal.lanes() {
            if lane.pending_from.is_none() || self.has_source(&lane.id) {
                continue;
            }
            let gateway = self.clone();
            self.inner.tasks.spawn(async move {
                let stop = gateway.inner.stop.clone();
                let buried = stop.run_until_cancelled(gateway.bury(&lane.id, lane.last)).await;
                if let Some(Err(error)) = buried {
                    tracing::error!(lane = %lane.id, %error, "events of a source that was removed wait for the next start");
                }
            });
        }
    }

    fn has_source(&self, lane: &LaneId) -> bool {
        let config = self.inner.config.lock();
        config.sources.iter().any(|one| one.name == lane.source())
    }

    /// Makes dead letters of what the sinks do not have of a lane, up to `last`.
    async fn bury(&self, lane: &LaneId, last: u64) -> Result<(), BuryError> {
        let inner = &self.inner;
        let shard = inner.data_dir.identity().shard_of(lane.as_str());
        stack::prepare(lane, shard, &inner.stack).await?;
        // Nobody brings the source back meanwhile; if somebody did already, its lane drains by itself.
        let _unchanged = inner.reloading.lock().await;
        if self.has_source(lane) {
            return Ok(());
        }
        let stored = inner.checkpoints.restored(lane)?;
        let place = stored.and_then(|stored| Place::of(&stored.position?).ok());
        let done = match place {
            // What is delivered is not known: some letters may be of events that are.
            Some(place) if place.foreign(&inner.journal, lane).await.is_some() => None,
            place => place.map(|place| place.sequence),
        };
        // Everything before is released with this.
        let mut reader = inner.journal.reader(lane, done.map_or(1, |done| done + 1));
        let mut buried = 0;
        while reader.position() <= last {
            let entries = reader.next(READ_BYTES).await?;
            let Some(up_to) = entries.last().map(|entry| entry.sequence) else {
                break;
            };
            let mut batch = Batch::default();
            for entry in entries {
                if let Err(error) = wire::decode_events_into(entry.payload, &mut batch) {
                    tracing::error!(%lane, sequence = entry.sequence, %error, "a record of the journal is left out");
                }
            }
            let letters = letters(lane, batch);
            buried += letters.len();
            inner.dead_letters.write(letters).await;
            inner.journal.release(lane, up_to);
        }
        if buried > 0 {
            tracing::warn!(%lane, events = buried, "events of a source that was removed are now dead letters");
        }
        Ok(())
    }
}

fn letters(lane: &LaneId, batch: Batch) -> Vec<DeadLetter> {
    let message = format!(
        "the source `{}` is no longer configured: configure it again and retry, or discard",
        lane.source()
    );
    let removed = batch
        .events
        .into_iter()
        .map(|event| DeadLetter::new(event, "source", "source removed", message.clone()));
    removed.chain(batch.rejected).collect()
}
