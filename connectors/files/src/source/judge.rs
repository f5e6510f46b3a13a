//! From a file that was read to what is sent for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use headgate_sdk::{SourceError, Str, Timestamp};

use super::{
    bundle::Closed,
    engine::{Done, Engine},
    event::{self, Counts, Facts},
    index::Rest,
    lanes::{After, LaneState},
    records::{self, Ended},
};
use crate::{
    config::{ContentPlan, Scope},
    ledger::{self, ContentEntry, FileEntry, Known, RecordsEntry, ReturnEntry, Verdict, key},
    name,
    read::{Content, Reading},
    state::FileState,
    watch::{Candidate, Key},
};

/// A duplicate of a file whose event is not yet on its way is judged again after this time.
const DUPLICATE_WAIT: Duration = Duration::from_millis(200);

/// So many files may wait to be read on; more begin again from their start, under the same ids.
const MAX_INTERRUPTED: usize = 4096;

impl Engine {
    /// Takes what reading a file came to.
    pub(super) async fn on_reading(
        &mut self,
        key: Key,
        candidate: Candidate,
        reading: Option<Reading>,
        now: Instant,
    ) -> Result<(), SourceError> {
        match reading {
            Some(Reading::Read(content)) => {
                self.readable(&key);
                self.judge(key, candidate, content, now).await?;
            }
            Some(Reading::Changed(stamp)) => {
                self.tracker
                    .put_back(key, candidate, Some(stamp), now, Duration::ZERO);
            }
            Some(Reading::Busy) | None => {
                let stamp = candidate.stamp;
                self.tracker
                    .put_back(key, candidate, stamp, now, Duration::ZERO);
            }
            Some(Reading::Vanished) => {
                self.readable(&key);
                self.tracker.finish(&key, now);
            }
            Some(Reading::Failed(error)) => {
                self.unreadable(&key, &error.to_string());
                let stamp = candidate.stamp;
                let delay = self.retry_delay();
                self.tracker.put_back(key, candidate, stamp, now, delay);
            }
        }
        Ok(())
    }

    fn retry_delay(&self) -> Duration {
        (4 * self.plan.settle).clamp(Duration::from_millis(200), Duration::from_secs(30))
    }

    async fn judge(
        &mut self,
        key: Key,
        candidate: Candidate,
        content: Content,
        now: Instant,
    ) -> Result<(), SourceError> {
        let scan = self.folders[usize::from(key.folder)].scan_number;
        let wanted = self.plan.choice.wants_media_type(content.media_type);
        let (Some(tenant), true) = (self.tenant(&key), wanted) else {
            self.index.rest(&key, &content.stamp, Rest::Unwanted, scan);
            self.tracker.finish(&key, now);
            return Ok(());
        };
        let path = self.path(&key);
        let path_text = self.path_text(&key);
        let hash = Str::from(content.hash.to_hex().as_str());
        let recorded = Timestamp::now();
        let oldest = self.oldest();
        if self.is_open(&tenant, &hash) {
            let stamp = Some(content.stamp);
            self.tracker
                .put_back(key, candidate, stamp, now, DUPLICATE_WAIT);
            return Ok(());
        }
        let foreign = self.foreign_first(&tenant, &hash, oldest).await?;
        if matches!(foreign, Foreign::OnItsWay) {
            let stamp = Some(content.stamp);
            self.tracker
                .put_back(key, candidate, stamp, now, DUPLICATE_WAIT);
            return Ok(());
        }
        let lane = self.lane(&tenant).await?;
        let last: Option<FileEntry> = lane.get(&key::file_of(&path_text)).await?;
        let first: Option<ContentEntry> = lane.get(&key::content(&hash)).await?;
        let mut epoch = lane.epoch;
        // Out of the window it counts as new, but its ids are not given again.
        let first = first.filter(|first| {
            if first.at < oldest {
                epoch = epoch.max(first.n + 1);
            }
            first.at >= oldest
        });
        let first = match (first, foreign) {
            (None, Foreign::Entry(entry)) => Some(entry),
            (first, _) => first,
        };
        let empty = content.stamp.size == 0;
        // Only what is not the first of its kind has one that counts.
        let again: Option<ReturnEntry> = if first.is_some() || empty {
            lane.get(&key::again(&hash, &path)).await?
        } else {
            None
        };
        let known = Known {
            last_hash: last.as_ref().map(|last| last.hash.as_str()),
            last_failed: last.as_ref().is_some_and(|l| l.state == FileState::Failed),
            first: first.as_ref(),
            again,
            epoch,
        };
        let (n, duplicate_of) =
            match ledger::judge(&path_text, &hash, empty, known, self.plan.duplicates) {
                Verdict::Publish { n, duplicate_of } => (n, duplicate_of),
                verdict => {
                    let (id, duplicate) = match verdict {
                        Verdict::Duplicate { of } => (Some(of), true),
                        _ => last.map_or((None, false), |last| (last.id, last.duplicate)),
                    };
                    let entry = FileEntry {
                        state: FileState::Acknowledged,
                        since: recorded.as_second(),
                        stamp: content.stamp,
                        hash,
                        id,
                        duplicate,
                        why: None,
                    };
                    self.pass_over(key, tenant, entry, now);
                    return Ok(());
                }
            };
        let folder = &self.plan.folders[usize::from(key.folder)];
        let facts = Facts {
            subject: event::subject(&key.path),
            folder: folder.configured.clone(),
            urn: self.urn(&tenant),
            event_type: self.plan.event_type.clone(),
            id: ledger::event_id(&folder.configured, &key.path, &content.hash, n),
            key,
            candidate,
            path,
            path_text,
            tenant,
            content,
            hash,
            n,
            duplicate_of,
            recorded,
        };
        self.publish(facts, now).await
    }

