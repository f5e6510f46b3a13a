//! Lanes whose events nobody can send again: they go through the journal.
//!
//! `send` appends to the journal; a feeder reads the lane's records back, as far as its task has room, and releases what is
//! durable. A lane that is held up holds segments of the journal, and nothing else.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::{
    Batch, Delivery, DeliveryError, LaneError, LaneId, Position, Str,
    batch::wire,
    lane::{LaneBackend, Progress},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    door::{Door, Wiring},
    entries::StoredEntries,
    place::Place,
    task::Submission,
};
use crate::{
    journal::{Entry, Journal, JournalError, LaneReader, Record},
    pipeline::{
        LaneContext,
        stack::{self, StackContext},
    },
    runtime::Checkpoints,
};

/// The only kind of record that there is: a batch, see [`wire`].
pub(super) const BATCH: u8 = 1;
/// Records that become one batch are at most so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// After a batch that was not half full, more records may gather for so long: a sink syncs once a batch.
const GATHER: Duration = Duration::from_millis(4);

/// Appends to the journal.
pub(super) struct Journaled {
    pub(super) id: LaneId,
    pub(super) journal: Journal,
    pub(super) entries: StoredEntries,
    pub(super) progress: Progress,
    /// Tells the feeder that no handle of the lane is left.
    pub(super) _closed: DropGuard,
}

impl LaneBackend for Journaled {
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery {
        let accepted = match wire::encode(&batch) {
            Err(error) => {
                futures::future::ready(Err(DeliveryError::Failed(error.to_string()))).boxed()
            }
            Ok(payload) => {
                let appended = self.journal.append(
                    &self.id,
                    &[Record {
                        kind: BATCH,
                        payload,
                    }],
                );
                async move {
                    let sequences = appended.await.map_err(|error| refusal(&error))?;
                    drop(room);
                    crate::failpoint::reach("journal-written");
                    Ok(sequences.end - 1)
                }
                .boxed()
            }
        };
        Delivery::accepted_later(accepted, self.progress.clone())
    }

    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        self.entries.read(prefix, after, limit)
    }

    fn entry<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        self.entries.read_one(key)
    }
}

fn refusal(error: &JournalError) -> DeliveryError {
    match error {
        JournalError::Full(_) => DeliveryError::Full,
        JournalError::Closed => DeliveryError::Closed,
        JournalError::TooLarge(_) | JournalError::Failed(_) => {
            DeliveryError::Failed(error.to_string())
        }
    }
}

/// Feeds a lane's task from the journal.
pub(super) struct Feeder {
    pub(super) lane: Arc<LaneContext>,
    pub(super) stack: StackContext,
    pub(super) checkpoints: Checkpoints,
    pub(super) journal: Journal,
    pub(super) queue: mpsc::Sender<Submission>,
    pub(super) room: Arc<Semaphore>,
    pub(super) capacity: usize,
    pub(super) progress: Progress,
    /// How far the lane's keyed entries are in the checkpoint store; nothing behind it may be released.
    pub(super) indexed: watch::Receiver<u64>,
    /// Once no handle of the lane is left, it drains what the journal holds, and ends.
    pub(super) door: Arc<Door>,
    /// Told that the lane cannot be delivered.
    pub(super) wiring: watch::Receiver<Wiring>,
    /// The gateway stops: a sink that has not said yet what it has is not waited for.
    pub(super) stop: CancellationToken,
    /// The deadline of a stop has passed: what is in the journal stays there.
    pub(super) abandon: CancellationToken,
    /// The last record that was fed.
    pub(super) fed: u64,
    /// Up to where the journal was let go.
    pub(super) released: u64,
    /// When the next batch may be made.
    pub(super) next_batch: Instant,
}

/// What came of beginning.
enum Opened {
    /// Behind what is delivered.
    Behind(u64),
    /// The gateway stopped before the sink had answered.
    Stopped,
    /// What is stored is no place in this journal; says so.
    Foreign(String),
}

enum Next {
    Entries(Result<Vec<Entry>, JournalError>),
    Released,
    Closed,
    Stopped,
    Abandoned,
}

