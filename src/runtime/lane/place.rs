//! Where a lane of the journal resumes.
//!
//! A sequence alone means nothing in another journal, and a checkpoint may come from one: Kafka keeps it, and a `data_dir` was copied
//! and both went on, or the journal was exchanged. So it also says which record it is of, and what was accepted here is never taken
//! for delivered there.

use headgate_sdk::{LaneId, Position, PositionError};
use serde::{Deserialize, Serialize};

use crate::journal::{Entry, Journal, LaneInfo};

/// Behind a record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The record's sequence; 0 is before the first.
    pub(crate) sequence: u64,
    /// What is in it: the checksum of its payload. `None`: a person said so.
    record: Option<u32>,
}

impl Place {
    /// Behind `entry`.
    pub(super) fn behind(entry: &Entry) -> Self {
        Self {
            sequence: entry.sequence,
            record: Some(crc32c::crc32c(&entry.payload)),
        }
    }

    /// Reads it back; a number is one that a person gave, or that was written before records were named.
    pub(crate) fn of(position: &Position) -> Result<Self, PositionError> {
        match position.decode::<u64>() {
            Ok(sequence) => Ok(Self {
                sequence,
                record: None,
            }),
            Err(_) => position.decode(),
        }
    }

    /// Why it cannot be of this journal, if it cannot: for people, with what to do. Where nothing waits, nothing can be passed over:
    /// what comes is behind it. What the journal has let go of, or cannot read, is not compared.
    pub(crate) async fn foreign(&self, journal: &Journal, lane: &LaneId) -> Option<String> {
        let record = self.record?;
        let waits = |one: &LaneInfo| one.id == *lane && one.pending_from.is_some();
        let last = journal.lanes().into_iter().find(waits)?.last;
        let why = if self.sequence > last {
            Some("does not come so far, with events that are not delivered")
        } else {
            let found = journal.scan(self.sequence).next(1).await.ok()?;
            let (of, entry) = found.first()?;
            let is_it = *of == *lane && crc32c::crc32c(&entry.payload) == record;
            (entry.sequence == self.sequence && !is_it).then_some("has another record there")
        };
        why.map(|why| {
            format!(
                "its checkpoint is of another journal: it resumes behind record {}, and the journal in `data_dir` {why}, as after both \
                 went on with a copy of it; nothing is passed over: to have everything delivered that this journal still holds, \
                 twice what the other delivered, stop the gateway, run `headgate checkpoints set {lane} 0`, and start it again",
                self.sequence
            )
        })
    }
}
