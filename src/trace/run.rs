//! A stretch of a lane's batches on their way into one sink.

use headgate_sdk::Str;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::sink::Landed;

/// Stretches of partitions that an entry of the ledger names before the next batch gets one of its own.
const STRETCHES: usize = 256;

/// Batches that became durable, or whose refused records became dead letters. What lies in a stretch of its places is, for the
/// most part, theirs; other lanes write there too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The lane.
    pub lane: Str,
    /// The sink.
    pub sink: Str,
    /// The number of the first batch on its lane.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// How many batches.
    pub batches: u64,
    /// How many events.
    pub events: u64,
    /// How often they were sent; more than one only for a batch on its own.
    pub attempts: u32,
    /// How many events the sink refused.
    pub refused: u64,
    /// When the first was sent for the first time, milliseconds since 1970.
    pub begun_ms: i64,
    /// When the last became durable.
    pub durable_ms: i64,
    /// Where the events are, as far as the sink tells.
    #[serde(default, skip_serializing_if = "Landed::is_empty")]
    pub landed: Landed,
}

impl Run {
    /// Whether a place of a sink is within its stretches.
    pub(super) fn holds(&self, sink: &str, topic: &str, place: Place) -> bool {
        let within = match place {
            Place::Log { position } => self
                .landed
                .log
                .is_some_and(|(first, last)| (first..=last).contains(&position)),
            Place::Partition { partition, offset } => {
                let mut stretches = self.landed.topics.iter();
                stretches.any(|stretch| {
                    stretch.topic == topic
                        && stretch.partition == partition
                        && (stretch.first..=stretch.last).contains(&offset)
                })
            }
        };
        within && self.sink == sink
    }

    /// Takes what followed into the same entry, if both went smoothly; tells whether it did.
    pub(super) fn take(&mut self, next: &Self) -> bool {
        let smooth = |run: &Self| run.attempts == 1 && run.refused == 0;
        if self.lane != next.lane
            || self.sink != next.sink
            || !smooth(self)
            || !smooth(next)
            || self.landed.topics.len() + next.landed.topics.len() > STRETCHES
        {
            return false;
        }
        self.last = next.last;
        self.batches += next.batches;
        self.events += next.events;
        self.begun_ms = self.begun_ms.min(next.begun_ms);
        self.durable_ms = self.durable_ms.max(next.durable_ms);
        self.landed.extend(&next.landed);
        true
    }
}
