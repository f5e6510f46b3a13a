//! The one task that knows everything: what is seen, due, sent and durable. It never blocks and never waits for a lane or a disk;
//! what does is handed to jobs, and their results come back here.
//!
//! Bounds: candidates by the tracker's capacity, files being read by lots, files sent by the lanes' backlogs, files to be put away by
//! [`MAX_SHELF`]; the index takes about 40 bytes for each file in the folders.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use headgate_sdk::{
    Lanes, SourceContext, SourceError, SourceInfo, Str,
    blobs::BlobStore,
    status::{State, Status},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    append::Growing,
    bundle::Bundles,
    event::Facts,
    folders::Watched,
    index::{Index, Rest},
    jobs::{self, Due, Identity, Look, PutAway, ReadLot, Scan, ScanNews, Told},
    lanes::{After, LaneEvent, LaneState},
    records::Ended,
};
use crate::{
    afterwards::Shelved,
    config::{Afterwards, ContentPlan, Mode, Plan},
    ledger::{self, FileEntry},
    name,
    stamp::Stamp,
    state::{FileState, Step},
    watch::{Hint, Hints, Key, Tracker},
};

/// Files seen and not yet taken, at about 200 bytes each.
const MAX_CANDIDATES: usize = 65_536;
/// Files larger than this are read one by one, beside the lots of small ones.
const LARGE_BYTES: u64 = 1 << 20;
/// Large files that are read at the same time.
const LARGE_READERS: usize = 3;
/// Tasks that stream records or copy files at the same time.
const STREAMS: usize = 4;
/// Files that are looked at together, after events.
const MAX_LOOKS: usize = 16_384;
/// Bytes of files in one lot.
const LOT_BYTES: u64 = 8 << 20;
/// Files that wait to be put away; beyond that no new ones are taken.
const MAX_SHELF: usize = 16_384;
/// Folders are checked this often for having been exchanged.
const UPKEEP: Duration = Duration::from_secs(1);

/// A finished job.
pub(super) enum Done {
    Looked(Vec<(Key, Look)>),
    Read { lot: ReadLot, large: bool },
    PutAway(Vec<(PutAway, std::io::Result<Shelved>)>),
    Checked(Vec<Option<Identity>>),
    Streamed(Arc<Facts>, Ended),
    Grown(Box<super::append::Grown>),
    Pruned(super::prune::Pruned),
}

/// How many jobs of a kind are under way.
#[derive(Debug, Default)]
pub(super) struct Running {
    looks: usize,
    /// Lots of small files: one at a time, which keeps them in order.
    reads: usize,
    large_reads: usize,
    shelves: usize,
    checks: usize,
    pub(super) streams: usize,
    pub(super) prunes: usize,
}

/// Figures since the start, for `headgate files status`.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) published: u64,
    pub(super) duplicates: u64,
    pub(super) failed: u64,
    pub(super) archived: u64,
}

pub(super) struct Engine {
    pub(super) plan: Arc<Plan>,
    pub(super) source: SourceInfo,
    pub(super) lanes_api: Lanes,
    pub(super) status: Status,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) roots: Arc<[PathBuf]>,
    pub(super) folders: Vec<Watched>,
    hints: Hints,
    pub(super) tracker: Tracker,
    pub(super) index: Index,
    pub(super) lanes: BTreeMap<Str, LaneState>,
    lane_events: (mpsc::Sender<LaneEvent>, mpsc::Receiver<LaneEvent>),
    lane_tasks: JoinSet<()>,
    /// Answers to the operator that are being counted.
    pub(super) answers: JoinSet<()>,
    news: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    pub(super) jobs: JoinSet<Done>,
    pub(super) running: Running,
    shelf: VecDeque<PutAway>,
    pub(super) streams: VecDeque<(Arc<Facts>, Option<crate::ledger::RecordsEntry>)>,
    pub(super) bundles: Option<Bundles>,
    pub(super) growing: Option<Growing>,
    pub(super) unreadable: HashMap<Key, String>,
    pub(super) totals: Totals,
    next_upkeep: Instant,
    pub(super) next_prune: Instant,
    pub(super) prune: VecDeque<super::prune::Cursor>,
}

