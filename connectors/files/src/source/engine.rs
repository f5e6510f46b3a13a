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
    Lanes, SourceContext, SourceError, SourceInfo, Str, blobs::BlobStore, status::Status,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    append::Growing,
    bundle::Bundles,
    event::Facts,
    folders::Watched,
    index::Index,
    jobs::{self, Due, Identity, Look, PutAway, ReadLot, Scan, Told},
    lanes::{EntryKey, Gate, LaneEvent, LaneState},
    records::Ended,
};
use crate::{
    afterwards::Shelved,
    config::{ContentPlan, Mode, Plan},
    digest::digest,
    ledger, name,
    watch::{Hints, Key, Tracker},
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
pub(super) const MAX_SHELF: usize = 16_384;
/// A first scan holds files back at most this long.
const HOLD: Duration = Duration::from_secs(10);
/// Folders are checked this often for having been exchanged.
pub(super) const UPKEEP: Duration = Duration::from_secs(1);

/// A finished job.
pub(super) enum Done {
    Looked(Vec<(Key, Look)>),
    Read { lot: ReadLot, large: bool },
    PutAway(Vec<(PutAway, std::io::Result<Shelved>)>),
    Checked(Vec<Option<Identity>>),
    Streamed(Arc<Facts>, Ended, Option<crate::ledger::RecordsEntry>),
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

pub(super) struct Engine {
    pub(super) plan: Arc<Plan>,
    pub(super) source: SourceInfo,
    /// The source's, for events.
    pub(super) urn: Str,
    pub(super) lanes_api: Lanes,
    pub(super) status: Status,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) roots: Arc<[PathBuf]>,
    /// What the texts of all paths in a folder begin with.
    root_texts: Vec<String>,
    pub(super) folders: Vec<Watched>,
    pub(super) hints: Hints,
    pub(super) tracker: Tracker,
    pub(super) index: Index,
    pub(super) lanes: BTreeMap<Str, LaneState>,
    lane_events: (mpsc::Sender<LaneEvent>, mpsc::Receiver<LaneEvent>),
    pub(super) gate: Gate,
    lane_tasks: JoinSet<()>,
    /// Answers to the operator that are being counted.
    pub(super) answers: JoinSet<()>,
    news: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    pub(super) jobs: JoinSet<Done>,
    pub(super) running: Running,
    pub(super) shelf: VecDeque<PutAway>,
    pub(super) streams: VecDeque<(Arc<Facts>, Option<crate::ledger::RecordsEntry>)>,
    /// How far files were read whose reading was interrupted, and is to go on.
    pub(super) interrupted: HashMap<Key, crate::ledger::RecordsEntry>,
    pub(super) bundles: Option<Bundles>,
    pub(super) growing: Option<Growing>,
    pub(super) unreadable: HashMap<Key, String>,
    next_upkeep: Instant,
    /// When to look for a file that is stuck.
    pub(super) next_stuck: Instant,
    pub(super) next_prune: Instant,
    pub(super) prune: VecDeque<super::prune::Cursor>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.gate.close();
    }
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
        let root_text = |root: &PathBuf| {
            let inside = root.join("x");
            let text = name::encode(&inside);
            text[..text.len() - 1].to_owned()
        };
        Ok(Self {
            root_texts: roots.iter().map(root_text).collect(),
            tracker: Tracker::new(
                plan.settle,
                MAX_CANDIDATES,
                jobs::LOT,
                plan.mode == Mode::Append,
            ),
            bundles: plan.bundle.as_ref().map(Bundles::new),
            growing: (plan.mode == Mode::Append).then(Growing::default),
            next_prune: now + super::prune::FIRST_AFTER.min(plan.window),
            plan: Arc::new(plan),
            source: cx.source.clone(),
            urn: cx.source.urn.clone(),
            lanes_api: cx.lanes.clone(),
            status: cx.status.clone(),
            blobs: Arc::clone(&cx.blobs),
            roots: roots.into(),
            folders,
            hints: Hints::default(),
            index: Index::default(),
            lanes: BTreeMap::new(),
            lane_events: mpsc::channel(64),
            gate: Gate::open(),
            lane_tasks: JoinSet::new(),
            answers: JoinSet::new(),
            news: mpsc::channel(4),
            jobs: JoinSet::new(),
            running: Running::default(),
            shelf: VecDeque::new(),
            streams: VecDeque::new(),
            interrupted: HashMap::new(),
            unreadable: HashMap::new(),
            next_upkeep: now,
            next_stuck: now,
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
            let lane = LaneState::open(
                &self.lanes_api,
                tenant,
                name,
                events,
                &self.gate,
                &mut self.lane_tasks,
            )
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

    /// The key of a file's entry.
    pub(super) fn file_key(&self, key: &Key) -> EntryKey {
        let root = self.root_texts[usize::from(key.folder)].as_str();
        ledger::key::file_in(root, &name::encode(&key.path)).into()
    }

    /// What the key of a file's entry has, if that is told without making it.
    pub(super) fn entry_digest(&self, key: &Key) -> Option<u64> {
        let root = self.root_texts[usize::from(key.folder)].as_str();
        Some(digest(&["f/", root, name::plain(&key.path)?]))
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
        let scans = self.folders.iter();
        let scan = scans.filter_map(|folder| folder.next_scan(now)).min();
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
                    self.tracker.hold(now);
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
        // A share that hangs holds up its own files, not those of other folders.
        self.tracker.release_held_since(now - HOLD);
        self.tell_state();
        self.tell_stuck(now);
        self.end_last_lines(now);
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
                // A text of its own for each lot: who makes events and who drops them would pass its counter back and forth.
                self.urn = Str::from(self.source.urn.as_str());
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
            Done::Streamed(facts, ended, came_to) => {
                self.running.streams -= 1;
                self.on_streamed(&facts, ended, came_to, now)?;
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
}
