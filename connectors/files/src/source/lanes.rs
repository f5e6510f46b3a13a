//! One lane of the source: what is on its way into it, and what its checkpoint knows.
//!
//! The engine never waits for a lane. It puts batches into a backlog, and a task of the lane's own waits for room, sends, follows the
//! progress and reports what is durable. What was put and is not yet durable overlays what the checkpoint says.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry::Occupied},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use headgate_sdk::{
    Batch, DeadLetter, Delivery, Entry, Envelope, Lane, LaneError, LaneSpec, Lanes, Permit,
    Position, Replay, Str,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    digest::{Digested, digest},
    ledger::{self, FileEntry},
    watch::Key,
};

/// A batch is sent when it weighs this much.
const BATCH_BYTES: usize = 768 * 1024;

/// A lane with more than this on its way takes no further files.
const BACKLOG_BYTES: usize = 4 * BATCH_BYTES;

/// Entries without events wait this long for company.
const ENTRIES_WAIT: Duration = Duration::from_millis(100);

const PAGE: usize = 1000;

/// Stored values are written into pieces of memory of this size, each for many of them.
const VALUES_BYTES: usize = 32 * 1024;

/// The key of an entry, and its digest.
#[derive(Debug, Clone)]
pub(crate) struct EntryKey {
    pub(crate) text: Str,
    digest: u64,
}

impl From<Str> for EntryKey {
    fn from(text: Str) -> Self {
        Self {
            digest: digest(&[&text]),
            text,
        }
    }
}

/// An entry that was put and is not yet durable.
#[derive(Debug)]
struct OnItsWay {
    /// Of the batch.
    number: u64,
    /// Whether it is the entry of a file.
    of_file: bool,
    /// Where its value lies among those of the batch; `None` if it is removed.
    value: Option<(usize, usize)>,
}

/// What overlays the checkpoint for one batch: copies, because the threads that put and those that send would otherwise pass the
/// counter of each value back and forth.
#[derive(Debug, Default)]
struct Overlaid {
    number: u64,
    /// Digests of keys.
    keys: Vec<u64>,
    values: Vec<u8>,
}

/// A file whose batch became durable.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) key: Key,
    pub(crate) tenant: Str,
    pub(crate) entry: FileEntry,
}

/// Lets batches pass as long as the engine lives: what still runs after it was dropped must not send behind the back of the next run.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<bool>>);

impl Gate {
    pub(crate) fn open() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// Sends, or returns `None` if the engine is gone.
    pub(crate) fn send(&self, permit: Permit, batch: Batch) -> Option<Delivery> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.then(|| permit.send(batch))
    }

    /// From now on, nothing passes.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// What a lane's task reports.
#[derive(Debug)]
pub(crate) enum LaneEvent {
    /// Batches up to this number are durable.
    Durable {
        tenant: Str,
        number: u64,
        /// How many files are done with them.
        files: u64,
        /// Those of them for which there is something left to do.
        afters: Vec<After>,
    },
    /// The lane is closed or taken away.
    Closed(Str),
}

/// Shown by `headgate checkpoints show`; resuming needs only the entries.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct LanePosition {
    /// Events of files sent so far.
    files: u64,
}

struct Outgoing {
    batch: Batch,
    number: u64,
    files: u64,
    afters: Vec<After>,
}

/// The engine's side of a lane.
pub(crate) struct LaneState {
    lane: Lane,
    outgoing: mpsc::Sender<Outgoing>,
    backlog: VecDeque<Outgoing>,
    backlog_bytes: usize,
    pending: Batch,
    pending_bytes: usize,
    pending_files: u64,
    pending_afters: Vec<After>,
    pending_since: Option<Instant>,
    /// Number of the batch that is being filled.
    number: u64,
    files: u64,
    /// By the digests of their keys, of which two are the same with probability 2⁻⁶⁴.
    overlay: HashMap<u64, OnItsWay, Digested>,
    /// By their numbers; the last one is being filled.
    overlaid: VecDeque<Overlaid>,
    /// Where the next values are written.
    values: BytesMut,
    /// Digests of all keys that may have an entry.
    known: HashSet<u64, Digested>,
    /// Contents whose first event is not yet on its way: their duplicates wait.
    pub(crate) open_contents: HashSet<blake3::Hash>,
    /// Where counting returns starts.
    pub(crate) epoch: u64,
}