    /// A content whose first event is not yet sent.
    fn is_open(&self, tenant: &Str, hash: &Str) -> bool {
        let open = |lane: &LaneState| lane.open_contents.contains(hash);
        match self.plan.scope {
            Scope::Tenant => self.lanes.get(tenant).is_some_and(open),
            Scope::Source => self.lanes.values().any(open),
        }
    }

    /// Who of another tenant had these bytes first, where that counts.
    async fn foreign_first(
        &self,
        tenant: &Str,
        hash: &Str,
        oldest: i64,
    ) -> Result<Foreign, SourceError> {
        if self.plan.scope == Scope::Tenant {
            return Ok(Foreign::None);
        }
        let key = key::content(hash);
        for (other, lane) in &self.lanes {
            if other == tenant || !lane.may_know(&key) {
                continue;
            }
            // Two lanes are not durable together: what counts on the other must be so first.
            if lane.is_on_its_way(&key) {
                return Ok(Foreign::OnItsWay);
            }
            if let Some(entry) = lane.get::<ContentEntry>(&key).await?
                && entry.at >= oldest
            {
                return Ok(Foreign::Entry(entry));
            }
        }
        Ok(Foreign::None)
    }

    pub(super) fn urn(&self, tenant: &Str) -> Str {
        if *tenant == self.source.tenant {
            self.source.urn.clone()
        } else {
            format!("urn:headgate:{tenant}:files:{}", self.source.name).into()
        }
    }

    async fn publish(&mut self, facts: Facts, now: Instant) -> Result<(), SourceError> {
        if let Some(bundles) = &mut self.bundles {
            self.lanes
                .get_mut(&facts.tenant)
                .map(|lane| lane.open_contents.insert(facts.hash.clone()));
            if let Some(closed) = bundles.add(facts, now) {
                self.send_bundle(&closed, now);
            }
            return Ok(());
        }
        let streams = self.plan.records.is_some() || self.plan.content == ContentPlan::ClaimCheck;
        if streams {
            let lane = self.lane(&facts.tenant).await?;
            lane.open_contents.insert(facts.hash.clone());
            let stored: Option<RecordsEntry> = lane.get(&key::records(&facts.path)).await?;
            let resume = self.interrupted.remove(&facts.key).or(stored);
            self.streams.push_back((Arc::new(facts), resume));
            return Ok(());
        }
        self.send(&facts, None, None, now);
        Ok(())
    }

    /// Starts to stream a file's records, or to copy it.
    pub(super) fn start_stream(&mut self, facts: Arc<Facts>, resume: Option<RecordsEntry>) {
        let Some(lane) = self.lanes.get(&facts.tenant) else {
            return;
        };
        let (lane, gate) = (lane.lane(), self.gate.clone());
        let root = self.roots[usize::from(facts.key.folder)].clone();
        self.running.streams += 1;
        if let Some(format) = self.plan.records.clone() {
            let record_type = self.plan.record_type.clone();
            self.jobs.spawn(async move {
                let (ended, came_to) = records::stream(
                    lane,
                    gate,
                    root,
                    Arc::clone(&facts),
                    format,
                    record_type,
                    resume,
                )
                .await;
                Done::Streamed(facts, ended, came_to)
            });
        } else {
            let blobs = Arc::clone(&self.blobs);
            self.jobs.spawn(async move {
                let ended = records::copy(blobs, root, Arc::clone(&facts)).await;
                Done::Streamed(facts, ended, None)
            });
        }
    }

