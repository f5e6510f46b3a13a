//! Files on their way from discovered to stable: a pure state, told the time by its caller.
//!
//! A file is due when its stamp stood still for `settle` and nothing says that it is being written. Two looks are always at
//! least `settle` apart: the one that set `since`, and the one of whoever takes a due file and compares its stamp again.
//!
//! Memory: at most `capacity` candidates, with one entry in the queue of times each; files that are being read are counted
//! by whoever took them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{Hint, Key};
use crate::{digest::Digested, stamp::Stamp};

/// A file that was seen and is not yet taken.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// As last looked at; `None` before the first look.
    pub stamp: Option<Stamp>,
    /// When it was first seen in this version.
    pub first_seen: Instant,
    /// Since when it stands still, or when it may be tried again.
    since: Instant,
    writing: bool,
    queued: bool,
}

/// The candidates of a source.
#[derive(Debug)]
pub struct Tracker {
    settle: Duration,
    growing: bool,
    capacity: usize,
    lot: usize,
    candidates: HashMap<Key, Candidate, Digested>,
    /// By the time at which candidates may be due, with the modification times by which they are taken then. What a scan finds comes
    /// in lots that have one time.
    times: BTreeMap<Instant, Vec<(i64, Key)>>,
    /// What `times` held for the earliest time, which has come; the oldest file last, because it is taken first.
    due: Vec<(i64, Key)>,
    due_at: Instant,
    held: Option<Instant>,
    unlooked: HashSet<Key, Digested>,
    /// Taken and not given back, and what was hinted about them meanwhile.
    taken: HashMap<Key, Option<Hint>, Digested>,
    overflowed: bool,
}

impl Tracker {
    /// A tracker of at most `capacity` candidates that must stand still for `settle`; scans find up to `lot` at once. Files that are
    /// `growing` need not stand still: they are due `settle` after they were first seen, so that what is appended is read at that pace.
    #[must_use]
    pub fn new(settle: Duration, capacity: usize, lot: usize, growing: bool) -> Self {
        Self {
            settle,
            growing,
            capacity,
            lot,
            candidates: HashMap::default(),
            times: BTreeMap::new(),
            due: Vec::new(),
            due_at: Instant::now(),
            held: None,
            unlooked: HashSet::default(),
            taken: HashMap::default(),
            overflowed: false,
        }
    }