impl Engine {
    pub(super) fn new(plan: Plan, cx: &SourceContext) -> Result<Self, SourceError> {
        let now = Instant::now();
        let mut roots = Vec::new();
        for folder in &plan.folders {
            let root = std::path::absolute(&folder.root).map_err(|error| {
                SourceError::fatal(format!("{}: {error}", folder.root.display()))
            })?;
            roots.push(root);
        }
        let folders = plan
            .folders
            .iter()
            .zip(&roots)
            .map(|(folder, root)| Watched::new(folder, root.clone(), plan.settle, now))
            .collect();
        Ok(Self {
            tracker: Tracker::new(plan.settle, MAX_CANDIDATES, plan.mode == Mode::Append),
            bundles: plan.bundle.as_ref().map(Bundles::new),
            growing: (plan.mode == Mode::Append).then(Growing::default),
            plan: Arc::new(plan),
            source: cx.source.clone(),
            lanes_api: cx.lanes.clone(),
            status: cx.status.clone(),
            blobs: Arc::clone(&cx.blobs),
            roots: roots.into(),
            folders,
            hints: Hints::default(),
            index: Index::default(),
            lanes: BTreeMap::new(),
            lane_events: mpsc::channel(64),
            lane_tasks: JoinSet::new(),
            answers: JoinSet::new(),
            news: mpsc::channel(4),
            jobs: JoinSet::new(),
            running: Running::default(),
            shelf: VecDeque::new(),
            streams: VecDeque::new(),
            unreadable: HashMap::new(),
            totals: Totals::default(),
            next_upkeep: now,
            next_prune: now + super::prune::FIRST_AFTER,
            prune: VecDeque::new(),
        })
    }

    /// Runs until shutdown. Its lanes are closed when this returns, so that it may be started again at once.
    pub(super) async fn run(mut self, cx: SourceContext) -> Result<(), SourceError> {
        let result = self.turn(cx).await;
        self.lane_tasks.shutdown().await;
        self.answers.shutdown().await;
        // Threads that read cannot be stopped, and hold no lane: they end by themselves.
        self.jobs.abort_all();
        let ended = async { while self.jobs.join_next().await.is_some() {} };
        let _still_reading = tokio::time::timeout(Duration::from_millis(500), ended).await;
        result
    }

