//! Go-back-N: after a batch failed, what is behind it on its lane has to wait until it comes again.

use std::collections::{HashMap, hash_map::Entry};

use headgate_sdk::LaneId;

/// The lanes of which a batch failed, and the number of the first that did.
#[derive(Default)]
pub(super) struct Barriers(HashMap<LaneId, u64>);

impl Barriers {
    /// A batch failed.
    pub(super) fn raise(&mut self, lane: &LaneId, number: u64) {
        let first = self.0.entry(lane.clone()).or_insert(number);
        *first = (*first).min(number);
    }

    /// Whether a batch may be written: it is the one that failed, or none before it did. Batches that were under way already when
    /// the one before them failed may not: written, they would take the lane's checkpoint past what is missing.
    pub(super) fn admit(&mut self, lane: &LaneId, number: u64) -> bool {
        match self.0.entry(lane.clone()) {
            Entry::Vacant(_) => true,
            Entry::Occupied(first) if number > *first.get() => false,
            Entry::Occupied(first) => {
                first.remove();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_failed_batch_waits_until_that_one_comes_again() {
        let (a, b) = (LaneId::from_stored("a"), LaneId::from_stored("b"));
        let mut barriers = Barriers::default();
        assert!(barriers.admit(&a, 7));
        barriers.raise(&a, 9);
        barriers.raise(&a, 8);
        // Under way already.
        assert!(!barriers.admit(&a, 10));
        assert!(!barriers.admit(&a, 9));
        assert!(barriers.admit(&b, 10));
        // Sent again.
        assert!(barriers.admit(&a, 8));
        assert!(barriers.admit(&a, 9));
        // A lane that was opened anew counts from one.
        barriers.raise(&a, 10);
        assert!(barriers.admit(&a, 1));
        assert!(barriers.admit(&a, 11));
    }
}
