//! Where the records of a batch came to lie, as far as its sink tells: what `headgate trace` knows of it.
//!
//! It is told per batch and kept as stretches, never per event; sinks that cannot tell leave it empty.

use std::ops::Range;

use headgate_sdk::Str;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Where records lie. Between the ends of a stretch there may be others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// In Kafka, by topic and partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Extent>,
    /// In an embedded log: the first position and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<(u64, u64)>,
}

/// A stretch of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
    /// The lowest offset.
    pub first: i64,
    /// The highest.
    pub last: i64,
}

impl Landed {
    /// Whether nothing is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.log.is_none()
    }

    /// Adds a record that lies in a topic. Records of a partition mostly come one after the other, which is cheap.
    pub fn add(&mut self, topic: &str, partition: i32, offset: i64) {
        self.widen(topic, partition, offset, offset);
    }

    /// Adds records that lie in a log.
    pub fn add_log(&mut self, positions: &Range<u64>) {
        if !positions.is_empty() {
            self.widen_log(positions.start, positions.end - 1);
        }
    }

    /// Adds another's.
    pub fn extend(&mut self, other: &Self) {
        for extent in &other.topics {
            self.widen(&extent.topic, extent.partition, extent.first, extent.last);
        }
        if let Some((first, last)) = other.log {
            self.widen_log(first, last);
        }
    }

    fn widen(&mut self, topic: &str, partition: i32, first: i64, last: i64) {
        let is_it = |extent: &Extent| extent.partition == partition && extent.topic == topic;
        let at = match self.topics.last() {
            Some(extent) if is_it(extent) => Some(self.topics.len() - 1),
            _ => self.topics.iter().position(is_it),
        };
        match at {
            Some(at) => {
                let extent = &mut self.topics[at];
                extent.first = extent.first.min(first);
                extent.last = extent.last.max(last);
                // The next one will find it at once.
                let end = self.topics.len() - 1;
                self.topics.swap(at, end);
            }
            None => self.topics.push(Extent {
                topic: topic.into(),
                partition,
                first,
                last,
            }),
        }
    }

    fn widen_log(&mut self, first: u64, last: u64) {
        let (lowest, highest) = self.log.unwrap_or((first, last));
        self.log = Some((lowest.min(first), highest.max(last)));
    }
}

/// What a sink notes on a batch. Each attempt adds to it, since what an attempt wrote may lie there even if it failed.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Landed>);

impl Notes {
    /// Adds where records landed.
    pub fn add(&self, landed: &Landed) {
        if !landed.is_empty() {
            self.0.lock().extend(landed);
        }
    }

    /// Everything so far, which is forgotten here.
    #[must_use]
    pub fn take(&self) -> Landed {
        std::mem::take(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_by_topic_and_partition() {
        let mut landed = Landed::default();
        for (topic, partition, offset) in [
            ("a", 0, 7),
            ("a", 0, 8),
            ("a", 1, 100),
            ("b", 0, 3),
            ("a", 0, 9),
            ("a", 1, 99),
        ] {
            landed.add(topic, partition, offset);
        }
        let notes = Notes::default();
        notes.add(&landed);
        let mut later = Landed::default();
        later.add("b", 0, 20);
        later.add_log(&(5..5));
        later.add_log(&(5..9));
        notes.add(&later);
        let mut told = notes.take();
        told.topics
            .sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let told_topics: Vec<_> = told
            .topics
            .iter()
            .map(|e| (e.topic.as_str(), e.partition, e.first, e.last))
            .collect();
        assert_eq!(
            told_topics,
            [("a", 0, 7, 9), ("a", 1, 99, 100), ("b", 0, 3, 20)]
        );
        assert_eq!(told.log, Some((5, 8)));
        assert!(notes.take().is_empty());
    }
}
