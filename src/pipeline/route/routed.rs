//! A batch whose events have destinations.

use std::sync::Arc;

use headgate_sdk::DeadLetter;

use crate::{
    pipeline::LaneContext,
    sink::{Checkpoint, Record},
};

/// A set of sinks, by their index in the lane's list of sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkSet(u64);

impl SinkSet {
    /// The most sinks of one configuration.
    pub const MAX: usize = 64;

    /// All of the first `count` sinks.
    #[must_use]
    pub fn first(count: usize) -> Self {
        Self(if count >= Self::MAX {
            u64::MAX
        } else {
            (1 << count) - 1
        })
    }

    /// The sinks with these indices.
    #[must_use]
    pub fn of(indices: impl IntoIterator<Item = usize>) -> Self {
        Self(indices.into_iter().fold(0, |set, index| set | (1 << index)))
    }

    /// Whether it holds the sink.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    /// All but the sink of `index`.
    #[must_use]
    pub fn without(self, index: usize) -> Self {
        Self(self.0 & !(1 << index))
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A record and the sinks that get it.
#[derive(Debug)]
pub struct RoutedRecord {
    /// What they get.
    pub record: Record,
    /// Who gets it; never empty.
    pub sinks: SinkSet,
}

/// A batch behind the route.
#[derive(Debug)]
pub struct RoutedBatch {
    /// Its lane.
    pub lane: Arc<LaneContext>,
    /// Its delivery number.
    pub number: u64,
    /// What goes to sinks, in order.
    pub records: Vec<RoutedRecord>,
    /// What becomes dead letters.
    pub rejected: Vec<DeadLetter>,
    /// The lane's checkpoint after this batch.
    pub checkpoint: Checkpoint,
}
