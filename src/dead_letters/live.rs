//! Which letters are live.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use headgate_sdk::{DeadLetter, Str};
use parking_lot::Mutex;

use super::record::{Apart, Content, Stored, decode};
use crate::segment::{Frame, Observer, Record, Sequence};

/// Names a letter: a digest of source, id and step.
type Key = [u8; 16];

/// What a record costs besides its data.
const OVERHEAD: u64 = 32;

/// The live letters. A letter's *position*, by which it is known, is where it was first written; its *place* is where it is now.
#[derive(Default)]
pub(super) struct Live {
    by_key: HashMap<Key, Sequence>,
    by_position: BTreeMap<Sequence, Slot>,
    by_place: BTreeMap<Sequence, Sequence>,
    /// What the live records take in the log.
    bytes: u64,
    /// What the files of data take.
    apart_bytes: u64,
    /// Files that no live letter has any more.
    orphans: Vec<Str>,
}

struct Slot {
    key: Key,
    place: Sequence,
    bytes: u64,
    apart: Option<Apart>,
}

impl Live {
    /// Takes a record into account; records come in order.
    pub(super) fn apply(&mut self, record: Record) {
        let place = record.sequence;
        let bytes = record.data.len() as u64 + OVERHEAD;
        match decode(record.data) {
            Some(Content::Letter(stored)) => self.letter(place, bytes, stored),
            Some(Content::Resolved(letters)) => {
                for letter in letters {
                    self.remove(letter.position);
                }
            }
            None => tracing::error!(
                place,
                "a record of the dead letters cannot be read: was it written by a newer version?"
            ),
        }
    }

    fn letter(&mut self, place: Sequence, bytes: u64, stored: Stored) {
        let position = stored.position.unwrap_or(place);
        let key = key_of(&stored.letter);
        if let Some(slot) = self.by_position.get_mut(&position) {
            // Moved: nothing else changes.
            self.by_place.remove(&slot.place);
            self.by_place.insert(place, position);
            self.bytes = self.bytes - slot.bytes + bytes;
            (slot.place, slot.bytes) = (place, bytes);
            return;
        }
        if let Some(before) = self.by_key.get(&key).copied() {
            self.remove(before);
        }
        self.by_key.insert(key, position);
        self.by_place.insert(place, position);
        self.bytes += bytes;
        self.apart_bytes += stored.apart.as_ref().map_or(0, |apart| apart.bytes);
        let slot = Slot {
            key,
            place,
            bytes,
            apart: stored.apart,
        };
        self.by_position.insert(position, slot);
    }

    fn remove(&mut self, position: Sequence) {
        let Some(slot) = self.by_position.remove(&position) else {
            return;
        };
        self.by_place.remove(&slot.place);
        self.by_key.remove(&slot.key);
        self.bytes -= slot.bytes;
        if let Some(apart) = slot.apart {
            self.apart_bytes -= apart.bytes;
            self.orphans.push(apart.name);
        }
    }

    /// Whether a letter of the same event and step is live.
    pub(super) fn knows(&self, letter: &DeadLetter) -> bool {
        self.by_key.contains_key(&key_of(letter))
    }

    pub(super) fn contains(&self, position: Sequence) -> bool {
        self.by_position.contains_key(&position)
    }

    /// Up to `limit` of (position, place), with positions after `after`.
    pub(super) fn after(&self, after: Sequence, limit: usize) -> Vec<(Sequence, Sequence)> {
        let slots = self.by_position.range(after.saturating_add(1)..);
        slots
            .take(limit)
            .map(|(position, slot)| (*position, slot.place))
            .collect()
    }

    /// Where a letter is now.
    pub(super) fn place(&self, position: Sequence) -> Option<Sequence> {
        self.by_position.get(&position).map(|slot| slot.place)
    }

    /// Which letter is at a place.
    pub(super) fn at(&self, place: Sequence) -> Option<Sequence> {
        self.by_place.get(&place).copied()
    }

    /// The first place that is needed.
    pub(super) fn first_place(&self) -> Option<Sequence> {
        self.by_place.keys().next().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.by_position.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn apart_bytes(&self) -> u64 {
        self.apart_bytes
    }

    /// The files that live letters have.
    pub(super) fn files(&self) -> HashSet<Str> {
        let slots = self.by_position.values();
        slots
            .filter_map(|slot| Some(slot.apart.as_ref()?.name.clone()))
            .collect()
    }

    /// Files that can go.
    pub(super) fn take_orphans(&mut self) -> Vec<Str> {
        std::mem::take(&mut self.orphans)
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
        metrics::gauge!("headgate_dead_letters_bytes")
            .set((live.bytes() + live.apart_bytes()) as f64);
    }
}
