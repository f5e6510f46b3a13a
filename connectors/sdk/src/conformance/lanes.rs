//! Lanes in memory, with durability at the suite's will.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, Delivery, Envelope, Lane, LaneError, LaneId, LaneSpec, Position, Replay, Str,
    lane::{LaneBackend, LaneOpener, LaneParts, Progress, ProgressState, Restored},
};

/// Opens lanes whose batches become durable at once, or when the suite says so.
///
/// It keeps what a gateway would keep: checkpoints (position and entries) and, for journaled lanes, what was accepted.
#[derive(Clone)]
pub struct MemoryLanes {
    shared: Arc<Mutex<Shared>>,
    capacity: usize,
    paused: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    held: bool,
    lanes: HashMap<LaneId, Stored>,
    /// Changes with everything that is sent or becomes durable.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Stored {
    position: Option<Position>,
    entries: BTreeMap<Str, Bytes>,
    durable: Vec<Envelope>,
    rejected: Vec<crate::DeadLetter>,
    pending: VecDeque<Pending>,
    last: u64,
    open: Option<watch::Sender<ProgressState>>,
}

struct Pending {
    number: u64,
    batch: Batch,
    /// Gone after a crash, with the run that it belongs to.
    room: Option<OwnedSemaphorePermit>,
    /// Survives a crash.
    journaled: bool,
}

/// Everything that a lane has got.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Events that are durable, in order.
    pub durable: Vec<Envelope>,
    /// Events that were sent and are not durable, in order.
    pub pending: Vec<Envelope>,
    /// Rejected records, durable or not.
    pub rejected: Vec<crate::DeadLetter>,
}