impl LaneState {
    /// Opens the lane of a tenant and reads which keys it knows.
    pub(crate) async fn open(
        lanes: &Lanes,
        tenant: &Str,
        name: Str,
        events: mpsc::Sender<LaneEvent>,
        gate: &Gate,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, LaneError> {
        let lane = lanes
            .open(LaneSpec {
                name,
                tenant: tenant.clone(),
                class: Str::new_static("default"),
                replay: Replay::FromSource,
            })
            .await?;
        let position: LanePosition = lane
            .restored()
            .and_then(|position| position.decode().ok())
            .unwrap_or_default();
        let mut known = HashSet::default();
        let mut epoch = 0;
        let mut after: Option<Str> = None;
        loop {
            let page = lane.entries("", after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                known.insert(digest(&[key]));
                if key == ledger::key::EPOCH {
                    epoch = ledger::get(value).unwrap_or(0);
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => break,
            }
        }
        let (outgoing, queue) = mpsc::channel(4);
        tasks.spawn(serve(
            lane.clone(),
            tenant.clone(),
            gate.clone(),
            queue,
            events,
        ));
        Ok(Self {
            lane,
            outgoing,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            pending: Batch::default(),
            pending_bytes: 0,
            pending_files: 0,
            pending_afters: Vec::new(),
            pending_since: None,
            number: 1,
            files: position.files,
            overlay: HashMap::default(),
            overlaid: VecDeque::from([Overlaid {
                number: 1,
                ..Overlaid::default()
            }]),
            values: BytesMut::new(),
            known,
            open_contents: HashSet::new(),
            epoch,
        })
    }

    /// A handle of the lane, for a task that sends by itself.
    pub(crate) fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// Whether further files may be taken for this lane.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog_bytes + self.pending_bytes < BACKLOG_BYTES
    }

    /// Reads an entry: what is on its way, else what is stored.
    pub(crate) async fn get<T: ledger::Stored>(
        &self,
        key: &EntryKey,
    ) -> Result<Option<T>, LaneError> {
        Ok(self.get_raw(key).await?.as_deref().and_then(ledger::get))
    }

    /// Reads an entry as it is stored.
    pub(crate) async fn get_raw(&self, key: &EntryKey) -> Result<Option<Bytes>, LaneError> {
        // What is on its way is known as well; most keys are asked for because they might be.
        if !self.known.contains(&key.digest) {
            return Ok(None);
        }
        if let Some(put) = self.overlay.get(&key.digest) {
            return Ok(self.value_of(put));
        }
        self.lane.entry(&key.text).await
    }

    fn value_of(&self, put: &OnItsWay) -> Option<Bytes> {
        let (start, end) = put.value?;
        let of = |overlaid: &Overlaid| overlaid.number;
        let batch = self.overlaid.binary_search_by_key(&put.number, of).ok()?;
        let value = self.overlaid.get(batch)?.values.get(start..end)?;
        Some(Bytes::copy_from_slice(value))
    }

    /// Whether [`get`](Self::get) may find something, without asking the store.
    pub(crate) fn may_know(&self, key: &EntryKey) -> bool {
        self.known.contains(&key.digest)
    }

    /// Whether there may be an entry whose key's parts, put together, have this [`digest`].
    pub(crate) fn may_know_digest(&self, digest: u64) -> bool {
        self.known.contains(&digest)
    }

    /// Whether an entry is on its way.
    pub(crate) fn is_on_its_way(&self, key: &EntryKey) -> bool {
        self.overlay.contains_key(&key.digest)
    }

    /// Adds an event of a file.
    pub(crate) fn push_event(&mut self, event: Envelope) {
        self.files += 1;
        self.pending_bytes += event.weight();
        self.pending.events.push(event);
    }

    /// Adds a dead letter.
    pub(crate) fn push_rejected(&mut self, letter: DeadLetter) {
        self.pending_bytes += letter.envelope.weight();
        self.pending.rejected.push(letter);
    }

    /// Adds a change of an entry.
    pub(crate) fn put(&mut self, entry: Entry) {
        let key = EntryKey::from(entry.key);
        self.change(key, entry.value);
    }

    /// Sets an entry to what `write` writes.
    pub(crate) fn put_written(&mut self, key: EntryKey, write: impl FnOnce(&mut BytesMut)) {
        if self.values.capacity() < VALUES_BYTES / 64 {
            self.values = BytesMut::with_capacity(VALUES_BYTES);
        }
        write(&mut self.values);
        let value = self.values.split().freeze();
        self.change(key, Some(value));
    }

    fn change(&mut self, EntryKey { text, digest }: EntryKey, value: Option<Bytes>) {
        self.pending_bytes += text.len() + value.as_ref().map_or(0, Bytes::len);
        self.known.insert(digest);
        if let Some(overlaid) = self.overlaid.back_mut() {
            let start = overlaid.values.len();
            let value = value.as_ref().map(|value| {
                overlaid.values.extend_from_slice(value);
                (start, start + value.len())
            });
            let put = OnItsWay {
                number: overlaid.number,
                of_file: text.starts_with("f/"),
                value,
            };
            self.overlay.insert(digest, put);
            overlaid.keys.push(digest);
        }
        self.pending.entries.push(Entry { key: text, value });
        self.pending_since.get_or_insert_with(Instant::now);
    }

    /// A file is done with what was added, once it is durable, but for what is to be done `after` that. What is added next may belong
    /// to it.
    pub(crate) fn file_done(&mut self, after: Option<After>) {
        self.pending_files += 1;
        self.pending_afters.extend(after);
    }

    /// Ends what belongs together: here a batch may be cut.
    pub(crate) fn finish(&mut self) {
        if self.pending_bytes >= BATCH_BYTES {
            self.cut();
        }
    }

    /// Sends what waits, if it holds events, or has waited long enough.
    pub(crate) fn flush(&mut self, now: Instant) {
        let waited = self
            .pending_since
            .is_some_and(|since| now >= since + ENTRIES_WAIT);
        if !self.pending.is_empty() || waited {
            self.cut();
        }
        self.pump();
    }

    /// When [`flush`](Self::flush) has something to do.
    pub(crate) fn next_flush(&self) -> Option<Instant> {
        self.pending_since.map(|since| since + ENTRIES_WAIT)
    }

    fn cut(&mut self) {
        if self.pending.is_empty() && self.pending.entries.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.pending);
        // The next one will be alike.
        self.pending.events.reserve(batch.events.len());
        self.pending.entries.reserve(batch.entries.len());
        batch.position = Some(Position::encode(&LanePosition { files: self.files }));
        let (keys, values) = self.overlaid.back().map_or((0, 0), |overlaid| {
            (overlaid.keys.len(), overlaid.values.len())
        });
        self.overlaid.push_back(Overlaid {
            number: self.number + 1,
            keys: Vec::with_capacity(keys),
            values: Vec::with_capacity(values),
        });
        // What is sent shares its memory with nothing that is still filled.
        self.values = BytesMut::new();
        self.backlog_bytes += self.pending_bytes;
        self.backlog.push_back(Outgoing {
            batch,
            number: self.number,
            files: std::mem::take(&mut self.pending_files),
            afters: std::mem::take(&mut self.pending_afters),
        });
        self.number += 1;
        self.pending_bytes = 0;
        self.pending_since = None;
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(outgoing) = self.backlog.pop_front() {
            let bytes = outgoing.batch.weight();
            match self.outgoing.try_send(outgoing) {
                Ok(()) => self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes),
                Err(
                    mpsc::error::TrySendError::Full(outgoing)
                    | mpsc::error::TrySendError::Closed(outgoing),
                ) => {
                    self.backlog.push_front(outgoing);
                    return;
                }
            }
        }
        self.backlog_bytes = 0;
    }

    /// Batches up to `number` are durable.
    pub(crate) fn durable(&mut self, number: u64) {
        let is_durable = |overlaid: &Overlaid| overlaid.number <= number;
        while self.overlaid.front().is_some_and(is_durable)
            && let Some(overlaid) = self.overlaid.pop_front()
        {
            for key in overlaid.keys {
                if let Occupied(put) = self.overlay.entry(key)
                    && put.get().number <= overlaid.number
                    && put.remove().value.is_none()
                {
                    self.known.remove(&key);
                }
            }
        }
    }

    /// Files that are sent and not durable.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.overlay.values().filter(|put| put.of_file).count()
    }
}

