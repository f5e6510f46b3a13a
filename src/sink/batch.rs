//! What goes to a sink at once.

use headgate_sdk::{DeadLetter, Entry, Envelope, LaneId, Position, Str};

use super::Notes;

/// A batch on its way to one sink. Shared, because it is kept until it is durable and may be sent again.
#[derive(Debug)]
pub struct SinkBatch {
    /// The lane it belongs to.
    pub lane: LaneId,
    /// The lane's delivery number; grows, with gaps where other sinks got a batch and this one did not.
    pub number: u64,
    /// What to write, in order.
    pub records: Vec<Record>,
    /// Dead letters to write with it; only for sinks that [keep](super::Keeps) them.
    pub dead_letters: Vec<DeadLetter>,
    /// The lane's checkpoint after this batch, to be stored atomically with it; only for sinks that keep checkpoints and when
    /// this sink alone decides about the lane's durability.
    pub checkpoint: Option<Checkpoint>,
    /// Where its records landed: the sink adds to it before it tells the outcome.
    pub landed: Notes,
}

impl SinkBatch {
    /// Bytes it holds, for bounds.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.records
            .iter()
            .map(|r| r.envelope.weight())
            .sum::<usize>()
            + self
                .dead_letters
                .iter()
                .map(|d| d.envelope.weight())
                .sum::<usize>()
    }
}

/// An event with its destination.
#[derive(Debug, Clone)]
pub struct Record {
    /// The event.
    pub envelope: Envelope,
    /// The topic, checked against the rules for topic names.
    pub topic: Str,
    /// The key; `None` writes no key.
    pub key: Option<Str>,
    /// Headers besides the envelope's own.
    pub headers: Vec<(Str, Str)>,
}

/// Where a lane resumes, and its keyed entries' changes since the checkpoint before.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Where to resume; `None` leaves the stored position.
    pub position: Option<Position>,
    /// Changes of entries, in order.
    pub entries: Vec<Entry>,
    /// Whether it lies inside a transaction of the source; see [`Batch::unfinished`](headgate_sdk::Batch::unfinished).
    pub unfinished: bool,
}

impl Checkpoint {
    /// Adds a later checkpoint of the same lane.
    pub fn extend(&mut self, later: Self) {
        if later.position.is_some() {
            self.position = later.position;
        }
        self.entries.extend(later.entries);
        self.unfinished = later.unfinished;
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.position.is_none() && self.entries.is_empty()
    }
}