    async fn turn(&mut self, mut cx: SourceContext) -> Result<(), SourceError> {
        // The lane of the source's own tenant is there from the start, so that a refusal shows at once.
        self.lane(&cx.source.tenant.clone()).await?;
        loop {
            let now = Instant::now();
            self.pump(now);
            let wake = tokio::time::Instant::from_std(self.next_wake(now));
            tokio::select! {
                biased;
                () = cx.shutdown.cancelled() => return Ok(()),
                control = cx.control.next() => self.answer(control),
                Some(_) = self.answers.join_next(), if !self.answers.is_empty() => {}
                Some(event) = self.lane_events.1.recv() => self.on_lane(event)?,
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => match done {
                    Ok(done) => self.on_done(done).await?,
                    Err(error) => {
                        return Err(SourceError::retriable(format!("a job ended: {error}")));
                    }
                },
                Some((folder, number, news)) = self.news.1.recv(), if self.tracker.has_room() => {
                    self.on_news(folder, number, news).await?;
                }
                () = self.hints.arrived() => self.on_hints(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// The lane of a tenant, opened when it is first needed.
    pub(super) async fn lane(&mut self, tenant: &Str) -> Result<&mut LaneState, SourceError> {
        if !self.lanes.contains_key(tenant) {
            let name = if *tenant == self.source.tenant {
                Str::default()
            } else {
                tenant.clone()
            };
            let events = self.lane_events.0.clone();
            let lane = LaneState::open(&self.lanes_api, tenant, name, events, &mut self.lane_tasks)
                .await?;
            self.lanes.insert(tenant.clone(), lane);
        }
        self.lanes
            .get_mut(tenant)
            .ok_or_else(|| SourceError::retriable("the lane was closed"))
    }

    /// The tenant of a file, if it lies where one's files lie.
    pub(super) fn tenant(&self, key: &Key) -> Option<Str> {
        self.plan.folders[usize::from(key.folder)].tenant(&key.path, &self.source.tenant)
    }

    /// The absolute path of a file.
    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.roots[usize::from(key.folder)].join(&key.path)
    }

    /// Starts everything that can be started.
    fn pump(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            lane.flush(now);
        }
        self.start_scans(now);
        self.start_look();
        self.start_reads(now);
        self.start_shelving(now);
        self.start_streams();
        self.close_bundles(now);
        if self.tracker.take_overflowed() {
            for folder in &mut self.folders {
                folder.rescan(now);
            }
        }
        if now >= self.next_upkeep {
            self.next_upkeep = now + UPKEEP;
            self.upkeep(now);
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let due = self
            .tracker
            .next_due()
            .filter(|_| self.may_read() && !self.tracker.wants_look());
        let shelf = self
            .shelf
            .front()
            .map(|item| item.not_before)
            .filter(|_| self.running.shelves == 0);
        let flush = self.lanes.values().filter_map(LaneState::next_flush).min();
        let scan = self.folders.iter().filter_map(Watched::next_scan).min();
        let bundle = self.bundles.as_ref().and_then(Bundles::next_due);
        [due, shelf, flush, scan, bundle]
            .into_iter()
            .flatten()
            .fold(self.next_upkeep, Instant::min)
            // Nothing is so urgent that it may keep a core busy.
            .max(now + Duration::from_millis(1))
    }

    fn start_scans(&mut self, now: Instant) {
        for (index, folder) in (0_u16..).zip(&mut self.folders) {
            let Some(next) = folder.take_scan(now) else {
                continue;
            };
            if next.start.as_os_str().is_empty() {
                folder.forget_troubles(&self.status);
                if !folder.scanned {
                    self.tracker.hold();
                }
            }
            let scan = Scan {
                plan: Arc::clone(&self.plan),
                folder: index,
                root: folder.root.clone(),
                start: next.start,
                watch: next.watch.then(|| self.hints.clone()),
                number: folder.scan_number,
                news: self.news.0.clone(),
            };
            tokio::task::spawn_blocking(move || scan.run());
        }
    }

    fn start_look(&mut self) {
        if self.running.looks > 0 || !self.tracker.wants_look() {
            return;
        }
        let keys = self.tracker.unlooked(MAX_LOOKS);
        let roots = Arc::clone(&self.roots);
        self.running.looks += 1;
        self.jobs
            .spawn_blocking(move || Done::Looked(jobs::look(&roots, keys)));
    }

    fn may_read(&self) -> bool {
        self.running.reads == 0
            && self.running.large_reads < LARGE_READERS
            && self.shelf.len() < MAX_SHELF
            && self.streams.len() < jobs::LOT
            && (self.growing.is_none() || self.running.streams < STREAMS)
            && self.lanes.values().any(LaneState::has_room)
    }

    /// Starts the next lot: small files together, in order; each large one by itself, so that it holds up nobody.
    fn start_reads(&mut self, now: Instant) {
        let mut lot = Vec::new();
        let mut bytes = 0;
        while self.may_read() && lot.len() < jobs::LOT && bytes < LOT_BYTES {
            let Some((key, candidate)) = self.tracker.take_due(now) else {
                break;
            };
            let Some(stamp) = candidate.stamp else {
                self.tracker.finish(&key, now);
                continue;
            };
            let stalled = self
                .tenant(&key)
                .and_then(|tenant| self.lanes.get(&tenant))
                .is_some_and(|lane| !lane.has_room());
            if stalled {
                let delay = Duration::from_millis(500);
                self.tracker
                    .put_back(key, candidate, Some(stamp), now, delay);
                continue;
            }
            if self.growing.is_some() {
                self.start_growing(key, candidate);
                continue;
            }
            let due = Due {
                key,
                candidate,
                stamp,
            };
            if stamp.size > LARGE_BYTES {
                self.running.large_reads += 1;
                self.start_lot(vec![due], true);
            } else {
                bytes += stamp.size;
                lot.push(due);
            }
        }
        if !lot.is_empty() {
            self.running.reads += 1;
            self.start_lot(lot, false);
        }
    }

    fn start_lot(&mut self, lot: Vec<Due>, large: bool) {
        let inline = match self.plan.content {
            ContentPlan::Inline(bytes) => bytes,
            _ => 0,
        };
        let (roots, plan) = (Arc::clone(&self.roots), Arc::clone(&self.plan));
        self.jobs.spawn_blocking(move || {
            let lot = jobs::read(&roots, lot, inline, plan.choice.marker());
            Done::Read { lot, large }
        });
    }

    fn start_shelving(&mut self, now: Instant) {
        if self.running.shelves > 0 {
            return;
        }
        let mut lot = Vec::new();
        while lot.len() < jobs::LOT
            && self
                .shelf
                .front()
                .is_some_and(|item| item.not_before <= now)
        {
            lot.extend(self.shelf.pop_front());
        }
        if lot.is_empty() {
            return;
        }
        let (roots, plan) = (Arc::clone(&self.roots), Arc::clone(&self.plan));
        self.running.shelves += 1;
        self.jobs
            .spawn_blocking(move || Done::PutAway(jobs::put_away(&plan, &roots, lot)));
    }

    fn upkeep(&mut self, now: Instant) {
        if self.running.checks == 0 {
            let roots = Arc::clone(&self.roots);
            self.running.checks += 1;
            self.jobs.spawn_blocking(move || {
                Done::Checked(roots.iter().map(|root| jobs::identity(root).ok()).collect())
            });
        }
        self.tell_state();
        self.tell_stuck(now);
        self.start_prune(now);
    }

    /// Streams and copies that may start now.
    fn start_streams(&mut self) {
        while self.running.streams < STREAMS
            && let Some((facts, resume)) = self.streams.pop_front()
        {
            self.start_stream(facts, resume);
        }
    }

    async fn on_done(&mut self, done: Done) -> Result<(), SourceError> {
        let now = Instant::now();
        match done {
            Done::Looked(looked) => {
                self.running.looks -= 1;
                for (key, look) in looked {
                    match look {
                        Look::File(stamp) if self.wants(&key, &stamp) => {
                            let scan = self.folders[usize::from(key.folder)].scan_number;
                            self.sight(key, stamp, scan, now).await?;
                        }
                        Look::Folder => {
                            self.tracker.forget(&key);
                            self.folder_appeared(&key, now);
                        }
                        Look::File(_) | Look::Nothing => self.tracker.forget(&key),
                    }
                }
            }
            Done::Read { lot, large } => {
                if large {
                    self.running.large_reads -= 1;
                } else {
                    self.running.reads -= 1;
                }
                // The next lot is read while this one is judged.
                self.start_reads(now);
                for (key, candidate, reading) in lot {
                    self.on_reading(key, candidate, reading, now).await?;
                }
            }
            Done::PutAway(lot) => {
                self.running.shelves -= 1;
                for (item, result) in lot {
                    self.on_put_away(item, result, now);
                }
            }
            Done::Checked(identities) => {
                self.running.checks -= 1;
                for (folder, identity) in self.folders.iter_mut().zip(identities) {
                    folder.checked(identity, now);
                }
            }
            Done::Streamed(facts, ended) => {
                self.running.streams -= 1;
                self.on_streamed(&facts, ended, now)?;
            }
            Done::Grown(grown) => {
                self.running.streams -= 1;
                self.on_grown(*grown, now)?;
            }
            Done::Pruned(pruned) => {
                self.running.prunes -= 1;
                self.on_pruned(pruned).await?;
            }
        }
        Ok(())
    }

    /// Whether a file that an event named is wanted, as scans decide it before they tell.
    fn wants(&self, key: &Key, stamp: &Stamp) -> bool {
        self.plan.choice.wants_name(&key.path)
            && self.plan.choice.wants_size(stamp.size)
            && self.may_hold_files(key)
    }

    /// Whether the folders above a path are ones that scans enter.
    fn may_hold_files(&self, key: &Key) -> bool {
        let folder = &self.plan.folders[usize::from(key.folder)];
        key.path.ancestors().skip(1).all(|above| {
            above.file_name().is_none_or(|name| {
                self.plan.choice.wants_folder(name)
                    && folder.fits(above)
                    && !self.plan.is_shelf(folder, above)
            })
        })
    }

    fn folder_appeared(&mut self, key: &Key, now: Instant) {
        let inside = Key {
            folder: key.folder,
            path: key.path.join("file").into(),
        };
        if self.may_hold_files(&inside) {
            self.folders[usize::from(key.folder)].appeared(key.path.to_path_buf(), now);
        }
    }

    fn on_hints(&mut self) {
        let now = Instant::now();
        let pending = self.hints.take();
        if pending.rescan {
            metrics::counter!("headgate_files_rescans_total", "source" => self.source.name.to_string())
                .increment(1);
            self.tracker.events_lost();
            for folder in &mut self.folders {
                folder.rescan(now);
            }
        }
        if pending.exhausted {
            let message = "new folders are not watched but scanned, because the kernel's inotify watches are used up: raise the \
                           limit with `sysctl fs.inotify.max_user_watches=1048576`";
            self.status.warn("inotify", message);
        }
        for (path, hint) in pending.paths {
            let Some(key) = self.key(&path) else {
                continue;
            };
            let marked = key
                .path
                .file_name()
                .and_then(|name| self.plan.choice.marks(name));
            if let Some(marked) = marked {
                if hint != Hint::Gone {
                    let path = key.path.with_file_name(marked).into();
                    let folder = key.folder;
                    self.tracker.hint(Key { folder, path }, Hint::Touched, now);
                }
            } else if hint == Hint::Folder {
                self.folder_appeared(&key, now);
            } else if self.plan.choice.wants_name(&key.path) || hint == Hint::Complete {
                // A renamed folder looks like a renamed file, and may have any name.
                if self.may_hold_files(&key) {
                    self.tracker.hint(key, hint, now);
                }
            }
        }
    }

    fn key(&self, path: &std::path::Path) -> Option<Key> {
        let (folder, rest) = self
            .roots
            .iter()
            .enumerate()
            .find_map(|(index, root)| Some((index, path.strip_prefix(root).ok()?)))?;
        (!rest.as_os_str().is_empty()).then(|| Key {
            folder: u16::try_from(folder).unwrap_or(u16::MAX),
            path: rest.into(),
        })
    }

    async fn on_news(
        &mut self,
        folder: u16,
        number: u32,
        news: ScanNews,
    ) -> Result<(), SourceError> {
        let now = Instant::now();
        let watched = &mut self.folders[usize::from(folder)];
        match news {
            ScanNews::Opened {
                identity,
                watcher,
                unwatched,
            } => watched.opened(identity, watcher, unwatched, &self.status),
            ScanNews::Files(files) => {
                for (key, stamp) in files {
                    self.sight(key, stamp, number, now).await?;
                }
            }
            ScanNews::Trouble(path, error) => watched.trouble(&path, &error, &self.status),
            ScanNews::Done { whole } => {
                watched.scanned(&self.plan, now);
                if whole {
                    self.index.forget_unseen(folder, number);
                }
                self.release(now);
            }
            ScanNews::Missing(error) => {
                watched.missing(&error, &self.status, now);
                self.release(now);
            }
        }
        self.tell_state();
        Ok(())
    }

    /// Lets files go once no first scan is under way any more.
    fn release(&mut self, now: Instant) {
        if self
            .folders
            .iter()
            .all(|folder| !folder.scanning || folder.scanned)
        {
            self.tracker.release(now);
        }
    }

    /// A file was looked at: does it need anything?
    async fn sight(
        &mut self,
        key: Key,
        stamp: Stamp,
        scan: u32,
        now: Instant,
    ) -> Result<(), SourceError> {
        let Some(tenant) = self.tenant(&key) else {
            self.tracker.forget(&key);
            return Ok(());
        };
        match self.index.sight(&key, &stamp, scan) {
            Some(Rest::Waiting) if self.shelf.len() < MAX_SHELF => {}
            Some(_) => {
                self.tracker.forget(&key);
                return Ok(());
            }
            None if self.growing.is_some() => {
                self.load_growing(&tenant).await?;
                self.lane(&tenant).await?;
                self.tracker.found(&key, stamp, now);
                return Ok(());
            }
            None => {}
        }
        let path = self.path(&key);
        let entry_key = ledger::key::file(&path);
        let lane = self.lane(&tenant).await?;
        let on_its_way = lane.is_on_its_way(&entry_key);
        let entry: Option<FileEntry> = lane.get(&entry_key).await?;
        match entry {
            Some(entry) if entry.stamp == stamp => {
                self.tracker.forget(&key);
                if on_its_way {
                    self.index.rest(&key, &stamp, Rest::Published, scan);
                } else {
                    self.at_rest(key, tenant, entry, scan, now);
                }
            }
            _ => {
                self.tracker.found(&key, stamp, now);
            }
        }
        Ok(())
    }

    /// A file lies in its folder whose version is durably known: it stays, or is still to be put away.
    fn at_rest(&mut self, key: Key, tenant: Str, mut entry: FileEntry, scan: u32, now: Instant) {
        let stamp = entry.stamp;
        if self.plan.afterwards == Afterwards::Leave {
            self.index.rest(&key, &stamp, Rest::Done, scan);
        } else if self.shelf.len() >= MAX_SHELF {
            self.index.rest(&key, &stamp, Rest::Waiting, scan);
        } else {
            self.index.rest(&key, &stamp, Rest::Leaving, scan);
            // A power cut may have undone a move that was noted.
            if entry.state != FileState::Failed {
                entry.state = FileState::Acknowledged;
            }
            self.shelf.push_back(PutAway {
                key,
                tenant,
                entry,
                not_before: now,
            });
        }
    }

    fn on_lane(&mut self, event: LaneEvent) -> Result<(), SourceError> {
        let now = Instant::now();
        match event {
            LaneEvent::Durable {
                tenant,
                number,
                afters,
            } => {
                if let Some(lane) = self.lanes.get_mut(&tenant) {
                    lane.durable(number);
                }
                for After { key, tenant, entry } in afters {
                    if self.plan.afterwards == Afterwards::Leave {
                        self.index.advance(&key, &entry.stamp, Rest::Done);
                    } else {
                        self.index.advance(&key, &entry.stamp, Rest::Leaving);
                        self.shelf.push_back(PutAway {
                            key,
                            tenant,
                            entry,
                            not_before: now,
                        });
                    }
                }
                Ok(())
            }
            LaneEvent::Closed(tenant) => Err(SourceError::retriable(format!(
                "the lane of tenant `{tenant}` is closed"
            ))),
        }
    }

    fn on_put_away(&mut self, item: PutAway, result: std::io::Result<Shelved>, now: Instant) {
        let path = self.path(&item.key);
        let state = match result {
            Ok(Shelved::Moved(_) | Shelved::Deleted) => item.entry.state.after(Step::PutAway),
            Ok(Shelved::Gone) => item.entry.state.after(Step::Vanished),
            Ok(Shelved::Replaced) => {
                // The version that lies there now is found by itself.
                self.index.forget(&item.key);
                self.folders[usize::from(item.key.folder)].rescan(now);
                return;
            }
            Err(error) => {
                let message = format!(
                    "{}: cannot be put away: {error}; make room, and let the user that Headgate runs as write to `{}` and `{}`",
                    name::encode(&path),
                    self.plan.processed.display(),
                    self.plan.failed.display()
                );
                self.status.warn("put_away", message);
                let delay = (4 * self.plan.settle)
                    .clamp(Duration::from_millis(200), Duration::from_secs(30));
                let not_before = now + delay;
                self.shelf.push_back(PutAway { not_before, ..item });
                return;
            }
        };
        self.status.clear("put_away");
        self.totals.archived += 1;
        self.index.forget(&item.key);
        let Ok(state) = state else {
            return;
        };
        let mut entry = item.entry;
        if state == FileState::Failed {
            // Already so in the checkpoint; the move changes nothing about it.
            return;
        }
        entry.state = state;
        entry.since = super::judge::seconds_now();
        if let Some(lane) = self.lanes.get_mut(&item.tenant) {
            lane.put(ledger::put(ledger::key::file(&path), &entry));
            lane.finish(None);
        }
    }

    /// Ready as soon as one folder is; which ones are missing is told by warnings.
    pub(super) fn tell_state(&self) {
        let there = self.folders.iter().any(Watched::is_there);
        let tried = self.folders.iter().all(|folder| folder.scan_number > 0);
        if there {
            self.status.set(State::Ready);
        } else if tried {
            self.status.set(State::Waiting(
                "none of its folders can be read at present".into(),
            ));
        }
    }

    fn tell_stuck(&mut self, now: Instant) {
        let oldest = self.tracker.oldest();
        let stuck = oldest.filter(|(_, c)| now - c.first_seen > self.plan.stuck_after);
        match stuck {
            Some((key, candidate)) => {
                let path = self.path(key);
                let minutes = (now - candidate.first_seen).as_secs() / 60;
                let message = format!(
                    "{}: not taken for {minutes} minutes, because it keeps changing, is held open for writing, or cannot be read; \
                     close the program that writes it, or exclude it",
                    name::encode(&path)
                );
                self.status.warn("stuck", message);
            }
            None => self.status.clear("stuck"),
        }
        let gauge = |what: &'static str, value: usize| {
            #[expect(clippy::cast_precision_loss, reason = "a figure")]
            metrics::gauge!(what, "source" => self.source.name.to_string()).set(value as f64);
        };
        gauge("headgate_files_waiting", self.tracker.len());
        gauge("headgate_files_reading", self.tracker.taken());
        gauge("headgate_files_to_put_away", self.shelf.len());
    }
}