    /// Whether another lot of files that a scan found has room. What the last lot does not need is left for files that events name.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.candidates.len() + self.lot <= self.capacity
    }

    fn is_full(&self) -> bool {
        self.candidates.len() >= self.capacity
    }

    /// How many are discovered and not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Whether `key` is being read.
    #[must_use]
    pub fn is_taken(&self, key: &Key) -> bool {
        self.taken.contains_key(key)
    }

    /// Takes what an event said. [`Hint::Folder`] is not for files.
    pub fn hint(&mut self, key: Key, hint: Hint, now: Instant) {
        if let Some(meanwhile) = self.taken.get_mut(&key) {
            if !(hint == Hint::Touched && meanwhile.is_some()) {
                *meanwhile = Some(hint);
            }
            return;
        }
        if hint == Hint::Gone {
            self.forget(&key);
            return;
        }
        if !self.candidates.contains_key(&key) && self.is_full() {
            self.overflowed = true;
            return;
        }
        let candidate = self
            .candidates
            .entry(key.clone())
            .or_insert_with(|| Candidate::new(None, now));
        let closed = candidate.writing && hint == Hint::Complete;
        match hint {
            Hint::Writing => candidate.writing = !self.growing,
            Hint::Complete => candidate.writing = false,
            Hint::Touched | Hint::Folder | Hint::Gone => {}
        }
        // Whether anything changed is for the look to say: an event that comes late does not make a file younger.
        if !self.growing && (closed || candidate.stamp.is_none()) {
            candidate.since = now;
        }
        self.unlooked.insert(key);
    }

    /// Takes what a look (a scan, or [`unlooked`](Self::unlooked)) found. Returns `false` if there was no room for it.
    pub fn found(&mut self, key: &Key, stamp: Stamp, now: Instant) -> bool {
        if self.taken.contains_key(key) {
            return true;
        }
        self.unlooked.remove(key);
        if let Some(candidate) = self.candidates.get_mut(key) {
            if candidate.stamp != Some(stamp) {
                candidate.stamp = Some(stamp);
                if !self.growing {
                    candidate.since = now;
                }
            }
            if !candidate.queued {
                candidate.queued = true;
                let due = candidate.since + self.settle;
                let at = self.times.entry(due).or_default();
                at.push((stamp.modified, key.clone()));
            }
            return true;
        }
        if self.is_full() {
            self.overflowed = true;
            return false;
        }
        let mut candidate = Candidate::new(Some(stamp), now);
        candidate.queued = true;
        self.candidates.insert(key.clone(), candidate);
        let at = self.times.entry(now + self.settle).or_default();
        at.push((stamp.modified, key.clone()));
        true
    }

    /// Up to `max` candidates that an event named and nobody has looked at since. The caller looks, and tells by
    /// [`found`](Self::found) or [`forget`](Self::forget).
    pub fn unlooked(&mut self, max: usize) -> Vec<Key> {
        let keys: Vec<Key> = self.unlooked.iter().take(max).cloned().collect();
        for key in &keys {
            self.unlooked.remove(key);
        }
        keys
    }

    /// Whether candidates wait for a look.
    #[must_use]
    pub fn wants_look(&self) -> bool {
        !self.unlooked.is_empty()
    }

    /// The next due file with its stamp, which the caller must find unchanged. It is taken until [`finish`](Self::finish) or
    /// [`put_back`](Self::put_back).
    pub fn take_due(&mut self, now: Instant) -> Option<(Key, Candidate)> {
        if self.held.is_some() && self.has_room() {
            return None;
        }
        while let Some((modified, key)) = self.pop_due(now) {
            let Some(candidate) = self.candidates.get_mut(&key) else {
                continue;
            };
            candidate.queued = false;
            let due = candidate.since + self.settle;
            if candidate.writing || due > now {
                candidate.queued = true;
                let again = if candidate.writing {
                    now + self.settle
                } else {
                    due
                };
                self.times.entry(again).or_default().push((modified, key));
                continue;
            }
            if candidate.stamp.is_none() || self.unlooked.contains(&key) {
                // Its look will queue it again.
                self.unlooked.insert(key);
                continue;
            }
            if let Some(candidate) = self.candidates.remove(&key) {
                self.taken.insert(key.clone(), None);
                return Some((key, candidate));
            }
        }
        None
    }

    /// Takes the next candidate whose time has come from the queue of times.
    fn pop_due(&mut self, now: Instant) -> Option<(i64, Key)> {
        if let Some((&earliest, _)) = self.times.first_key_value()
            && (self.due.is_empty() || earliest <= self.due_at)
        {
            if earliest > now {
                return None;
            }
            // One that was looked at late comes before those whose turn it is: they go back.
            let later = std::mem::take(&mut self.due);
            if !later.is_empty() {
                self.times.entry(self.due_at).or_default().extend(later);
            }
            (self.due_at, self.due) = self.times.pop_first()?;
            self.due.sort_unstable_by(|one, other| other.cmp(one));
        }
        self.due.pop()
    }

    /// When [`take_due`](Self::take_due) may next have something.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        if self.held.is_some() && self.has_room() {
            return None;
        }
        let waiting = self.times.first_key_value().map(|(at, _)| *at);
        let begun = (!self.due.is_empty()).then_some(self.due_at);
        [waiting, begun].into_iter().flatten().min()
    }

    /// A taken file is dealt with. What was hinted meanwhile makes it a candidate again.
    pub fn finish(&mut self, key: &Key, now: Instant) {
        if let Some(Some(hint)) = self.taken.remove(key) {
            self.hint(key.clone(), hint, now);
        }
    }

    /// A taken file was not complete after all, or could not be read: it is a candidate again, not due before `delay` and
    /// `settle` have passed.
    pub fn put_back(
        &mut self,
        key: Key,
        candidate: Candidate,
        stamp: Option<Stamp>,
        now: Instant,
        delay: Duration,
    ) {
        let meanwhile = self.taken.remove(&key).flatten();
        if meanwhile == Some(Hint::Gone) {
            return;
        }
        let since = now + delay;
        let modified = stamp.map_or(0, |stamp| stamp.modified);
        let at = self.times.entry(since + self.settle).or_default();
        at.push((modified, key.clone()));
        self.candidates.insert(
            key.clone(),
            Candidate {
                stamp,
                since,
                writing: false,
                queued: true,
                ..candidate
            },
        );
        if let Some(hint) = meanwhile {
            self.hint(key, hint, now);
        }
    }

    /// A candidate turned out to be gone, or not wanted.
    pub fn forget(&mut self, key: &Key) {
        self.candidates.remove(key);
        self.unlooked.remove(key);
    }

    /// Events were lost: nobody knows any more who writes. All candidates are looked at again.
    pub fn events_lost(&mut self) {
        for (key, candidate) in &mut self.candidates {
            candidate.writing = false;
            self.unlooked.insert(key.clone());
        }
    }

    /// Holds everything back, as long as there is room: a first scan is under way, and what lies in the folder is to be taken oldest
    /// first.
    pub fn hold(&mut self, now: Instant) {
        self.held.get_or_insert(now);
    }

    /// Lets everything go if it was held back before `then`: the scan takes too long.
    pub fn release_held_since(&mut self, then: Instant) {
        if self.held.is_some_and(|since| since <= then) {
            self.held = None;
        }
    }

    /// The scan is over: everything found by it is due at the same time.
    pub fn release(&mut self, now: Instant) {
        if self.held.take().is_none() || !self.has_room() {
            return;
        }
        self.times.clear();
        self.due.clear();
        for (key, candidate) in &mut self.candidates {
            // Files that wait for another try keep their time.
            candidate.since = candidate.since.max(now);
            if let Some(stamp) = candidate.stamp {
                candidate.queued = true;
                let due = candidate.since + self.settle;
                let at = self.times.entry(due).or_default();
                at.push((stamp.modified, key.clone()));
            }
        }
    }

    /// Whether something had no room since the last call, so that a scan is needed once there is.
    pub fn take_overflowed(&mut self) -> bool {
        self.has_room() && std::mem::take(&mut self.overflowed)
    }

    /// The candidate that waits longest.
    #[must_use]
    pub fn oldest(&self) -> Option<(&Key, &Candidate)> {
        self.candidates
            .iter()
            .min_by_key(|(_, candidate)| candidate.first_seen)
    }
}