/// Waits for room, sends in order, and reports what is durable. Ends when the engine drops its side, or the lane is closed.
async fn serve(
    lane: Lane,
    tenant: Str,
    gate: Gate,
    mut queue: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<LaneEvent>,
) {
    let mut progress = lane.progress();
    let mut waiting: Option<Outgoing> = None;
    let mut sent: VecDeque<(u64, u64, u64, Vec<After>)> = VecDeque::new();
    loop {
        let weight = waiting
            .as_ref()
            .map_or(0, |outgoing| outgoing.batch.weight());
        tokio::select! {
            permit = lane.reserve(weight), if waiting.is_some() => {
                let (Ok(permit), Some(outgoing)) = (permit, waiting.take()) else {
                    break;
                };
                let Outgoing { batch, number, files, afters } = outgoing;
                let Some(delivery) = gate.send(permit, batch) else {
                    return;
                };
                sent.push_back((delivery.number(), number, files, afters));
            }
            outgoing = queue.recv(), if waiting.is_none() => match outgoing {
                Some(outgoing) => waiting = Some(outgoing),
                None => return,
            },
            state = progress.changed() => {
                let Ok(state) = state else { break };
                let (mut number, mut files) = (0, 0);
                let mut afters = Vec::new();
                while sent.front().is_some_and(|(delivery, ..)| *delivery <= state.durable) {
                    if let Some((_, batch, done, more)) = sent.pop_front() {
                        number = batch;
                        files += done;
                        if afters.is_empty() {
                            afters = more;
                        } else {
                            afters.extend(more);
                        }
                    }
                }
                if number > 0 {
                    let durable = LaneEvent::Durable { tenant: tenant.clone(), number, files, afters };
                    if events.send(durable).await.is_err() {
                        return;
                    }
                }
            }
            () = lane.revoked() => break,
        }
    }
    let _engine_ended = events.send(LaneEvent::Closed(tenant)).await;
}