impl Feeder {
    /// Feeds until the lane is closed, drained and released: nobody else would let go of its last records. When the gateway stops
    /// there is nobody to let go for, and what was fed is left to the lane's task.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let delivered = match self.open().await {
            Ok(Opened::Behind(delivered)) => delivered,
            Ok(Opened::Stopped) => return,
            Ok(Opened::Foreign(reason)) => {
                tracing::error!(lane = %self.lane.id, reason, "the lane is not delivered, and its source lets nothing more in");
                self.wiring.borrow().broken.send_replace(reason.into());
                return;
            }
            Err(message) => {
                tracing::error!(lane = %self.lane.id, message, "the lane is not delivered; what it accepts stays in the journal");
                return stop.cancelled().await;
            }
        };
        let mut reader = self.journal.reader(&self.lane.id, delivered + 1);
        let mut stopping = false;
        // What was delivered before a crash may never have been released.
        self.release_up_to(delivered);
        loop {
            let closed = self.door.closed();
            let is_done = reader.is_drained() && (stopping || self.released >= self.fed);
            if closed.is_cancelled() && is_done && self.door.end() {
                return;
            }
            let next = self.next(&mut reader, &closed, stopping).await;
            match next {
                Next::Released => self.release(),
                Next::Closed => {}
                Next::Stopped => stopping = true,
                Next::Abandoned => return,
                Next::Entries(Ok(entries)) if entries.is_empty() => return,
                Next::Entries(Ok(entries)) => {
                    if !self.feed(entries).await {
                        return;
                    }
                }
                Next::Entries(Err(error)) => {
                    tracing::error!(lane = %self.lane.id, %error, "the lane's journal cannot be read: it stops");
                    return;
                }
            }
        }
    }

    /// Begins behind what the sink that keeps the lane's checkpoint has, which may have to be asked first; tells how far that is.
    async fn open(&self) -> Result<Opened, String> {
        let id = &self.lane.id;
        let prepared = tokio::select! {
            biased;
            prepared = stack::prepare(id, self.lane.shard, &self.stack) => prepared,
            () = self.stop.cancelled() => return Ok(Opened::Stopped),
        };
        prepared.map_err(|error| error.to_string())?;
        self.checkpoints.flush().await;
        let stored = self.checkpoints.restored(id);
        let stored = stored.map_err(|error| error.to_string())?;
        let position = stored.and_then(|stored| stored.position);
        let place = match position.map(|position| Place::of(&position)) {
            None => return Ok(Opened::Behind(0)),
            Some(Ok(place)) => place,
            Some(Err(error)) => {
                let reason = format!(
                    "its checkpoint says no place in the journal: {error}; stop the gateway, and set one with `headgate checkpoints set \
                     {id} NUMBER`"
                );
                return Ok(Opened::Foreign(reason));
            }
        };
        if let Some(reason) = place.foreign(&self.journal, id).await {
            return Ok(Opened::Foreign(reason));
        }
        Ok(Opened::Behind(place.sequence))
    }

    async fn next(
        &mut self,
        reader: &mut LaneReader,
        closed: &CancellationToken,
        stopping: bool,
    ) -> Next {
        let next_batch = self.next_batch;
        let next_entries = async {
            if next_batch > Instant::now() {
                tokio::time::sleep_until(next_batch).await;
            }
            reader.next(BATCH_BYTES).await
        };
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => Next::Abandoned,
            changed = self.progress.changed() => if changed.is_ok() { Next::Released } else { Next::Abandoned },
            Ok(()) = self.indexed.changed() => Next::Released,
            entries = next_entries => Next::Entries(entries),
            // When it is closed already, something has to happen before it can end.
            () = closed.cancelled(), if !closed.is_cancelled() => Next::Closed,
            () = self.stop.cancelled(), if !stopping => Next::Stopped,
        }
    }

    fn release(&mut self) {
        let durable = self.progress.now().durable;
        self.release_up_to(durable);
    }

    fn release_up_to(&mut self, durable: u64) {
        let indexed = *self.indexed.borrow_and_update();
        let up_to = durable.min(indexed);
        if up_to <= self.released {
            return;
        }
        self.released = up_to;
        self.journal.release(&self.lane.id, up_to);
        crate::failpoint::reach("journal-released");
    }

    /// Makes one batch of the records; false when the lane's task is gone.
    async fn feed(&mut self, entries: Vec<Entry>) -> bool {
        let Some(place) = entries.last().map(Place::behind) else {
            return true;
        };
        let last = place.sequence;
        let mut batch = Batch {
            position: Some(Position::encode(&place)),
            ..Batch::default()
        };
        for Entry {
            sequence, payload, ..
        } in entries
        {
            if let Err(error) = wire::decode_events_into(payload, &mut batch) {
                tracing::error!(lane = %self.lane.id, sequence, %error, "a record of the journal cannot be read and is left out");
                metrics::counter!("headgate_journal_unreadable_records_total").increment(1);
            }
        }
        let weight = batch.weight();
        if weight < BATCH_BYTES / 2 {
            self.next_batch = Instant::now() + GATHER;
        }
        let bytes = u32::try_from(weight.min(self.capacity)).unwrap_or(u32::MAX);
        let mut waiting = pin!(Arc::clone(&self.room).acquire_many_owned(bytes));
        let room = loop {
            // What becomes durable meanwhile must not hold the journal's segments.
            tokio::select! {
                biased;
                () = self.abandon.cancelled() => return false,
                changed = self.progress.changed() => match changed {
                    Ok(_) => self.release(),
                    Err(_) => return false,
                },
                Ok(()) = self.indexed.changed() => self.release(),
                room = &mut waiting => break room,
            }
        };
        let Ok(room) = room else { return false };
        self.fed = last;
        let submission = Submission {
            number: last,
            batch,
            room,
        };
        tokio::select! {
            () = self.abandon.cancelled() => false,
            sent = self.queue.send(submission) => sent.is_ok(),
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.door.wall_up();
    }
}
