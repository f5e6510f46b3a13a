//! Reading the journal: one lane, or everything.

use std::collections::VecDeque;
use std::sync::Arc;

use headgate_sdk::{LaneId, Str};

use super::JournalError;
use super::lanes::LaneState;
use super::record::{Entry, entry, parse};
use super::store::Shared;
use crate::segment::{self, Sequence};

/// How much of the journal is read at once while a lane's records are looked for.
const SCAN_BYTES: usize = 1 << 20;

/// A lane's cursor. One at a time per lane.
pub struct LaneReader {
    shared: Arc<Shared>,
    lane: Arc<LaneState>,
    log: segment::Reader,
    /// Everything of the lane before this was returned, or is in `ahead`.
    next: Sequence,
    /// Read from disk beyond what was asked for.
    ahead: VecDeque<Entry>,
}

impl LaneReader {
    pub(super) fn new(shared: Arc<Shared>, lane: Arc<LaneState>, from: Sequence) -> Self {
        let log = shared.log.reader(from);
        {
            let mut marks = lane.marks.lock();
            marks.queue.clear();
            marks.queued_bytes = 0;
            marks.follows = false;
        }
        Self {
            shared,
            lane,
            log,
            next: from,
            ahead: VecDeque::new(),
        }
    }

    /// The sequence from which on nothing was returned yet.
    #[must_use]
    pub fn position(&self) -> Sequence {
        self.ahead.front().map_or(self.next, |entry| entry.sequence)
    }

    /// Whether everything of the lane that is durable now was returned.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let marks = self.lane.marks.lock();
        self.ahead.is_empty() && marks.queue.is_empty() && marks.last < self.next
    }

    /// Waits for records of the lane and returns up to about `max_bytes` of them, in order.
    ///
    /// Empty only when the journal has ended (it was closed or has failed) and everything durable was read. Cancel safe.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Vec<Entry>, JournalError> {
        let lane = self.lane.clone();
        loop {
            let mut woken = std::pin::pin!(lane.news.notified());
            woken.as_mut().enable();
            match self.take(max_bytes) {
                Taken::Entries(entries) => return Ok(entries),
                Taken::OnDisk => self.scan().await?,
                Taken::Nothing if self.shared.log.has_ended() => return Ok(Vec::new()),
                Taken::Nothing => woken.await,
            }
        }
    }

    /// What is in memory.
    fn take(&mut self, max_bytes: usize) -> Taken {
        if !self.ahead.is_empty() {
            return Taken::Entries(take_up_to(&mut self.ahead, max_bytes));
        }
        // Before the marks: whatever becomes durable later is counted in them later.
        let durable = self.shared.log.durable();
        let mut marks = self.lane.marks.lock();
        if marks.queue.is_empty() {
            if marks.follows {
                return Taken::Nothing;
            }
            if marks.last >= self.next {
                return Taken::OnDisk;
            }
            marks.follows = true;
            self.next = self.next.max(durable);
            return Taken::Nothing;
        }
        let entries = take_up_to(&mut marks.queue, max_bytes);
        marks.queued_bytes -= entries.iter().map(Entry::weight).sum::<usize>();
        self.next = entries.last().map_or(self.next, |last| last.sequence + 1);
        Taken::Entries(entries)
    }

    /// Reads a stretch of the log from the cursor on and keeps the lane's records. Cancel safe.
    async fn scan(&mut self) -> Result<(), JournalError> {
        self.log.seek(self.next);
        let records = self.log.read_now(SCAN_BYTES).await?;
        if records.is_empty() {
            if self.log.position() > self.next {
                // The rest was damaged.
                self.next = self.log.position();
            } else if !self.log.wait().await {
                self.next = self.next.max(self.lane.marks.lock().last + 1);
            }
            return Ok(());
        }
        for record in records {
            self.next = record.sequence + 1;
            let found = parse(&record.data).filter(|parts| *parts.lane == *self.lane.id);
            self.ahead.extend(found.map(|parts| entry(&record, parts)));
        }
        Ok(())
    }
}

/// Takes entries off the front, up to about `max_bytes`, at least one.
fn take_up_to(queue: &mut VecDeque<Entry>, max_bytes: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut left = max_bytes.max(1);
    while left > 0 {
        let Some(entry) = queue.pop_front() else {
            break;
        };
        left = left.saturating_sub(entry.weight());
        entries.push(entry);
    }
    entries
}

impl Drop for LaneReader {
    fn drop(&mut self) {
        let mut marks = self.lane.marks.lock();
        marks.readers -= 1;
        marks.follows = false;
        marks.queue = Default::default();
        marks.queued_bytes = 0;
    }
}

enum Taken {
    Entries(Vec<Entry>),
    OnDisk,
    Nothing,
}

/// Reads all lanes, for replays and traces. Holds nothing: what is released meanwhile is skipped.
pub struct JournalScan {
    log: segment::Reader,
    until: Sequence,
    /// Everything before this was returned.
    next: Sequence,
    /// Read already, but it became durable after the scan began.
    beyond: Vec<segment::Record>,
}

impl JournalScan {
    pub(super) fn new(log: segment::Reader) -> Self {
        Self {
            until: log.durable(),
            next: log.position(),
            beyond: Vec::new(),
            log,
        }
    }

    /// Goes on at `from`, as far as the journal is durable now. Where the scan has come to there, nothing is read again.
    pub fn resume(&mut self, from: Sequence) {
        if from != self.next {
            self.beyond.clear();
            self.log.seek(from);
            self.next = from;
        }
        self.until = self.log.durable();
    }

    /// The next records with their lanes, up to about `max_bytes`. Empty: everything was read that was durable when the scan
    /// began, or was resumed. Cancel safe.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Vec<(LaneId, Entry)>, JournalError> {
        loop {
            let mut records = std::mem::take(&mut self.beyond);
            if records.is_empty() && self.log.position() < self.until {
                // Empty where the rest is damaged: the position has moved past it then.
                records = self.log.read_now(max_bytes).await?;
            }
            let in_time = records.partition_point(|record| record.sequence < self.until);
            self.beyond = records.split_off(in_time);
            if let Some(last) = records.last() {
                self.next = last.sequence + 1;
            }
            let found: Vec<_> = records
                .iter()
                .filter_map(|record| {
                    let parts = parse(&record.data)?;
                    let lane = LaneId::from_stored(Str::new(parts.lane));
                    Some((lane, entry(record, parts)))
                })
                .collect();
            let is_done = !self.beyond.is_empty() || self.log.position() >= self.until;
            if !found.is_empty() || is_done {
                return Ok(found);
            }
        }
    }
}