impl MemoryLanes {
    /// Lanes that let at most `capacity` bytes be under way.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::default(),
            capacity,
            paused: watch::Sender::new(false),
        }
    }

    /// From now on, batches stay undurable until [`release`](Self::release).
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// From now on, batches are durable at once, and so is everything that was held.
    pub fn release(&self) {
        self.lock().held = false;
        self.release_up_to(usize::MAX);
    }

    /// Makes up to `batches` held batches of each lane durable, the oldest first.
    pub fn release_up_to(&self, batches: usize) {
        let mut shared = self.lock();
        for stored in shared.lanes.values_mut() {
            for _ in 0..batches.min(stored.pending.len()) {
                stored.make_durable();
            }
        }
        shared.changes.send_modify(|n| *n += 1);
    }

    /// Forgets what a crash would forget: batches that are not durable, except accepted ones of journaled lanes. The source's
    /// task must have been aborted.
    pub fn crash(&self) {
        for stored in self.lock().lanes.values_mut() {
            stored.open = None;
            stored.pending.retain(|pending| pending.journaled);
            stored
                .pending
                .iter_mut()
                .for_each(|pending| pending.room = None);
        }
    }

    /// Pauses or resumes the source, as an operator would.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// What each lane has got so far.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<LaneId, Sent> {
        let shared = self.lock();
        shared
            .lanes
            .iter()
            .map(|(id, stored)| (id.clone(), stored.sent()))
            .collect()
    }

    /// The stored entries of a lane.
    #[must_use]
    pub fn stored_entries(&self, lane: &LaneId) -> BTreeMap<Str, Bytes> {
        self.lock()
            .lanes
            .get(lane)
            .map(|stored| stored.entries.clone())
            .unwrap_or_default()
    }

    /// The stored position of a lane.
    #[must_use]
    pub fn stored_position(&self, lane: &LaneId) -> Option<Position> {
        self.lock()
            .lanes
            .get(lane)
            .and_then(|stored| stored.position.clone())
    }

    /// Waits until `enough` says so about what was sent. Cancel safe.
    pub async fn wait_for(&self, mut enough: impl FnMut(&BTreeMap<LaneId, Sent>) -> bool) {
        let mut changes = self.lock().changes.subscribe();
        while !enough(&self.sent()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until `is_last` says so about a durable event. It is shown each one once, in the order of its lane, those that are
    /// durable already first: however many there are, nothing is copied. Cancel safe.
    pub async fn wait_for_event(&self, mut is_last: impl FnMut(&Envelope) -> bool) {
        let mut changes = self.lock().changes.subscribe();
        let mut seen: HashMap<LaneId, usize> = HashMap::new();
        loop {
            for (id, stored) in &self.lock().lanes {
                let seen = seen.entry(id.clone()).or_default();
                for event in &stored.durable[*seen..] {
                    *seen += 1;
                    if is_last(event) {
                        return;
                    }
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    fn make_durable(&mut self) {
        let Some(Pending {
            number,
            batch,
            room,
            ..
        }) = self.pending.pop_front()
        else {
            return;
        };
        drop(room);
        if batch.position.is_some() {
            self.position.clone_from(&batch.position);
        }
        for entry in batch.entries {
            match entry.value {
                Some(value) => drop(self.entries.insert(entry.key, value)),
                None => drop(self.entries.remove(&entry.key)),
            }
        }
        self.durable.extend(batch.events);
        self.rejected.extend(batch.rejected);
        if let Some(progress) = &self.open {
            progress.send_modify(|state| {
                state.durable = number;
                if batch.position.is_some() {
                    state.position = batch.position;
                }
            });
        }
    }

    fn sent(&self) -> Sent {
        let pending = self.pending.iter();
        Sent {
            durable: self.durable.clone(),
            pending: pending
                .clone()
                .flat_map(|pending| pending.batch.events.clone())
                .collect(),
            rejected: self
                .rejected
                .iter()
                .cloned()
                .chain(pending.flat_map(|p| p.batch.rejected.clone()))
                .collect(),
        }
    }
}

impl LaneOpener for MemoryLanes {
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        Box::pin(async move {
            let id = LaneId::new("subject", &spec, "0");
            let (progress_sender, progress) = watch::channel(ProgressState::default());
            let mut shared = self.lock();
            let stored = shared.lanes.entry(id.clone()).or_default();
            if stored
                .open
                .as_ref()
                .is_some_and(|open| open.receiver_count() > 0)
            {
                return Err(LaneError::Refused {
                    id,
                    reason: "it is open already".into(),
                });
            }
            // What a journal kept is entered into the checkpoint's entries before the lane opens.
            let mut overlay = Vec::new();
            for pending in &stored.pending {
                overlay.extend(pending.batch.entries.iter().cloned());
            }
            for entry in overlay {
                match entry.value {
                    Some(value) => drop(stored.entries.insert(entry.key, value)),
                    None => drop(stored.entries.remove(&entry.key)),
                }
            }
            stored.open = Some(progress_sender);
            let restored = Restored {
                position: stored.position.clone(),
            };
            let backend = Backend {
                lanes: self.clone(),
                id: id.clone(),
                journaled: spec.replay == Replay::FromJournal,
                progress: Progress::new(progress.clone()),
            };
            Ok(Lane::new(LaneParts {
                id,
                spec,
                restored,
                capacity: self.capacity,
                progress: Progress::new(progress),
                revoked: CancellationToken::new(),
                paused: self.paused.subscribe(),
                backend: Arc::new(backend),
            }))
        })
    }
}

struct Backend {
    lanes: MemoryLanes,
    id: LaneId,
    journaled: bool,
    progress: Progress,
}

impl LaneBackend for Backend {
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery {
        let mut shared = self.lanes.lock();
        let held = shared.held;
        let stored = shared.lanes.entry(self.id.clone()).or_default();
        stored.last += 1;
        let number = stored.last;
        // A journal gives the room back once it has the batch on disk.
        let room = (!self.journaled).then_some(room);
        stored.pending.push_back(Pending {
            number,
            batch,
            room,
            journaled: self.journaled,
        });
        if !held {
            stored.make_durable();
        }
        shared.changes.send_modify(|n| *n += 1);
        Delivery::accepted_now(number, self.progress.clone())
    }

    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        let shared = self.lanes.lock();
        let entries = shared.lanes.get(&self.id).map(|stored| &stored.entries);
        let matching = entries.into_iter().flatten().filter(|(key, _)| {
            key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        let found = matching
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Box::pin(async move { Ok(found) })
    }

    fn entry<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        let shared = self.lanes.lock();
        let value = shared
            .lanes
            .get(&self.id)
            .and_then(|stored| stored.entries.get(key).cloned());
        Box::pin(async move { Ok(value) })
    }
}
