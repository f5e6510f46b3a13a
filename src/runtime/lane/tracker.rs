//! The ack tracker: which prefix of a lane's batches is durable.

use std::collections::VecDeque;

use tokio::sync::OwnedSemaphorePermit;

use crate::sink::Checkpoint;

/// A lane's undurable batches, in order.
///
/// Invariant: a checkpoint leaves only as part of the contiguous durable prefix.
#[derive(Debug, Default)]
pub(crate) struct AckTracker {
    slots: VecDeque<Slot>,
    /// Slots that have left at the front; the index of a slot is its serial minus this.
    left: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    checkpoint: Checkpoint,
    durable: bool,
    /// The batch's room on the lane, given back when it is durable.
    room: Option<OwnedSemaphorePermit>,
}

/// A durable prefix.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// The delivery number of its last batch.
    pub(crate) number: u64,
    /// The checkpoint after it.
    pub(crate) checkpoint: Checkpoint,
}

impl AckTracker {
    /// Adds a batch behind all others and returns its serial.
    pub(crate) fn push(
        &mut self,
        number: u64,
        checkpoint: Checkpoint,
        room: Option<OwnedSemaphorePermit>,
    ) -> u64 {
        self.slots.push_back(Slot {
            number,
            checkpoint,
            durable: false,
            room,
        });
        self.left + self.slots.len() as u64 - 1
    }

    /// A batch is durable. Returns the prefix that this completes, `None` while an earlier batch is missing.
    pub(crate) fn durable(&mut self, serial: u64) -> Option<Prefix> {
        let index = usize::try_from(serial - self.left).expect("as many slots as fit in memory");
        let slot = &mut self.slots[index];
        slot.durable = true;
        slot.room = None;
        let mut prefix: Option<Prefix> = None;
        while self.slots.front().is_some_and(|slot| slot.durable) {
            let Slot {
                number, checkpoint, ..
            } = self.slots.pop_front().expect("just seen");
            self.left += 1;
            match &mut prefix {
                None => prefix = Some(Prefix { number, checkpoint }),
                Some(prefix) => {
                    prefix.number = number;
                    prefix.checkpoint.extend(checkpoint);
                }
            }
        }
        prefix
    }

    /// Batches that are not durable or wait for an earlier one.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::Position;
    use proptest::prelude::*;

    use super::*;

    fn at(n: u64) -> Checkpoint {
        Checkpoint {
            position: Some(Position::encode(&n)),
            ..Checkpoint::default()
        }
    }

    proptest! {
        /// Whatever the order in which batches become durable, positions leave in order, each only when all before are durable.
        #[test]
        fn only_contiguous_prefixes_leave(order in Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut tracker = AckTracker::default();
            for n in 0..40 {
                prop_assert_eq!(tracker.push(n * 10, at(n), None), n);
            }
            let mut done = std::collections::BTreeSet::new();
            let mut told = 0;
            for serial in order {
                done.insert(serial);
                let contiguous = (0..40).take_while(|n| done.contains(n)).count() as u64;
                match tracker.durable(serial) {
                    None => prop_assert_eq!(contiguous, told),
                    Some(prefix) => {
                        prop_assert!(contiguous > told);
                        prop_assert_eq!(prefix.number, (contiguous - 1) * 10);
                        let position: u64 = prefix.checkpoint.position.unwrap().decode().unwrap();
                        prop_assert_eq!(position, contiguous - 1);
                        told = contiguous;
                    }
                }
            }
            prop_assert_eq!(told, 40);
            prop_assert_eq!(tracker.len(), 0);
        }
    }
}
