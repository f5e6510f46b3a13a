//! What is known about each lane, and the records that wait for it in memory.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use headgate_sdk::Str;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::index::{Index, IndexedLane};
use super::record::{Entry, Parts, parse};
use crate::segment::{FileLayer, Frame, Observer, Sequence};

/// All lanes that ever had a record that is still held, or that somebody reads.
#[derive(Default)]
pub(super) struct Lanes {
    by_id: RwLock<HashMap<Str, Arc<LaneState>>>,
}

/// One lane.
pub(super) struct LaneState {
    pub(super) id: Str,
    pub(super) marks: Mutex<Marks>,
    /// New records, or the end.
    pub(super) news: Notify,
}

/// How far a lane is, and its queue.
#[derive(Default)]
pub(super) struct Marks {
    /// The first record that is not released, or a place before it; `None`: all are.
    pub(super) hold_from: Option<Sequence>,
    /// The last durable record.
    pub(super) last: Sequence,
    /// Up to here the lane is done.
    pub(super) released: Sequence,
    pub(super) queue: VecDeque<Entry>,
    pub(super) queued_bytes: usize,
    /// Whether new records go into the queue. Otherwise what comes after the queue is on disk only.
    pub(super) follows: bool,
    pub(super) readers: u32,
}

impl Marks {
    fn saw(&mut self, sequence: Sequence) {
        self.last = self.last.max(sequence);
        if sequence > self.released {
            self.hold_from.get_or_insert(sequence);
        }
    }

    /// Queues a record, if there is room. What comes afterwards is on disk only, if there is none.
    fn offer(&mut self, entry: Entry, queue_bytes: usize) {
        self.follows = self.queued_bytes + entry.weight() <= queue_bytes;
        if self.follows {
            self.queued_bytes += entry.weight();
            self.queue.push_back(entry);
        }
    }

    /// Returns from where the lane held before, if it moved.
    pub(super) fn release(&mut self, up_to: Sequence) -> Option<Sequence> {
        let before = self.hold_from?;
        self.released = self.released.max(up_to);
        if up_to < before {
            return None;
        }
        self.hold_from = (up_to < self.last).then_some(up_to + 1);
        Some(before)
    }
}

impl Lanes {
    pub(super) fn get(&self, id: &str) -> Option<Arc<LaneState>> {
        self.by_id.read().get(id).cloned()
    }

    pub(super) fn get_or_add(&self, id: &str) -> Arc<LaneState> {
        if let Some(lane) = self.get(id) {
            return lane;
        }
        let id = Str::new(id);
        let fresh = LaneState {
            id: id.clone(),
            marks: Mutex::default(),
            news: Notify::new(),
        };
        self.by_id
            .write()
            .entry(id)
            .or_insert_with(|| Arc::new(fresh))
            .clone()
    }

    /// Notes a reader, so that the lane is not forgotten.
    pub(super) fn attach(&self, id: &str) -> Arc<LaneState> {
        loop {
            let lane = self.get_or_add(id);
            let by_id = self.by_id.read();
            if by_id.get(id).is_some_and(|known| Arc::ptr_eq(known, &lane)) {
                lane.marks.lock().readers += 1;
                return lane;
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<LaneState>> {
        self.by_id.read().values().cloned().collect()
    }

    /// The first sequence that any lane holds.
    pub(super) fn hold_from(&self) -> Option<Sequence> {
        self.by_id
            .read()
            .values()
            .filter_map(|lane| lane.marks.lock().hold_from)
            .min()
    }

    pub(super) fn restore(&self, index: &Index) {
        for lane in &index.lanes {
            let state = self.get_or_add(&lane.id);
            let mut marks = state.marks.lock();
            marks.hold_from = Some(lane.hold_from);
            marks.released = lane.hold_from.saturating_sub(1);
            marks.last = lane.last;
        }
    }

    /// The index of everything before `as_of`, all of which has been counted. Lanes without records or readers are forgotten.
    pub(super) fn index(&self, as_of: Sequence) -> Index {
        let mut by_id = self.by_id.write();
        by_id.retain(|_, lane| {
            let marks = lane.marks.lock();
            marks.hold_from.is_some() || marks.readers > 0
        });
        let mut lanes: Vec<_> = by_id
            .values()
            .filter_map(|lane| {
                let marks = lane.marks.lock();
                let hold_from = marks.hold_from?;
                Some(IndexedLane {
                    id: lane.id.clone(),
                    hold_from,
                    last: marks.last,
                })
            })
            .collect();
        lanes.sort_by(|a, b| a.id.cmp(&b.id));
        Index::new(as_of, lanes)
    }

    /// Counts a durable record, without queueing it.
    pub(super) fn count(&self, lane: &str, sequence: Sequence) {
        self.get_or_add(lane).marks.lock().saw(sequence);
    }

    /// Lets every reader look again.
    pub(super) fn wake_all(&self) {
        for lane in self.all() {
            lane.news.notify_waiters();
        }
    }
}

/// Hands durable records to their lanes, on the committer's thread.
pub(super) struct Distributor {
    pub(super) lanes: Arc<Lanes>,
    pub(super) queue_bytes: usize,
    pub(super) dir: PathBuf,
    pub(super) files: Arc<dyn FileLayer>,
    /// The lane of the record before: mostly the same again.
    pub(super) recent: Option<Arc<LaneState>>,
}

impl Observer for Distributor {
    fn committed(&mut self, frame: &Frame) {
        let parsed = || {
            let records = frame.slices();
            records.filter_map(|(sequence, data)| Some((sequence, parse(data)?)))
        };
        let mut lanes = parsed().map(|(_, parts)| parts.lane);
        let is_shared = lanes
            .next()
            .is_some_and(|first| lanes.any(|lane| lane != first));
        let mut woken: Vec<Arc<LaneState>> = Vec::new();
        let mut records = parsed().peekable();
        while let Some(&(_, Parts { lane, .. })) = records.peek() {
            let state = match self.recent.take() {
                Some(recent) if *recent.id == *lane => recent,
                _ => self.lanes.get_or_add(lane),
            };
            let mut marks = state.marks.lock();
            while let Some((sequence, parts)) = records.next_if(|(_, parts)| parts.lane == lane) {
                marks.saw(sequence);
                if !marks.follows {
                    continue;
                }
                // A queue that is bounded must not keep whole frames for a small part of each.
                let is_small_part = is_shared && parts.payload.len() < frame.weight() / 4;
                let entry = Entry {
                    sequence,
                    committed_ms: frame.committed_ms,
                    kind: parts.kind,
                    payload: match is_small_part {
                        true => Bytes::copy_from_slice(parts.payload),
                        false => frame.share(parts.payload),
                    },
                };
                marks.offer(entry, self.queue_bytes);
            }
            drop(marks);
            if woken.last().is_none_or(|last| !Arc::ptr_eq(last, &state)) {
                woken.push(state.clone());
            }
            self.recent = Some(state);
        }
        for lane in woken {
            lane.news.notify_waiters();
        }
    }

    fn sealed(&mut self, next: Sequence) -> Option<Sequence> {
        let index = self.lanes.index(next);
        self.recent = None;
        if let Err(error) = index.store(&self.dir, &*self.files) {
            tracing::warn!(%error, "index of lanes not stored: the next start reads more of the journal");
        }
        // A lane that was done with the sealed segment before there was another one has nothing more to say about it.
        let held = self.lanes.hold_from().unwrap_or(next);
        Some(held.min(next).saturating_sub(1))
    }

    fn ended(&mut self) {
        self.lanes.wake_all();
    }
}
