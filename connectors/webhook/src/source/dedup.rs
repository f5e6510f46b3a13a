//! Which deliveries were seen before.
//!
//! An id is claimed under one lock, so that of any number of simultaneous deliveries one becomes the event and the others wait
//! for its outcome. It is stored as an entry of the very batch that carries the event: no second write, and after a crash the
//! journal brings both back or neither. A failed attempt gives its claim back.
//!
//! Memory: about 100 bytes an id, at most `max_ids`; the oldest make room, and those older than the window are removed a few with
//! each new one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use headgate_sdk::{Entry, Lane, LaneError, Str, Timestamp};
use tokio::sync::watch;

/// Entries of the lane start with this; then the time in seconds as ten digits, `/`, and the id's hash.
const PREFIX: &str = "dedup/";
/// How many outdated ids one delivery removes.
const REMOVED_AT_ONCE: usize = 4;
const PAGE: usize = 1000;

type Hash = [u8; 16];

/// The recent ids of one lane.
pub(super) struct Seen {
    state: Mutex<State>,
    window_s: i64,
    max_ids: usize,
}

#[derive(Default)]
struct State {
    ids: HashMap<Hash, Slot>,
    /// Stored ids, the oldest first.
    order: VecDeque<(i64, Hash)>,
}

enum Slot {
    /// Somebody is about to make it durable.
    Claimed(watch::Receiver<Option<bool>>),
    /// It is.
    Stored,
}

/// What an id was when it came in.
pub(super) enum Arrival {
    /// The first: it must be settled.
    First(Claim),
    /// A repetition of one that is durable.
    Repetition,
}

/// The right to make an id's event. Dropped unsettled, it is given back.
pub(super) struct Claim {
    seen: Arc<Seen>,
    hash: Hash,
    at: i64,
    outcome: Option<watch::Sender<Option<bool>>>,
}

impl Seen {
    /// Reads the ids that the lane remembers.
    pub(super) async fn restore(
        lane: &Lane,
        window: Duration,
        max_ids: usize,
    ) -> Result<Arc<Self>, LaneError> {
        let mut state = State::default();
        let mut after: Option<Str> = None;
        loop {
            let page = lane.entries(PREFIX, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            for (key, _) in page {
                if let Some((at, hash)) = parse(&key) {
                    state.ids.insert(hash, Slot::Stored);
                    state.order.push_back((at, hash));
                }
                after = Some(key);
            }
            if !full {
                break;
            }
        }
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            window_s: i64::try_from(window.as_secs()).unwrap_or(i64::MAX),
            max_ids: max_ids.max(1),
        }))
    }

    /// Claims `id`, or waits until whoever claimed it is done. Cancel safe.
    pub(super) async fn arrive(self: &Arc<Self>, id: &str, now: Timestamp) -> Arrival {
        let digest = blake3::hash(id.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.as_bytes()[..16]);
        loop {
            let mut others = match self.claim(hash, now.as_second()) {
                Ok(arrival) => return arrival,
                Err(others) => others,
            };
            // An outcome of `false`, or none at all, leaves the id to the next.
            let outcome = others
                .wait_for(Option::is_some)
                .await
                .map(|outcome| *outcome);
            if let Ok(Some(true)) = outcome {
                return Arrival::Repetition;
            }
        }
    }

    fn claim(
        self: &Arc<Self>,
        hash: Hash,
        now: i64,
    ) -> Result<Arrival, watch::Receiver<Option<bool>>> {
        let mut state = self.lock();
        match state.ids.get(&hash) {
            Some(Slot::Stored) => {
                let outdated = state
                    .order
                    .iter()
                    .take_while(|(at, _)| at.saturating_add(self.window_s) < now)
                    .any(|(_, one)| *one == hash);
                if !outdated {
                    return Ok(Arrival::Repetition);
                }
            }
            Some(Slot::Claimed(outcome)) => return Err(outcome.clone()),
            None => {}
        }
        let (outcome, receiver) = watch::channel(None);
        state.ids.insert(hash, Slot::Claimed(receiver));
        Ok(Arrival::First(Claim {
            seen: Arc::clone(self),
            hash,
            at: now,
            outcome: Some(outcome),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// What must be in the batch that carries the event: this id, and the removal of some that have had their time.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut state = self.seen.lock();
        let mut entries = vec![Entry::put(key(self.at, &self.hash), Vec::new())];
        for _ in 0..REMOVED_AT_ONCE {
            let full = state.order.len() >= self.seen.max_ids;
            let Some((at, hash)) = state.order.front().copied() else {
                break;
            };
            if !full && at.saturating_add(self.seen.window_s) >= self.at {
                break;
            }
            state.order.pop_front();
            if matches!(state.ids.get(&hash), Some(Slot::Stored)) {
                state.ids.remove(&hash);
            }
            entries.push(Entry::remove(key(at, &hash)));
        }
        entries
    }

    /// Says what became of it.
    pub(super) fn settle(mut self, stored: bool) {
        self.conclude(stored);
    }

    fn conclude(&mut self, stored: bool) {
        let Some(outcome) = self.outcome.take() else {
            return;
        };
        let mut state = self.seen.lock();
        if stored {
            state.ids.insert(self.hash, Slot::Stored);
            state.order.push_back((self.at, self.hash));
        } else {
            state.ids.remove(&self.hash);
        }
        drop(state);
        outcome.send_replace(Some(stored));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.conclude(false);
    }
}

fn key(at: i64, hash: &Hash) -> Str {
    Str::from(format!("{PREFIX}{at:010}/{}", hex::encode(hash)))
}

fn parse(key: &str) -> Option<(i64, Hash)> {
    let (at, hash) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(hash, &mut bytes).ok()?;
    Some((at.parse().ok()?, bytes))
}
