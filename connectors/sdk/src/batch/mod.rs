//! The batch: the unit of work from a source to a sink.

mod outgoing;
pub mod wire;

use bytes::Bytes;

pub use outgoing::{Outgoing, Payload};

use crate::{Envelope, Position, Str, Timestamp};

/// What a source sends on a lane at once.
///
/// Its parts are stored as one: once the batch is durable, `position` and `entries` are in the lane's checkpoint, and never
/// before. Events keep their order. A batch without events is legal (it only moves the checkpoint).
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Events, in the lane's order.
    pub events: Vec<Envelope>,
    /// Records that the source could not turn into events. They become dead letters and count as durable once those are.
    pub rejected: Vec<DeadLetter>,
    /// Where reading may resume once this batch is durable; `None` where resuming here is not safe.
    pub position: Option<Position>,
    /// Changes of the lane's keyed entries.
    pub entries: Vec<Entry>,
    /// Whether the batch ends inside a transaction of the source, so that a sink that writes transactions would rather have it
    /// together with what follows. A wish, for the sake of consumers: resuming at `position` is safe all the same.
    pub unfinished: bool,
}

impl Batch {
    /// Bytes this batch holds, for [`Lane::reserve`](crate::Lane::reserve) and all other bounds.
    #[must_use]
    pub fn weight(&self) -> usize {
        let events: usize = self.events.iter().map(Envelope::weight).sum();
        let rejected: usize = self.rejected.iter().map(|r| r.envelope.weight()).sum();
        let entries: usize = self.entries.iter().map(Entry::weight).sum();
        events + rejected + entries
    }

    /// Whether it carries neither events nor rejected records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_empty()
    }
}

/// A change of one keyed entry of a lane's checkpoint (a file's state, a schema version, a snapshot's progress, a dedup key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; keys of a lane sort bytewise and may be read back by prefix.
    pub key: Str,
    /// The new value; `None` removes the entry.
    pub value: Option<Bytes>,
}

impl Entry {
    /// Sets `key`.
    #[must_use]
    pub fn put(key: impl Into<Str>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Removes `key`.
    #[must_use]
    pub fn remove(key: impl Into<Str>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }

    /// Bytes of its key and value.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// An event that cannot go on, with everything a person needs to mend it and a machine to retry it.
///
/// Made by sources (a record that is no event), by pipeline steps and by sinks alike. The envelope holds the original bytes
/// and whatever attributes are known; a source fills id, source, type and time as it would for a good record.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The event as the failed step saw it.
    pub envelope: Box<Envelope>,
    /// The step that failed: `source`, a pipeline step's name, or `sink/{name}`.
    pub step: Str,
    /// A stable word for machines: `malformed`, `unmatched`, `too_large`, ….
    pub reason: Str,
    /// A sentence for people, which says what to do.
    pub message: Str,
    /// Where in the source: path, line and column, a table's key, ….
    pub place: Option<Str>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed.
    pub failed_at: Timestamp,
}

impl DeadLetter {
    /// A dead letter of the first attempt, failed now.
    #[must_use]
    pub fn new(
        envelope: Envelope,
        step: impl Into<Str>,
        reason: impl Into<Str>,
        message: impl Into<Str>,
    ) -> Self {
        Self {
            envelope: Box::new(envelope),
            step: step.into(),
            reason: reason.into(),
            message: message.into(),
            place: None,
            attempts: 1,
            failed_at: Timestamp::now(),
        }
    }
}
