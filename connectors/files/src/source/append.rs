//! Files that grow: only what was appended is read.
//!
//! A file is told by the fingerprint of its first bytes and its inode, and a position in it by the bytes before. So rotation (the same
//! file under another name), copy-truncate (a copy under another name, and the file short again) and truncation are told apart, and
//! the ids of records, which are made of identity and offset, never change.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use headgate_sdk::{Batch, Data, Entry, Envelope, Lane, SourceError, Str, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    engine::{Done, Engine},
    event::{self, RecordMaker},
    index::Rest,
    lanes::Gate,
    records::Chunk,
    tails::Tails,
};
use crate::{
    choice::Choice,
    ledger::{self, key},
    read::{Reading, content, open::open_beneath},
    records::{Format, Place, Reader, Shape},
    stamp::Stamp,
    watch::{Candidate, Key},
};

/// A fingerprint covers at most so many bytes.
const PRINT_BYTES: u64 = 1024;

/// So many neighbours of a file are looked at to find where it was rotated to.
const MAX_NEIGHBOURS: usize = 1000;

/// `a/{path}`: how far a growing file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrowthEntry {
    /// Identity, part of the records' ids.
    pub(crate) id: Str,
    #[serde(rename = "i")]
    inode: u64,
    /// How often a file at this path started anew.
    #[serde(rename = "g")]
    generation: u64,
    /// Fingerprint of the first bytes.
    head: Print,
    /// Fingerprint of the last bytes before `place`.
    tail: Print,
    #[serde(rename = "p")]
    place: Place,
    /// When something was last read, seconds since 1970.
    pub(crate) at: i64,
}

impl ledger::Stored for GrowthEntry {}

/// Hash of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Print {
    #[serde(rename = "n")]
    bytes: u64,
    #[serde(rename = "h")]
    hash: Str,
}

impl Print {
    /// Of the bytes that end at `end`, at most [`PRINT_BYTES`].
    fn before(file: &File, end: u64) -> io::Result<Self> {
        let bytes = end.min(PRINT_BYTES);
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
        file.read_exact_at(&mut buffer, end - bytes)?;
        let hash = blake3::hash(&buffer).to_hex();
        Ok(Self {
            bytes,
            hash: Str::from(&hash[..32]),
        })
    }

    fn head(file: &File, size: u64) -> io::Result<Self> {
        Self::before(file, size.min(PRINT_BYTES))
    }
}

impl GrowthEntry {
    fn new(folder: &str, file: &File, inode: u64, size: u64, generation: u64) -> io::Result<Self> {
        let head = Print::head(file, size)?;
        let mut hasher = blake3::Hasher::new();
        for part in [folder.as_bytes(), head.hash.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&inode.to_le_bytes());
        hasher.update(&generation.to_le_bytes());
        Ok(Self {
            id: Str::from(&hasher.finalize().to_hex()[..32]),
            inode,
            generation,
            head,
            tail: Print::before(file, 0)?,
            place: Place::START,
            at: super::judge::seconds_now(),
        })
    }

    /// Whether `file` holds everything that was read under this entry.
    fn continues_in(&self, file: &File, size: u64) -> io::Result<bool> {
        Ok(size >= self.place.offset.max(self.head.bytes)
            && Print::before(file, self.head.bytes)? == self.head
            && Print::before(file, self.place.offset)? == self.tail)
    }
}

/// What is known of growing files: by absolute path. Shared with the jobs that read them.
#[derive(Debug, Default, Clone)]
pub(super) struct Growing {
    known: Arc<Mutex<HashMap<PathBuf, GrowthEntry>>>,
    /// Paths that jobs read at present. Identifying is done by one job at a time, or two would find the same rotated file.
    claimed: Arc<Mutex<HashSet<PathBuf>>>,
    /// Tenants whose entries are read.
    loaded: HashSet<Str>,
    pub(super) tails: Tails,
}