    pub(super) fn on_streamed(
        &mut self,
        facts: &Facts,
        ended: Ended,
        came_to: Option<RecordsEntry>,
        now: Instant,
    ) -> Result<(), SourceError> {
        if let Some(lane) = self.lanes.get_mut(&facts.tenant) {
            lane.open_contents.remove(&facts.hash);
        }
        let key = facts.key.clone();
        let candidate = facts.candidate.clone();
        if let (Ended::Changed(_) | Ended::Failed(_), Some(came_to)) = (&ended, came_to)
            && self.interrupted.len() < MAX_INTERRUPTED
        {
            self.interrupted.insert(key.clone(), came_to);
        }
        match ended {
            Ended::Records(counts) => self.send(facts, Some(counts), None, now),
            Ended::Copied(uri) => {
                self.status.clear("claim_check");
                self.send(facts, None, Some(uri), now);
            }
            Ended::NotStored(error) => {
                let path = name::encode(&facts.path);
                let message = format!("{path}: {error}; it is tried again");
                self.status.warn("claim_check", message);
                let (stamp, delay) = (candidate.stamp, self.retry_delay());
                self.tracker.put_back(key, candidate, stamp, now, delay);
            }
            Ended::Broken(reason) => self.fail(facts, &reason, now),
            Ended::Changed(stamp) => {
                self.tracker
                    .put_back(key, candidate, Some(stamp), now, Duration::ZERO);
            }
            Ended::Vanished => {
                if let Some(lane) = self.lanes.get_mut(&facts.tenant) {
                    lane.put(headgate_sdk::Entry::remove(key::records(&facts.path)));
                    lane.finish(None);
                }
                self.tracker.finish(&key, now);
            }
            Ended::Failed(error) => {
                self.unreadable(&key, &error);
                let (stamp, delay) = (candidate.stamp, self.retry_delay());
                self.tracker.put_back(key, candidate, stamp, now, delay);
            }
            Ended::Closed => return Err(SourceError::retriable("a lane is closed")),
        }
        Ok(())
    }

    /// Puts a file's own event on its lane, with what is then known.
    fn send(&mut self, facts: &Facts, counts: Option<Counts>, dataref: Option<Str>, now: Instant) {
        let event = facts.event(counts, dataref);
        let entry = self.acknowledged(facts);
        let Some(lane) = self.lanes.get_mut(&facts.tenant) else {
            return;
        };
        lane.push_event(event);
        if counts.is_some() {
            lane.put(headgate_sdk::Entry::remove(key::records(&facts.path)));
        }
        remember(lane, facts, &facts.id);
        lane.put(ledger::put(key::file_of(&facts.path_text), &entry));
        lane.finish(Some(After {
            key: facts.key.clone(),
            tenant: facts.tenant.clone(),
            entry,
        }));
        self.sent(&facts.key, facts, now);
    }

    /// Puts the event of a bundle on its lane.
    fn send_bundle(&mut self, closed: &Closed, now: Instant) {
        let (Some(first), Some(bundle)) = (closed.members.first(), &self.plan.bundle) else {
            return;
        };
        let event_type = Str::from(bundle.event_type.as_str());
        let event = event::bundle(&closed.members, &closed.name, &event_type, closed.complete);
        let id = event.id.clone();
        let entries: Vec<_> = closed
            .members
            .iter()
            .map(|member| FileEntry {
                id: Some(id.clone()),
                ..self.acknowledged(member)
            })
            .collect();
        let Some(lane) = self.lanes.get_mut(&first.tenant) else {
            return;
        };
        lane.push_event(event);
        let last = closed.members.len() - 1;
        for (index, (member, entry)) in closed.members.iter().zip(entries).enumerate() {
            lane.open_contents.remove(&member.hash);
            remember(lane, member, &id);
            lane.put(ledger::put(key::file_of(&member.path_text), &entry));
            let after = After {
                key: member.key.clone(),
                tenant: member.tenant.clone(),
                entry,
            };
            if index == last {
                lane.finish(Some(after));
            } else {
                lane.join(after);
            }
        }
        for member in &closed.members {
            self.sent(&member.key, member, now);
        }
    }

