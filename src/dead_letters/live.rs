//! Which letters are live.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use headgate_sdk::DeadLetter;
use parking_lot::Mutex;

use super::record::{Content, decode};
use crate::segment::{Frame, Observer, Record, Sequence};

/// Names a letter: a digest of source, id and step.
type Key = [u8; 16];

/// The live letters, oldest first.
#[derive(Default)]
pub(super) struct Live {
    by_key: HashMap<Key, Sequence>,
    by_position: BTreeMap<Sequence, Key>,
}

impl Live {
    /// Takes a record into account; records come in order.
    pub(super) fn apply(&mut self, record: Record) {
        let position = record.sequence;
        match decode(record.data) {
            Some(Content::Letter(letter)) => {
                let key = key_of(&letter);
                if let Some(before) = self.by_key.insert(key, position) {
                    self.by_position.remove(&before);
                }
                self.by_position.insert(position, key);
            }
            Some(Content::Resolved(positions)) => {
                for position in positions {
                    if let Some(key) = self.by_position.remove(&position) {
                        self.by_key.remove(&key);
                    }
                }
            }
            None => tracing::error!(
                position,
                "a record of the dead letters cannot be read: was it written by a newer version?"
            ),
        }
    }

    pub(super) fn contains(&self, position: Sequence) -> bool {
        self.by_position.contains_key(&position)
    }

    pub(super) fn first(&self) -> Option<Sequence> {
        self.by_position.keys().next().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.by_position.len()
    }
}

fn key_of(letter: &DeadLetter) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in [&letter.envelope.source, &letter.envelope.id, &letter.step] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

/// Follows what becomes durable.
pub(super) struct Follower(pub(super) Arc<Mutex<Live>>);

impl Observer for Follower {
    fn committed(&mut self, frame: &Frame) {
        let mut live = self.0.lock();
        for record in frame.records() {
            live.apply(record);
        }
        metrics::gauge!("headgate_dead_letters_kept").set(live.count() as f64);
    }
}
