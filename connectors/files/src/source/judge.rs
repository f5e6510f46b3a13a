//! From a file that was read to what is sent for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use headgate_sdk::{Entry, SourceError, Str, Timestamp};

use super::{
    bundle::Closed,
    engine::{Done, Engine},
    event::{self, Counts, Facts},
    index::Rest,
    lanes::{After, EntryKey, LaneState},
    records::{self, Ended},
};
use crate::{
    config::{Afterwards, ContentPlan, Scope},
    ledger::{
        self, ContentEntry, ContentParts, FileEntry, FileParts, Known, RecordsEntry, ReturnEntry,
        Verdict, key,
    },
    name,
    read::{Content, Reading},
    stamp::Stamp,
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
        let file_key = self.file_key(&key);
        let hash = content.hash.to_hex();
        let hash = hash.as_str();
        let content_key = EntryKey::from(key::content(hash));
        let recorded = Timestamp::now();
        let oldest = self.oldest_at(recorded);
        if self.is_open(&tenant, &content.hash) {
            let stamp = Some(content.stamp);
            self.tracker
                .put_back(key, candidate, stamp, now, DUPLICATE_WAIT);
            return Ok(());
        }
        let foreign = self.foreign_first(&tenant, &content_key, oldest).await?;
        if matches!(foreign, Foreign::OnItsWay) {
            let stamp = Some(content.stamp);
            self.tracker
                .put_back(key, candidate, stamp, now, DUPLICATE_WAIT);
            return Ok(());
        }
        let lane = self.lane(&tenant).await?;
        let last: Option<FileEntry> = lane.get(&file_key).await?;
        let first: Option<ContentEntry> = lane.get(&content_key).await?;
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
            lane.get(&key::again(hash, path_in(&file_key)).into())
                .await?
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
            match ledger::judge(path_in(&file_key), hash, empty, known, self.plan.duplicates) {
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
                        hash: hash.into(),
                        id,
                        duplicate,
                        why: None,
                    };
                    self.pass_over(key, file_key, tenant, entry, now);
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
            file_key,
            content_key,
            tenant,
            content,
            n,
            duplicate_of,
            recorded,
        };
        self.publish(facts, now).await
    }

    /// A content whose first event is not yet sent.
    fn is_open(&self, tenant: &Str, hash: &blake3::Hash) -> bool {
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
        key: &EntryKey,
        oldest: i64,
    ) -> Result<Foreign, SourceError> {
        if self.plan.scope == Scope::Tenant {
            return Ok(Foreign::None);
        }
        for (other, lane) in &self.lanes {
            if other == tenant || !lane.may_know(key) {
                continue;
            }
            // Two lanes are not durable together: what counts on the other must be so first.
            if lane.is_on_its_way(key) {
                return Ok(Foreign::OnItsWay);
            }
            if let Some(entry) = lane.get::<ContentEntry>(key).await?
                && entry.at >= oldest
            {
                return Ok(Foreign::Entry(entry));
            }
        }
        Ok(Foreign::None)
    }

    pub(super) fn urn(&self, tenant: &Str) -> Str {
        if *tenant == self.source.tenant {
            self.urn.clone()
        } else {
            format!("urn:headgate:{tenant}:files:{}", self.source.name).into()
        }
    }

    async fn publish(&mut self, facts: Facts, now: Instant) -> Result<(), SourceError> {
        if let Some(bundles) = &mut self.bundles {
            self.lanes
                .get_mut(&facts.tenant)
                .map(|lane| lane.open_contents.insert(facts.content.hash));
            if let Some(closed) = bundles.add(facts, now) {
                self.send_bundle(&closed, now);
            }
            return Ok(());
        }
        let streams = self.plan.records.is_some() || self.plan.content == ContentPlan::ClaimCheck;
        if streams {
            let lane = self.lane(&facts.tenant).await?;
            lane.open_contents.insert(facts.content.hash);
            let stored: Option<RecordsEntry> =
                lane.get(&key::records(facts.path_text()).into()).await?;
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
            lane.open_contents.remove(&facts.content.hash);
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
                let path = facts.path_text();
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
                    lane.put(Entry::remove(key::records(facts.path_text())));
                    lane.finish();
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
        let leave = self.plan.afterwards == Afterwards::Leave;
        let Some(lane) = self.lanes.get_mut(&facts.tenant) else {
            return;
        };
        lane.push_event(event);
        if counts.is_some() {
            lane.put(Entry::remove(key::records(facts.path_text())));
        }
        acknowledge(lane, facts, &facts.id, leave);
        lane.finish();
        self.sent(&facts.key, &facts.content.stamp, now);
    }

    /// Puts the event of a bundle on its lane.
    fn send_bundle(&mut self, closed: &Closed, now: Instant) {
        let (Some(first), Some(bundle)) = (closed.members.first(), &self.plan.bundle) else {
            return;
        };
        let event_type = Str::from(bundle.event_type.as_str());
        let event = event::bundle(&closed.members, &closed.name, &event_type, closed.complete);
        let id = event.id.clone();
        let leave = self.plan.afterwards == Afterwards::Leave;
        let Some(lane) = self.lanes.get_mut(&first.tenant) else {
            return;
        };
        lane.push_event(event);
        for member in &closed.members {
            lane.open_contents.remove(&member.content.hash);
            acknowledge(lane, member, &id, leave);
        }
        lane.finish();
        for member in &closed.members {
            self.sent(&member.key, &member.content.stamp, now);
        }
    }

    /// Sends the bundles whose time is over.
    pub(super) fn close_bundles(&mut self, now: Instant) {
        while let Some(closed) = self.bundles.as_mut().and_then(|b| b.take_due(now)) {
            self.send_bundle(&closed, now);
        }
    }

    /// What is to be known of a file is on its way.
    fn sent(&mut self, key: &Key, stamp: &Stamp, now: Instant) {
        let scan = self.folders[usize::from(key.folder)].scan_number;
        let rest = match self.plan.afterwards {
            // If it does not become durable, the engine ends, and all of this is forgotten.
            Afterwards::Leave => Rest::Done,
            Afterwards::Move | Afterwards::Delete => Rest::Published,
        };
        self.index.rest(key, stamp, rest, scan);
        self.tracker.finish(key, now);
    }

    /// A file as a whole is no good: a dead letter, and its entry says why.
    fn fail(&mut self, facts: &Facts, reason: &str, now: Instant) {
        tracing::warn!(source = %self.source.name, path = facts.path_text(), reason, "a file failed as a whole");
        let entry = FileEntry {
            state: FileState::Failed,
            why: Some(reason.into()),
            ..acknowledged(facts, &facts.id).entry()
        };
        let leave = self.plan.afterwards == Afterwards::Leave;
        let Some(lane) = self.lanes.get_mut(&facts.tenant) else {
            return;
        };
        lane.push_rejected(facts.failure(reason));
        lane.put(Entry::remove(key::records(facts.path_text())));
        lane.put(ledger::put(facts.file_key.text.clone(), &entry));
        lane.file_done((!leave).then(|| After {
            key: facts.key.clone(),
            tenant: facts.tenant.clone(),
            entry,
        }));
        lane.finish();
        self.sent(&facts.key, &facts.content.stamp, now);
    }

    /// The same bytes as before, or as another file: no event, but the file is done all the same.
    fn pass_over(
        &mut self,
        key: Key,
        file_key: EntryKey,
        tenant: Str,
        entry: FileEntry,
        now: Instant,
    ) {
        let leave = self.plan.afterwards == Afterwards::Leave;
        self.sent(&key, &entry.stamp, now);
        let Some(lane) = self.lanes.get_mut(&tenant) else {
            return;
        };
        if entry.duplicate {
            metrics::counter!("headgate_files_duplicates_total", "source" => self.source.name.to_string())
                .increment(1);
        }
        lane.put(ledger::put(file_key.text, &entry));
        lane.file_done((!leave).then_some(After { key, tenant, entry }));
        lane.finish();
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

/// Stores that a file was published with the event `id`, who had its bytes, and how often.
fn acknowledge(lane: &mut LaneState, facts: &Facts, id: &str, leave: bool) {
    let at = facts.recorded.as_second();
    if facts.duplicate_of.is_some() || facts.content.stamp.size == 0 {
        let entry = ReturnEntry { n: facts.n, at };
        let key = key::again(facts.hash(), facts.path_text());
        lane.put(ledger::put(key, &entry));
    } else {
        let content = ContentParts {
            path: facts.path_text(),
            id,
            n: facts.n,
            at,
        };
        lane.put_written(facts.content_key.clone(), |out| content.write(out));
    }
    let file = acknowledged(facts, id);
    lane.put_written(facts.file_key.clone(), |out| file.write(out));
    lane.file_done((!leave).then(|| After {
        key: facts.key.clone(),
        tenant: facts.tenant.clone(),
        entry: file.entry(),
    }));
}

fn acknowledged<'a>(facts: &'a Facts, id: &'a str) -> FileParts<'a> {
    FileParts {
        state: FileState::Acknowledged,
        since: facts.recorded.as_second(),
        stamp: facts.content.stamp,
        hash: &facts.content.hash,
        id,
    }
}

/// The path in the key of a file's entry.
pub(super) fn path_in(file_key: &EntryKey) -> &str {
    file_key.text.strip_prefix("f/").unwrap_or_default()
}

pub(super) fn seconds_now() -> i64 {
    Timestamp::now().as_second()
}