impl Candidate {
    fn new(stamp: Option<Stamp>, now: Instant) -> Self {
        Self {
            stamp,
            first_seen: now,
            since: now,
            writing: false,
            queued: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    fn key(name: &str) -> Key {
        Key::new(0, Path::new(name))
    }

    fn stamp(size: u64) -> Stamp {
        Stamp {
            inode: 1,
            size,
            modified: 0,
            changed: 0,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_scanned_file_is_due_after_settle() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        assert!(tracker.found(&key("a"), stamp(1), start));
        assert!(tracker.take_due(start + seconds(1)).is_none());
        assert!(tracker.found(&key("a"), stamp(2), start + seconds(1)));
        assert!(tracker.take_due(start + seconds(2)).is_none());
        let (taken, candidate) = tracker.take_due(start + seconds(3)).unwrap();
        assert_eq!((taken, candidate.stamp), (key("a"), Some(stamp(2))));
        assert!(tracker.take_due(start + seconds(9)).is_none());
    }

    #[test]
    fn a_file_that_is_being_written_waits_for_its_close() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.hint(key("a"), Hint::Writing, start);
        assert_eq!(tracker.unlooked(9), [key("a")]);
        tracker.found(&key("a"), stamp(1), start);
        assert!(tracker.take_due(start + seconds(60)).is_none());
        tracker.hint(key("a"), Hint::Complete, start + seconds(60));
        tracker.unlooked(9);
        tracker.found(&key("a"), stamp(1), start + seconds(60));
        assert!(tracker.take_due(start + seconds(61)).is_none());
        assert!(tracker.take_due(start + seconds(64)).is_some());
    }

    #[test]
    fn when_events_are_lost_nobody_counts_as_writing() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.hint(key("a"), Hint::Writing, start);
        tracker.unlooked(9);
        tracker.found(&key("a"), stamp(1), start);
        tracker.events_lost();
        assert_eq!(tracker.unlooked(9), [key("a")]);
        tracker.found(&key("a"), stamp(1), start + seconds(1));
        assert!(tracker.take_due(start + seconds(4)).is_some());
    }

    #[test]
    fn a_due_file_is_looked_at_first_when_an_event_came_in_between() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.found(&key("a"), stamp(1), start);
        tracker.hint(key("a"), Hint::Touched, start);
        assert!(tracker.take_due(start + seconds(5)).is_none());
        assert_eq!(tracker.unlooked(9), [key("a")]);
        tracker.found(&key("a"), stamp(1), start + seconds(5));
        assert!(tracker.take_due(start + seconds(5)).is_some());
    }

