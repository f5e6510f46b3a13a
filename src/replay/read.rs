//! Reads what a replay means.

use headgate_sdk::{Batch, Envelope, LaneId, Str, batch::wire};

use super::{Choice, cursor::CursorError};
use crate::{
    journal::{Journal, JournalError},
    segment::Sequence,
    sink::{
        Record,
        kafka::ReadError,
        log::{LogError, LogReader},
    },
};

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// A part that holds so much is large enough.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// A part of what is to be replayed, in its order.
#[derive(Debug)]
pub struct Chunk<T> {
    /// The events.
    pub events: Vec<T>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Sequence>,
}

/// Reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The embedded log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Topics.
    #[error(transparent)]
    Topics(#[from] ReadError),
    /// Where to go on.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The process ends.
    #[error("reading was stopped")]
    Stopped,
}

/// Up to `limit` events from where `reader` stands.
///
/// # Errors
/// [`ReplayError`] if the log cannot be read.
pub async fn from_log(
    mut reader: LogReader,
    choice: &Choice,
    limit: usize,
) -> Result<Chunk<Record>, ReplayError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    loop {
        let logged = reader.read(READ_BYTES).await?;
        if logged.is_empty() {
            return Ok(Chunk { events, next: None });
        }
        for one in logged {
            if choice.until.is_some_and(|until| one.delivered >= until) {
                // The log is in the order of delivery.
                return Ok(Chunk { events, next: None });
            }
            if choice.takes(&one.record.envelope, one.lane.source(), one.delivered) {
                bytes += one.record.envelope.weight();
                events.push(one.record);
                if events.len() >= limit || bytes >= MOST_BYTES {
                    let next = Some(one.position);
                    return Ok(Chunk { events, next });
                }
            }
        }
    }
}

/// Up to about `limit` events after `after`, each with its source's name. Records that were themselves replayed, or tried again,
/// are left out: their events are there already.
///
/// # Errors
/// [`ReplayError`] if the journal cannot be read.
pub async fn from_journal(
    journal: &Journal,
    choice: &Choice,
    after: Sequence,
    limit: usize,
) -> Result<Chunk<(Str, Envelope)>, ReplayError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut scan = journal.scan(after + 1);
    loop {
        let records = scan.next(READ_BYTES).await?;
        if records.is_empty() {
            return Ok(Chunk { events, next: None });
        }
        for (lane, entry) in records {
            if is_aside(&lane) {
                continue;
            }
            let mut batch = Batch::default();
            if let Err(error) = wire::decode_events_into(entry.payload, &mut batch) {
                tracing::error!(%lane, sequence = entry.sequence, %error, "a record of the journal is left out");
                continue;
            }
            let source = Str::new(lane.source());
            for event in batch.events {
                if choice.takes(&event, &source, event.recordedtime) {
                    bytes += event.weight();
                    events.push((source.clone(), event));
                }
            }
            if events.len() >= limit || bytes >= MOST_BYTES {
                let next = Some(entry.sequence);
                return Ok(Chunk { events, next });
            }
        }
    }
}

/// Whether events come to a lane a second time.
fn is_aside(lane: &LaneId) -> bool {
    let name = lane.as_str().split_once('/').map_or("", |(_, name)| name);
    name.starts_with("dead-letters:") || name.starts_with("replay:")
}
