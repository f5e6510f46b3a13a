//! The keys that were seen.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use headgate_sdk::{DeadLetter, Entry, LaneId, Str};

use crate::pipeline::state::Mourner;
use crate::runtime::{CheckpointError, Checkpoints, Commit};
use crate::sink::Checkpoint;

/// What an entry is found by, and who set it: 128 bits of a hash.
pub(super) type Hash = u128;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody had it.
    New,
    /// The same event had it.
    Again,
    /// Another event had it.
    Duplicate,
}

/// The keys of one step, in memory, and in the store behind it if there is one.
pub struct DedupState {
    keys: Mutex<Keys>,
    window: Duration,
    max_entries: usize,
    /// Where they are stored: among the checkpoints, as entries of a lane that no source has.
    lane: LaneId,
    store: Option<Checkpoints>,
    evicted: metrics::Counter,
}

#[derive(Default)]
struct Keys {
    entries: HashMap<Hash, Set>,
    /// The key that an event set.
    by_setter: HashMap<Hash, Hash>,
    /// In the order in which they were set; those that are gone or were set anew since are skipped.
    order: VecDeque<(Hash, i64)>,
}

/// Who set a key, and when.
#[derive(Clone, Copy)]
struct Set {
    setter: Hash,
    at_second: i64,
}

impl DedupState {
    /// The state `name` (`{pipeline}/{step}`), read from `store` if there is one. Blocks for that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(
        name: &str,
        window: Duration,
        max_entries: usize,
        store: Option<Checkpoints>,
    ) -> Result<Self, CheckpointError> {
        const PAGE: usize = 10_000;
        let lane = LaneId::from_stored(format!("dedup/{name}"));
        let mut restored: Vec<(Hash, Set)> = Vec::new();
        if let Some(store) = &store {
            let mut after: Option<Str> = None;
            loop {
                let page = store.entries(&lane, "", after.as_deref(), PAGE)?;
                restored.extend(page.iter().filter_map(|(key, value)| {
                    Some((u128::from_str_radix(key, 16).ok()?, Set::decode(value)?))
                }));
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                    _ => break,
                }
            }
        }
        restored.sort_unstable_by_key(|(_, set)| set.at_second);
        let mut keys = Keys::default();
        for (key, set) in restored {
            keys.insert(key, set);
        }
        Ok(Self {
            keys: Mutex::new(keys),
            window,
            max_entries,
            lane,
            store,
            evicted: metrics::counter!("headgate_dedup_evicted_keys_total", "step" => name.to_owned()),
        })
    }

    pub(super) fn has_settings(&self, window: Duration, max_entries: usize) -> bool {
        self.window == window && self.max_entries == max_entries
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks about `key` for the event `setter`, and remembers it if it is new; what has to be stored goes to `changes`.
    pub(super) fn see(
        &self,
        key: Hash,
        setter: Hash,
        now_second: i64,
        changes: &mut Vec<Entry>,
    ) -> Seen {
        let mut keys = self.lock();
        let oldest =
            now_second.saturating_sub(i64::try_from(self.window.as_secs()).unwrap_or(i64::MAX));
        match keys.entries.get(&key) {
            Some(set) if set.at_second >= oldest => {
                return if set.setter == setter {
                    Seen::Again
                } else {
                    Seen::Duplicate
                };
            }
            _ => {}
        }
        let set = Set {
            setter,
            at_second: now_second,
        };
        keys.insert(key, set);
        changes.push(Entry::put(hex(key), set.encode()));
        // A few at a time, so that no event pays for all that expired overnight.
        for _ in 0..4 {
            let Some(gone) = keys.oldest() else { break };
            let expired = keys.entries[&gone].at_second < oldest;
            let over = keys.entries.len() > self.max_entries;
            if !expired && !over {
                break;
            }
            if !expired {
                self.evicted.increment(1);
            }
            keys.remove(gone);
            changes.push(Entry::remove(hex(gone)));
        }
        Seen::New
    }

    /// A commit of `changes`, `None` if nothing has to be stored.
    pub(super) fn commit(
        &self,
        changes: Vec<Entry>,
        done: Option<Box<dyn FnOnce() + Send>>,
    ) -> Option<(&Checkpoints, Commit)> {
        let store = self.store.as_ref().filter(|_| !changes.is_empty())?;
        let commit = Commit {
            lane: self.lane.clone(),
            checkpoint: Checkpoint {
                entries: changes,
                ..Checkpoint::default()
            },
            mark: None,
            done,
        };
        Some((store, commit))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mourner for DedupState {
    fn dead_lettered(&self, letters: &[DeadLetter]) {
        let mut changes = Vec::new();
        let mut keys = self.lock();
        for letter in letters {
            let setter = setter(&letter.envelope.source, &letter.envelope.id);
            if let Some(key) = keys.by_setter.get(&setter).copied() {
                keys.remove(key);
                changes.push(Entry::remove(hex(key)));
            }
        }
        drop(keys);
        if let Some((store, commit)) = self.commit(changes, None) {
            // Late is fine: an entry that is still there after a crash lets its own event pass.
            let store = store.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { store.commit(commit).await });
            } else {
                store.commit_blocking(commit);
            }
        }
    }
}

impl Keys {
    fn insert(&mut self, key: Hash, set: Set) {
        if let Some(earlier) = self.entries.insert(key, set) {
            self.by_setter.remove(&earlier.setter);
        }
        self.by_setter.insert(set.setter, key);
        self.order.push_back((key, set.at_second));
    }

    fn remove(&mut self, key: Hash) {
        if let Some(set) = self.entries.remove(&key) {
            self.by_setter.remove(&set.setter);
        }
    }

    /// The key that was set first of those that are left.
    fn oldest(&mut self) -> Option<Hash> {
        while let Some(&(key, at_second)) = self.order.front() {
            if self
                .entries
                .get(&key)
                .is_some_and(|set| set.at_second == at_second)
            {
                return Some(key);
            }
            self.order.pop_front();
        }
        None
    }
}

impl Set {
    fn encode(self) -> Bytes {
        let mut value = BytesMut::with_capacity(24);
        value.put_u128(self.setter);
        value.put_i64(self.at_second);
        value.freeze()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        Some(Self {
            setter: u128::from_be_bytes(value.get(..16)?.try_into().ok()?),
            at_second: i64::from_be_bytes(value.get(16..24)?.try_into().ok()?),
        })
    }
}

/// Who sets a key: an event by its source and id.
pub(super) fn setter(source: &str, id: &str) -> Hash {
    hash(&[source, id])
}

/// The hash of texts, each with its length, so that no two lists look alike.
pub(super) fn hash(parts: &[&str]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(bits)
}

fn hex(key: Hash) -> Str {
    format!("{key:032x}").into()
}