    #[test]
    fn what_happens_to_a_taken_file_is_not_lost() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.found(&key("a"), stamp(1), start);
        tracker.take_due(start + seconds(2)).unwrap();
        tracker.hint(key("a"), Hint::Complete, start + seconds(3));
        assert!(tracker.is_taken(&key("a")));
        tracker.finish(&key("a"), start + seconds(4));
        assert_eq!(tracker.unlooked(9), [key("a")]);
        tracker.found(&key("a"), stamp(2), start + seconds(4));
        assert!(tracker.take_due(start + seconds(6)).is_some());
        tracker.finish(&key("a"), start + seconds(6));
        assert!(tracker.is_empty() && tracker.taken() == 0);
    }

    #[test]
    fn what_a_first_scan_found_is_taken_oldest_first() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.hold(start);
        for (n, name) in ["b", "a", "c"].iter().enumerate() {
            let modified = [5, 5, 1][n];
            let stamp = Stamp {
                modified,
                ..stamp(1)
            };
            tracker.found(&key(name), stamp, start + seconds(n as u64));
        }
        assert!(tracker.take_due(start + seconds(60)).is_none());
        tracker.release(start + seconds(60));
        assert!(tracker.take_due(start + seconds(61)).is_none());
        let order: Vec<_> = std::iter::from_fn(|| tracker.take_due(start + seconds(62)))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(order, [key("c"), key("a"), key("b")]);
    }

    #[test]
    fn what_is_looked_at_late_keeps_its_turn() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.hint(key("first"), Hint::Complete, start);
        for n in 1..4 {
            tracker.hint(key(&n.to_string()), Hint::Complete, start + seconds(1));
        }
        // Only the first one's look is late.
        let unlooked = tracker.unlooked(9);
        for key in unlooked.iter().filter(|looked| **looked != key("first")) {
            tracker.found(key, stamp(1), start + seconds(1));
        }
        let now = start + seconds(4);
        let mut order = vec![tracker.take_due(now).unwrap().0];
        assert_eq!(tracker.next_due(), Some(start + seconds(3)));
        tracker.found(&key("first"), stamp(1), now);
        // As it may be different at the look, it stands still from then on; not so if it is looked at again.
        assert_eq!(tracker.next_due(), Some(start + seconds(3)));
        order.extend(std::iter::from_fn(|| tracker.take_due(now)).map(|(key, _)| key));
        assert_eq!(order, [key("1"), key("2"), key("3")]);
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.found(&key("first"), stamp(1), start);
        for n in 1..4 {
            tracker.found(&key(&n.to_string()), stamp(1), start + seconds(1));
        }
        tracker.hint(key("first"), Hint::Touched, start + seconds(1));
        assert_eq!(tracker.take_due(now).unwrap().0, key("1"));
        assert_eq!(tracker.unlooked(9), [key("first")]);
        tracker.found(&key("first"), stamp(1), now);
        assert_eq!(tracker.next_due(), Some(start + seconds(2)));
        let order: Vec<_> = std::iter::from_fn(|| tracker.take_due(now))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(order, [key("first"), key("2"), key("3")]);
    }

    #[test]
    fn a_first_scan_that_hangs_does_not_hold_for_ever() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.hold(start);
        tracker.found(&key("a"), stamp(1), start);
        tracker.release_held_since(start - seconds(1));
        assert!(tracker.take_due(start + seconds(9)).is_none());
        tracker.release_held_since(start);
        assert!(tracker.take_due(start + seconds(9)).is_some());
    }

    #[test]
    fn put_back_waits_and_keeps_its_age() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 10, 1, false);
        tracker.found(&key("a"), stamp(1), start);
        let (key, candidate) = tracker.take_due(start + seconds(2)).unwrap();
        tracker.put_back(
            key,
            candidate,
            Some(stamp(3)),
            start + seconds(2),
            seconds(10),
        );
        assert!(tracker.take_due(start + seconds(13)).is_none());
        let (_, candidate) = tracker.take_due(start + seconds(14)).unwrap();
        assert_eq!(
            (candidate.first_seen, candidate.stamp),
            (start, Some(stamp(3)))
        );
    }

    #[test]
    fn a_scan_whose_lot_would_not_fit_waits_and_needs_no_other_scan() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 5, 2, false);
        let mut found = 0;
        while tracker.has_room() {
            for _ in 0..2 {
                assert!(tracker.found(&key(&found.to_string()), stamp(1), start));
                found += 1;
            }
        }
        assert_eq!(found, 4);
        // What is left is for files that events name.
        tracker.hint(key("named"), Hint::Complete, start);
        assert_eq!(tracker.len(), 5);
        while tracker.take_due(start + seconds(2)).is_some() {}
        assert!(tracker.has_room() && !tracker.take_overflowed());
    }

    #[test]
    fn what_has_no_room_asks_for_a_scan_once_there_is_room() {
        let start = Instant::now();
        let mut tracker = Tracker::new(SETTLE, 1, 1, false);
        assert!(tracker.found(&key("a"), stamp(1), start));
        assert!(!tracker.found(&key("b"), stamp(1), start));
        tracker.hint(key("c"), Hint::Complete, start);
        assert!(!tracker.take_overflowed());
        tracker.take_due(start + seconds(2)).unwrap();
        assert!(tracker.take_overflowed());
        assert!(!tracker.take_overflowed());
    }
}