impl Growing {
    /// Forgets a file that was not read since `oldest`. `false`: it is of use again.
    pub(super) fn forget_before(&self, path: &Path, oldest: i64) -> bool {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.lock();
        let old = known.get(path).is_none_or(|entry| entry.at < oldest);
        if !old || claimed.contains(path) {
            return false;
        }
        known.remove(path);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, GrowthEntry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Paths that are read by one job until this is dropped.
struct Claim {
    claimed: Arc<Mutex<HashSet<PathBuf>>>,
    paths: Vec<PathBuf>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &self.paths {
            claimed.remove(path);
        }
    }
}

/// How reading a growing file ended.
#[derive(Debug)]
pub(super) struct Grown {
    key: Key,
    candidate: Candidate,
    result: Result<End, Reading>,
    closed: bool,
}

/// Where reading a file that grows came to.
#[derive(Debug, Clone, Copy)]
struct End {
    stamp: Stamp,
    /// Whether its last line has no end, and was left for later.
    unfinished: bool,
}

/// What a job needs.
struct Job {
    lane: Lane,
    gate: Gate,
    root: PathBuf,
    key: Key,
    folder: Str,
    format: Format,
    template: Envelope,
    growing: Growing,
    choice: Choice,
    /// In this version, the last line is a record even if it has no end.
    last_line_of: Option<Stamp>,
}

impl Engine {
    /// Reads which growing files the lane of a tenant knows.
    pub(super) async fn load_growing(&mut self, tenant: &Str) -> Result<(), SourceError> {
        let Some(growing) = &self.growing else {
            return Ok(());
        };
        if growing.loaded.contains(tenant) {
            return Ok(());
        }
        let growing = growing.clone();
        let lane = self.lane(tenant).await?.lane();
        let mut after: Option<Str> = None;
        loop {
            let page = lane.entries("a/", after.as_deref(), 1000).await?;
            for (key, value) in &page {
                if let Some(entry) = ledger::get(value) {
                    let path = crate::name::decode(key.trim_start_matches("a/"));
                    growing.lock().insert(path, entry);
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == 1000 => after = Some(key.clone()),
                _ => break,
            }
        }
        if let Some(growing) = &mut self.growing {
            growing.loaded.insert(tenant.clone());
        }
        Ok(())
    }

    /// Reads what was appended to a file.
    pub(super) fn start_growing(&mut self, key: Key, candidate: Candidate) {
        let tenant = self.tenant(&key);
        let (Some(growing), Some(format), Some(tenant)) =
            (&mut self.growing, self.plan.records.clone(), tenant)
        else {
            return;
        };
        let last_line_of = growing.tails.take_over(&key);
        let growing = growing.clone();
        let Some(lane) = self.lanes.get(&tenant) else {
            return;
        };
        let mut template = Envelope::new(
            Str::default(),
            self.urn(&tenant),
            self.plan.record_type.clone(),
            Timestamp::now(),
            Data::none(),
        );
        template.tenantid = tenant;
        template.subject = Some(event::subject(&key.path));
        template.partitionkey = template.subject.clone();
        let index = usize::from(key.folder);
        let job = Job {
            lane: lane.lane(),
            gate: self.gate.clone(),
            root: self.roots[index].clone(),
            key: key.clone(),
            folder: self.plan.folders[index].configured.clone(),
            format,
            template,
            growing,
            choice: self.plan.choice.clone(),
            last_line_of,
        };
        self.running.streams += 1;
        self.jobs.spawn(async move {
            let (result, closed) = job.run().await;
            let result = result.map_err(content::failed);
            Done::Grown(Box::new(Grown {
                key,
                candidate,
                result,
                closed,
            }))
        });
    }

    pub(super) fn on_grown(&mut self, grown: Grown, now: Instant) -> Result<(), SourceError> {
        let Grown {
            key,
            candidate,
            result,
            closed,
        } = grown;
        if closed {
            return Err(SourceError::retriable("a lane is closed"));
        }
        match result {
            // Another job reads it, as the rest of the file that it was rotated from.
            Err(Reading::Failed(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let stamp = candidate.stamp;
                self.tracker
                    .put_back(key, candidate, stamp, now, Duration::ZERO);
            }
            Ok(End { stamp, unfinished }) => {
                self.readable(&key);
                let scan = self.folders[usize::from(key.folder)].scan_number;
                self.index.rest(&key, &stamp, Rest::Done, scan);
                if let Some(growing) = &mut self.growing {
                    let until = unfinished.then(|| now + self.plan.last_line_after);
                    growing.tails.read(&key, stamp, until);
                }
                self.tracker.finish(&key, now);
            }
            Err(Reading::Failed(error)) => {
                self.unreadable(&key, &error.to_string());
                let stamp = candidate.stamp;
                let delay = Duration::from_secs(2).max(4 * self.plan.settle);
                self.tracker.put_back(key, candidate, stamp, now, delay);
            }
            Err(_) => self.tracker.finish(&key, now),
        }
        Ok(())
    }
}

/// Something to read, and under which entry.
struct Piece {
    path: PathBuf,
    file: File,
    entry: GrowthEntry,
    /// The entry that this one takes the place of.
    replaces: Option<PathBuf>,
    /// Whether the entry is not yet stored as it is.
    is_new: bool,
    /// Whether its last line is a record even if it has no end.
    last_line: bool,
}

impl Job {
    async fn run(self) -> (io::Result<End>, bool) {
        let (lane, gate) = (self.lane.clone(), self.gate.clone());
        let (batches, mut received) = mpsc::channel::<Batch>(2);
        let reader = tokio::task::spawn_blocking(move || self.read(&batches));
        let mut closed = false;
        while let Some(batch) = received.recv().await {
            let permit = lane.reserve(batch.weight()).await.ok();
            if permit.and_then(|permit| gate.send(permit, batch)).is_none() {
                closed = true;
                received.close();
            }
        }
        let result = reader
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(format!("reading stopped: {panic}"))));
        (result, closed)
    }