    /// Sends the bundles whose time is over.
    pub(super) fn close_bundles(&mut self, now: Instant) {
        while let Some(closed) = self.bundles.as_mut().and_then(|b| b.take_due(now)) {
            self.send_bundle(&closed, now);
        }
    }

    fn sent(&mut self, key: &Key, facts: &Facts, now: Instant) {
        let scan = self.folders[usize::from(key.folder)].scan_number;
        self.index
            .rest(key, &facts.content.stamp, Rest::Published, scan);
        self.tracker.finish(key, now);
    }

    fn acknowledged(&self, facts: &Facts) -> FileEntry {
        FileEntry {
            state: FileState::Acknowledged,
            since: facts.recorded.as_second(),
            stamp: facts.content.stamp,
            hash: facts.hash.clone(),
            id: Some(facts.id.clone()),
            duplicate: false,
            why: None,
        }
    }

    /// A file as a whole is no good: a dead letter, and its entry says why.
    fn fail(&mut self, facts: &Facts, reason: &str, now: Instant) {
        tracing::warn!(source = %self.source.name, path = %name::encode(&facts.path), reason, "a file failed as a whole");
        let entry = FileEntry {
            state: FileState::Failed,
            why: Some(reason.into()),
            ..self.acknowledged(facts)
        };
        let Some(lane) = self.lanes.get_mut(&facts.tenant) else {
            return;
        };
        lane.push_rejected(facts.failure(reason));
        lane.put(headgate_sdk::Entry::remove(key::records(&facts.path)));
        lane.put(ledger::put(key::file_of(&facts.path_text), &entry));
        lane.finish(Some(After {
            key: facts.key.clone(),
            tenant: facts.tenant.clone(),
            entry,
        }));
        self.sent(&facts.key, facts, now);
    }

    /// The same bytes as before, or as another file: no event, but the file is done all the same.
    fn pass_over(&mut self, key: Key, tenant: Str, entry: FileEntry, now: Instant) {
        let path = self.path(&key);
        let scan = self.folders[usize::from(key.folder)].scan_number;
        let Some(lane) = self.lanes.get_mut(&tenant) else {
            return;
        };
        if entry.duplicate {
            metrics::counter!("headgate_files_duplicates_total", "source" => self.source.name.to_string())
                .increment(1);
        }
        self.index.rest(&key, &entry.stamp, Rest::Published, scan);
        self.tracker.finish(&key, now);
        lane.put(ledger::put(key::file(&path), &entry));
        lane.finish(Some(After { key, tenant, entry }));
    }

    pub(super) fn unreadable(&mut self, key: &Key, error: &str) {
        if self.unreadable.len() < 1000 || self.unreadable.contains_key(key) {
            self.unreadable.insert(key.clone(), error.to_owned());
        }
        self.tell_unreadable();
    }

    pub(super) fn readable(&mut self, key: &Key) {
        if !self.unreadable.is_empty() && self.unreadable.remove(key).is_some() {
            self.tell_unreadable();
        }
    }

    fn tell_unreadable(&self) {
        match self.unreadable.iter().min_by_key(|(key, _)| *key) {
            Some((key, error)) => {
                let others = match self.unreadable.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} others)"),
                };
                let message = format!(
                    "{}{others}: {error}; let the user that Headgate runs as read it",
                    name::encode(&self.path(key))
                );
                self.status.warn("unreadable", message);
            }
            None => self.status.clear("unreadable"),
        }
    }
}

/// What another tenant's lane knows of a content.
enum Foreign {
    None,
    OnItsWay,
    Entry(ContentEntry),
}

/// Stores who had these bytes, and how often.
fn remember(lane: &mut LaneState, facts: &Facts, id: &Str) {
    let at = facts.recorded.as_second();
    if facts.duplicate_of.is_some() || facts.content.stamp.size == 0 {
        let entry = ReturnEntry { n: facts.n, at };
        lane.put(ledger::put(key::again(&facts.hash, &facts.path), &entry));
        return;
    }
    let entry = ContentEntry {
        path: facts.path_text.clone(),
        id: id.clone(),
        n: facts.n,
        at,
    };
    lane.put(ledger::put(key::content(&facts.hash), &entry));
}

pub(super) fn seconds_now() -> i64 {
    Timestamp::now().as_second()
}
