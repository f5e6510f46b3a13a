//! When a transaction is committed: coalescing by bytes and time, at the boundaries of the sources' own transactions.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use headgate_sdk::LaneId;

use super::Transactions;

/// How long a lane inside a source's transaction may give nothing before what there is is committed, at least.
const QUIET: Duration = Duration::from_secs(1);
/// Batches that one lane may have in a transaction, well below what a lane may have under way.
const LANE_BATCHES: usize = 128;
/// Batches of one transaction, well below what a shard may have under way.
const BATCHES: usize = super::shard::PLACES / 2;

/// The bounds of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// When it may be committed, at a boundary.
    pub(super) interval: Duration,
    /// How large it may grow before that, at a boundary.
    pub(super) bytes: usize,
    /// When it must be committed, in parts.
    pub(super) max_bytes: usize,
    pub(super) max_time: Duration,
    /// What of one lane may be in it.
    pub(super) lane_bytes: usize,
}

impl Limits {
    /// From the settings, and from what a lane and the sink may have under way: a lane that waits for a commit must never keep
    /// that commit waiting.
    pub(super) fn new(settings: &Transactions, lane_in_flight: usize, room: usize) -> Self {
        let max_bytes = settings.max_bytes.as_usize().min(room / 2);
        Self {
            interval: settings.interval.get(),
            bytes: settings.bytes.as_usize().min(max_bytes),
            max_bytes,
            max_time: settings.timeout.get() / 2,
            lane_bytes: lane_in_flight / 2,
        }
    }
}

/// What goes into the next transaction, and what has been put off to the one after it.
pub(super) struct Gathering {
    limits: Limits,
    began: Instant,
    bytes: usize,
    batches: usize,
    deferred_bytes: usize,
    /// The lanes that are inside a transaction of their source.
    open: HashMap<LaneId, Used>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    bytes: usize,
    batches: usize,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Commit now.
    Commit,
    /// Take another batch, of any lane; ask again at that time.
    Any(Instant),
    /// Take another batch, of an open lane only; commit if none comes until then.
    OfOpen(Instant),
}

impl Gathering {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            began: now,
            bytes: 0,
            batches: 0,
            deferred_bytes: 0,
            open: HashMap::new(),
        }
    }

    /// A batch joins; `unfinished` says that it ends inside a transaction of its source.
    pub(super) fn add(&mut self, lane: &LaneId, bytes: usize, unfinished: bool) {
        self.bytes += bytes;
        self.batches += 1;
        if unfinished {
            let used = self.open.entry(lane.clone()).or_default();
            used.bytes += bytes;
            used.batches += 1;
        } else {
            self.open.remove(lane);
        }
    }

    /// A batch was put off.
    pub(super) fn defer(&mut self, bytes: usize) {
        self.deferred_bytes += bytes;
    }

    pub(super) fn is_open(&self, lane: &LaneId) -> bool {
        self.open.contains_key(lane)
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        let limits = &self.limits;
        let age = now.saturating_duration_since(self.began);
        let full = self.bytes >= limits.max_bytes
            || self.batches >= BATCHES
            || age >= limits.max_time
            || self.deferred_bytes >= limits.max_bytes / 2
            || self
                .open
                .values()
                .any(|used| used.bytes >= limits.lane_bytes || used.batches >= LANE_BATCHES);
        if full {
            return Next::Commit;
        }
        let due = age >= limits.interval || self.bytes >= limits.bytes;
        match (due, self.open.is_empty()) {
            (true, true) => Next::Commit,
            (true, false) => {
                let quiet = QUIET.max(limits.interval);
                Next::OfOpen((now + quiet).min(self.began + limits.max_time))
            }
            (false, _) => Next::Any(self.began + limits.interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            interval: Duration::from_millis(50),
            bytes: 1000,
            max_bytes: 4000,
            max_time: Duration::from_secs(30),
            lane_bytes: 3000,
        }
    }

    fn lane(name: &str) -> LaneId {
        LaneId::from_stored(name)
    }

    #[test]
    fn waits_for_more_until_time_or_bytes_say_so() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(), now);
        gathering.add(&lane("a"), 10, false);
        assert_eq!(gathering.next(now), Next::Any(now + limits().interval));
        assert_eq!(gathering.next(now + limits().interval), Next::Commit);
        gathering.add(&lane("a"), 990, false);
        assert_eq!(gathering.next(now), Next::Commit);
    }

    #[test]
    fn waits_for_the_end_of_a_sources_transaction() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(), now);
        gathering.add(&lane("a"), 1000, false);
        gathering.add(&lane("b"), 1000, true);
        assert_eq!(gathering.next(now), Next::OfOpen(now + QUIET));
        assert!(gathering.is_open(&lane("b")) && !gathering.is_open(&lane("a")));
        gathering.add(&lane("b"), 10, false);
        assert_eq!(gathering.next(now), Next::Commit);
    }

    #[test]
    fn gives_up_waiting_where_it_would_hold_itself_up() {
        let now = Instant::now();
        let with = |fill: fn(&mut Gathering)| {
            let mut gathering = Gathering::new(limits(), now);
            gathering.add(&lane("b"), 10, true);
            fill(&mut gathering);
            gathering
        };
        assert_eq!(
            with(|g| g.add(&lane("b"), 4000, true)).next(now),
            Next::Commit
        );
        assert_eq!(
            with(|g| g.add(&lane("b"), 2990, true)).next(now),
            Next::Commit
        );
        assert_eq!(with(|g| g.defer(2000)).next(now), Next::Commit);
        let many = with(|g| (0..LANE_BATCHES).for_each(|_| g.add(&lane("b"), 1, true)));
        assert_eq!(many.next(now), Next::Commit);
        assert_eq!(with(|_| {}).next(now + limits().max_time), Next::Commit);
    }
}