    fn read(&self, batches: &mpsc::Sender<Batch>) -> io::Result<End> {
        let file = open_beneath(&self.root, &self.key.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let path = self.root.join(&self.key.path);
        let (pieces, _claim) = self.claim(path, file, &stamp)?;
        let mut place = Place::START;
        for piece in pieces {
            place = self.read_piece(piece, batches)?;
        }
        let unfinished = self.last_line_of != Some(stamp) && place.offset < stamp.size;
        Ok(End { stamp, unfinished })
    }

    /// Identifies what to read, and keeps other jobs from reading it too.
    fn claim(&self, path: PathBuf, file: File, stamp: &Stamp) -> io::Result<(Vec<Piece>, Claim)> {
        let lock = self.growing.claimed.lock();
        let mut claimed = lock.unwrap_or_else(PoisonError::into_inner);
        if claimed.contains(&path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let pieces = self.identify(path, file, stamp)?;
        let mut known = self.growing.lock();
        for piece in &pieces {
            known.insert(piece.path.clone(), piece.entry.clone());
            if let Some(old) = &piece.replaces {
                known.remove(old);
            }
        }
        let paths: Vec<_> = pieces.iter().map(|piece| piece.path.clone()).collect();
        claimed.extend(paths.iter().cloned());
        let claimed = Arc::clone(&self.growing.claimed);
        Ok((pieces, Claim { claimed, paths }))
    }

    /// What to read, in order: the rest of a file that was rotated away, then the file at `path`.
    fn identify(&self, path: PathBuf, file: File, stamp: &Stamp) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let known = self.growing.lock().get(&path).cloned();
        let (inode, size) = (stamp.inode, stamp.size);
        let last_line = self.last_line_of == Some(*stamp);
        let entry = match known {
            Some(entry) if entry.inode == inode && entry.continues_in(&file, size)? => {
                pieces.push(Piece {
                    path,
                    file,
                    entry,
                    replaces: None,
                    is_new: false,
                    last_line,
                });
                return Ok(pieces);
            }
            // Truncated, or another file: what it was may lie beside it, and hold records that were not read yet.
            Some(entry) => {
                pieces.extend(self.rotated(&path, &entry)?);
                GrowthEntry::new(&self.folder, &file, inode, size, entry.generation + 1)?
            }
            None => match self.renamed_or_copied(&file, inode, size)? {
                Some((from, entry)) => {
                    pieces.push(Piece {
                        path,
                        file,
                        entry: GrowthEntry { inode, ..entry },
                        replaces: from,
                        is_new: true,
                        last_line,
                    });
                    return Ok(pieces);
                }
                None => GrowthEntry::new(&self.folder, &file, inode, size, 0)?,
            },
        };
        pieces.push(Piece {
            path,
            file,
            entry,
            replaces: None,
            is_new: true,
            last_line,
        });
        Ok(pieces)
    }

    /// Finds the neighbour into which a file was renamed or copied.
    fn rotated(&self, path: &Path, entry: &GrowthEntry) -> io::Result<Option<Piece>> {
        let Some(folder) = path.parent() else {
            return Ok(None);
        };
        for neighbour in fs::read_dir(folder)?.take(MAX_NEIGHBOURS) {
            let neighbour = neighbour?.path();
            let there = fs::symlink_metadata(&neighbour);
            let Some(metadata) = there.ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            if neighbour == *path
                || metadata.len() < entry.place.offset
                || self.growing.lock().contains_key(&neighbour)
            {
                continue;
            }
            let Ok(file) = File::open(&neighbour) else {
                continue;
            };
            // An empty entry says nothing about contents: then only the inode counts.
            let copied = entry.place.offset > 0;
            if (copied || metadata.ino() == entry.inode)
                && entry.continues_in(&file, metadata.len())?
            {
                let last_line = !self.is_wanted(&neighbour);
                return Ok(Some(Piece {
                    path: neighbour,
                    file,
                    entry: GrowthEntry {
                        inode: metadata.ino(),
                        ..entry.clone()
                    },
                    replaces: None,
                    is_new: true,
                    // Where nobody looks again, this is the last chance.
                    last_line,
                }));
            }
        }
        Ok(None)
    }

    /// Whether a file that is new at its path is known from another one: renamed (then that path's entry moves here), or copied.
    fn renamed_or_copied(
        &self,
        file: &File,
        inode: u64,
        size: u64,
    ) -> io::Result<Option<(Option<PathBuf>, GrowthEntry)>> {
        let known: Vec<_> = {
            let known = self.growing.lock();
            known
                .iter()
                .filter(|(_, entry)| entry.inode == inode || entry.place.offset > 0)
                .map(|(path, entry)| (path.clone(), entry.clone()))
                .collect()
        };
        for (path, entry) in known {
            if !entry.continues_in(file, size)? {
                continue;
            }
            if entry.inode != inode {
                return Ok(Some((None, entry)));
            }
            // A hard link is there as well; a renamed file is not.
            let still_there = fs::symlink_metadata(&path).is_ok_and(|m| m.ino() == inode);
            return Ok(Some(((!still_there).then_some(path), entry)));
        }
        Ok(None)
    }

    /// Whether a file in one of the folders is read under its own name.
    fn is_wanted(&self, path: &Path) -> bool {
        path.strip_prefix(&self.root)
            .is_ok_and(|path| self.choice.wants_name(path))
    }

    /// Reads and sends what is new, and says how far it came.
    fn read_piece(&self, piece: Piece, batches: &mpsc::Sender<Batch>) -> io::Result<Place> {
        let Piece {
            path,
            file,
            mut entry,
            mut replaces,
            mut is_new,
            last_line,
        } = piece;
        let format = Format {
            may_grow: !last_line,
            ..self.format.clone()
        };
        let maker = RecordMaker::growing(
            self.template.clone(),
            &entry.id,
            self.format.shape != Shape::Lines,
        );
        if self.has_first_line(&file, &entry)? {
            let mut reader = Reader::open(&file, &format, entry.place)?;
            loop {
                let mut chunk = Chunk::default();
                while !chunk.is_full() {
                    match reader.next(&mut chunk.arena)? {
                        Some(record) => match record.body {
                            Ok(range) => chunk.good.push((maker.id(record.offset), range)),
                            Err(defect) => chunk.bad.push(maker.defect(record.offset, defect)),
                        },
                        None => break,
                    }
                }
                if chunk.good.is_empty() && chunk.bad.is_empty() {
                    break;
                }
                entry.place = reader.place();
                entry.at = super::judge::seconds_now();
                entry.tail = Print::before(&file, entry.place.offset)?;
                let mut batch = chunk.into_batch(&maker);
                batch.entries = self.entries(&path, &entry, replaces.take());
                is_new = false;
                if batches.blocking_send(batch).is_err() {
                    return Ok(entry.place);
                }
            }
        }
        if is_new {
            let batch = Batch {
                entries: self.entries(&path, &entry, replaces.take()),
                ..Batch::default()
            };
            let _closed = batches.blocking_send(batch);
        }
        Ok(entry.place)
    }

    /// Notes an entry, and what stores it.
    fn entries(&self, path: &Path, entry: &GrowthEntry, replaces: Option<PathBuf>) -> Vec<Entry> {
        self.growing.lock().insert(path.to_owned(), entry.clone());
        let mut entries = vec![ledger::put(key::growth(path), entry)];
        if let Some(old) = replaces {
            entries.push(Entry::remove(key::growth(&old)));
        }
        entries
    }

    /// A header that is still being written is none.
    fn has_first_line(&self, file: &File, entry: &GrowthEntry) -> io::Result<bool> {
        let wants_header = matches!(&self.format.shape, Shape::Csv(dialect) if dialect.header);
        if !wants_header || entry.place != Place::START {
            return Ok(true);
        }
        let mut start = vec![0; self.format.max_record_bytes.min(64 * 1024)];
        let read = file.read_at(&mut start, 0)?;
        Ok(memchr::memchr(b'\n', &start[..read]).is_some())
    }
}
