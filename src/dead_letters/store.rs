//! The store.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_sdk::{DeadLetter, Timestamp};
use parking_lot::Mutex;

use super::{
    apart::{self, Folder},
    filter::Filter,
    live::{Follower, Live},
    record::{
        Apart, Content, Resolution, decode, decode_whole, encode_apart, encode_letter,
        encode_resolved, encode_whole,
    },
};
use crate::{
    pipeline::dead_letter::DeadLetterWriter,
    segment::{Options, RealFiles, SegmentError, SegmentLog, Sequence},
};

/// The pause before a write that failed for lack of room is tried again.
const AGAIN: Duration = Duration::from_secs(1);
const SEGMENT_BYTES: u64 = 16 << 20;
/// Data above this lies in a file of its own.
const APART_BYTES: usize = 256 << 10;
pub(super) const READ_BYTES: usize = 1 << 20;
/// Letters that are written together: at most 2 MB of data, an eighth of a segment.
const TOGETHER: usize = 8;
/// Letters that are looked at together.
const CHUNK: usize = 256;
const AUDIT_FILE: &str = "audit.jsonl";
const APART_FOLDER: &str = "data";

/// Dead letters in a segmented log. Clones share it.
#[derive(Clone)]
pub struct DeadLetterStore {
    pub(super) log: Arc<SegmentLog>,
    pub(super) live: Arc<Mutex<Live>>,
    /// Held shared by whoever adds a letter or a resolution, and alone by the compaction.
    pub(super) writing: Arc<tokio::sync::RwLock<()>>,
    pub(super) segment_bytes: u64,
    /// The first place that a follower has not read, if there is a follower.
    pub(super) followed: Arc<AtomicU64>,
    max_bytes: u64,
    apart: Arc<Folder>,
    audit: Arc<Mutex<PathBuf>>,
}

/// A letter that waits for somebody.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its place in the store, by which it is named.
    pub position: Sequence,
    /// The letter; without its data if that lies apart.
    pub letter: DeadLetter,
    /// The file that holds the whole letter, if its data was too large to lie with the others.
    pub apart: Option<PathBuf>,
}

/// The figures of the store at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterStats {
    /// How many letters wait.
    pub letters: usize,
    /// What the store takes on disk.
    pub bytes: u64,
    /// What the letters may take; beyond it, lanes that have another one wait.
    pub max_bytes: u64,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterStoreError {
    /// Its log.
    #[error(transparent)]
    Log(#[from] SegmentError),
    /// Data that lies apart.
    #[error("the data of a dead letter in {} cannot be used: {source}", path.display())]
    Apart {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The record of what was discarded.
    #[error("what is discarded cannot be recorded in {}: {source}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DeadLetterStore {
    /// Opens or creates the store in `folder`, for letters of at most `max_bytes`, and reads it once to learn which letters are
    /// live. Blocks.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the folder cannot be used.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, DeadLetterStoreError> {
        Self::open_with(folder, max_bytes, SEGMENT_BYTES)
    }

    pub(super) fn open_with(
        folder: &Path,
        max_bytes: u64,
        segment_bytes: u64,
    ) -> Result<Self, DeadLetterStoreError> {
        let live = Arc::new(Mutex::new(Live::default()));
        let defaults = Options::new("dead-letters");
        let options = Options {
            segment_bytes,
            // Compaction keeps it below twice the letters; it needs some room to do so.
            max_total_bytes: max_bytes.saturating_mul(2) + 8 * segment_bytes,
            max_group_bytes: defaults.max_group_bytes.min(segment_bytes as usize / 2),
            spare_segments: 1,
            ..defaults
        };
        // It reports what it finds damaged itself.
        let (log, _) = SegmentLog::open_with(folder, options, RealFiles, Follower(live.clone()))?;
        let mut reader = log.reader(0);
        while !reader.is_at_end() {
            let mut live = live.lock();
            for record in reader.read(READ_BYTES)? {
                live.apply(record);
            }
        }
        let path = folder.join(APART_FOLDER);
        let apart = Folder::open(path.clone(), &live.lock().files())
            .map_err(|source| DeadLetterStoreError::Apart { path, source })?;
        let audit = Arc::new(Mutex::new(folder.join(AUDIT_FILE)));
        // They are gone already.
        live.lock().take_orphans();
        let store = Self {
            log: Arc::new(log),
            live,
            writing: Arc::default(),
            segment_bytes,
            followed: Arc::new(AtomicU64::new(u64::MAX)),
            max_bytes,
            apart: Arc::new(apart),
            audit,
        };
        store.release();
        Ok(store)
    }

    /// Up to `limit` live letters after position `after` that `filter` takes, oldest first. Cancel safe.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the log cannot be read.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<Kept>, DeadLetterStoreError> {
        let mut found = Vec::new();
        let mut after = after;
        while found.len() < limit {
            let chunk = self.live.lock().after(after, CHUNK);
            let Some((last, _)) = chunk.last() else { break };
            after = *last;
            let letters = self.read(chunk).await?.into_values();
            let taken = letters.filter(|kept| filter.takes(&kept.letter));
            found.extend(taken.take(limit - found.len()));
        }
        Ok(found)
    }

    /// The letters of these positions and places, by position. One that is resolved meanwhile may be missing.
    async fn read(
        &self,
        mut places: Vec<(Sequence, Sequence)>,
    ) -> Result<BTreeMap<Sequence, Kept>, DeadLetterStoreError> {
        let mut found = BTreeMap::new();
        while !places.is_empty() {
            places.sort_unstable_by_key(|(_, place)| *place);
            let mut reader = self.log.reader(places[0].1);
            for (position, place) in &places {
                reader.seek(*place);
                let record = reader.read_now(1).await?.pop();
                let record = record.filter(|record| record.sequence == *place);
                if let Some(Content::Letter(stored)) = record.and_then(|record| decode(record.data))
                {
                    let kept = Kept {
                        position: *position,
                        letter: *stored.letter,
                        apart: stored.apart.map(|apart| self.apart.path(&apart.name)),
                    };
                    found.insert(*position, kept);
                }
            }
            // What was moved meanwhile is read from its new place.
            let live = self.live.lock();
            places = places
                .into_iter()
                .filter(|(position, _)| !found.contains_key(position))
                .filter_map(|(position, before)| {
                    let place = live.place(position).filter(|place| *place != before)?;
                    Some((position, place))
                })
                .collect();
        }
        Ok(found)
    }

    /// A letter with its data, wherever that lies.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if its file cannot be read.
    pub async fn whole(&self, kept: &Kept) -> Result<DeadLetter, DeadLetterStoreError> {
        let Some(path) = kept.apart.clone() else {
            return Ok(kept.letter.clone());
        };
        let (folder, name) = (
            Arc::clone(&self.apart),
            path.file_name().map(ToOwned::to_owned),
        );
        let read = on_blocking_thread(move || {
            let name = name.as_ref().and_then(|name| name.to_str());
            let whole = decode_whole(folder.read(name.unwrap_or_default())?);
            whole.ok_or_else(|| io::Error::other("it is no dead letter"))
        });
        let failed = |source| DeadLetterStoreError::Apart { path, source };
        read.await.map_err(failed)
    }

    /// The live letter at `position`. Cancel safe.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the log cannot be read.
    pub async fn get(&self, position: Sequence) -> Result<Option<Kept>, DeadLetterStoreError> {
        let place = self.live.lock().place(position);
        let Some(place) = place else { return Ok(None) };
        Ok(self.read(vec![(position, place)]).await?.remove(&position))
    }

    /// Whether the letter at `position` still waits.
    #[must_use]
    pub fn waits(&self, position: Sequence) -> bool {
        self.live.lock().contains(position)
    }

    /// Says what became of letters; those that are not live any more are left out. Returns how many were, once that is durable.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`]; then nothing is resolved.
    pub async fn resolve(
        &self,
        letters: &[Kept],
        resolution: Resolution,
    ) -> Result<usize, DeadLetterStoreError> {
        let shared = self.writing.read().await;
        let live: Vec<_> = {
            let known = self.live.lock();
            letters
                .iter()
                .filter(|kept| known.contains(kept.position))
                .collect()
        };
        if live.is_empty() {
            return Ok(0);
        }
        if resolution == Resolution::Discarded {
            let lines = live.iter().map(|kept| audit_line(kept)).collect::<String>();
            let audit = self.audit.clone();
            let written = on_blocking_thread(move || {
                let path = audit.lock();
                apart::append(&path, &lines)
            });
            let failed = |source| {
                let path = self.audit.lock().clone();
                DeadLetterStoreError::Audit { path, source }
            };
            written.await.map_err(failed)?;
        }
        let letters = live.iter().map(|kept| (kept.position, &kept.letter));
        self.log
            .append(&[encode_resolved(resolution, letters)])
            .await?;
        drop(shared);
        self.release();
        self.compact().await?;
        Ok(live.len())
    }

    pub(super) fn path_apart(&self, name: &str) -> PathBuf {
        self.apart.path(name)
    }

    /// The figures now.
    #[must_use]
    pub fn stats(&self) -> DeadLetterStats {
        let live = self.live.lock();
        DeadLetterStats {
            letters: live.count(),
            bytes: self.log.stats().bytes + live.apart_bytes(),
            max_bytes: self.max_bytes,
        }
    }

    /// Lets go of what lies before the first place that is needed, and of data without a letter.
    pub(super) fn release(&self) {
        let durable = self.log.durable();
        let (first, orphans) = {
            let mut live = self.live.lock();
            (live.first_place(), live.take_orphans())
        };
        let needed = first.unwrap_or(durable).min(durable).min(self.followed());
        self.log.release(needed.saturating_sub(1));
        if !orphans.is_empty() {
            let folder = Arc::clone(&self.apart);
            let remove = move || orphans.iter().for_each(|name| folder.remove(name));
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(remove)),
                Err(_) => remove(),
            }
        }
    }

    /// Whether letters of `bytes` more are allowed.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let live = self.live.lock();
        live.bytes() + live.apart_bytes() + bytes <= self.max_bytes
    }

    /// Adds letters, all or none. `false`: the store is full.
    async fn add(&self, letters: &[DeadLetter]) -> Result<bool, DeadLetterStoreError> {
        let _shared = self.writing.read().await;
        let bytes: usize = letters.iter().map(|one| one.envelope.data.len()).sum();
        if !self.has_room(bytes as u64) {
            return Ok(false);
        }
        let mut records = Vec::with_capacity(letters.len());
        for letter in letters {
            records.push(if letter.envelope.data.len() <= APART_BYTES {
                fits(encode_letter(letter.clone()))
            } else {
                let apart = self.set_apart(letter).await?;
                fits(encode_apart(letter.clone(), &apart))
            });
        }
        self.log.append(&records).await?;
        Ok(true)
    }

    /// Writes a letter to a file of its own.
    async fn set_apart(&self, letter: &DeadLetter) -> Result<Apart, DeadLetterStoreError> {
        let whole = fits(encode_whole(letter.clone()));
        let (folder, bytes) = (Arc::clone(&self.apart), whole.len() as u64);
        let written = on_blocking_thread(move || folder.write(&whole)).await;
        let name = written.map_err(|source| DeadLetterStoreError::Apart {
            path: self.apart.path(""),
            source,
        })?;
        Ok(Apart { name, bytes })
    }

    /// Adds letters, however long that takes.
    async fn keep(&self, letters: &[DeadLetter]) {
        let full = metrics::gauge!("headgate_dead_letters_full");
        loop {
            match self.add(letters).await {
                Ok(true) => break,
                Ok(false) => {
                    full.set(1.0);
                    tracing::error!(
                        max_bytes = self.max_bytes,
                        "the dead letters are full, and the lane of this one waits: retry or discard some, or raise `limits.dead_letters`"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "dead letters cannot be stored, their lane waits: make room on the disk of data_dir");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        full.set(0.0);
        if let Err(error) = self.compact().await {
            tracing::warn!(%error, "the dead letters take more room than they need");
        }
    }
}

impl DeadLetterWriter for DeadLetterStore {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
        let store = self.clone();
        Box::pin(async move {
            let small = |letter: &DeadLetter| letter.envelope.data.len() <= APART_BYTES;
            for part in letters.chunk_by(|a, b| small(a) && small(b)) {
                for together in part.chunks(TOGETHER) {
                    // One that is kept already, and comes again to be sure, is no other.
                    let new: Vec<_> = {
                        let live = store.live.lock();
                        together
                            .iter()
                            .filter(|letter| !live.knows(letter))
                            .collect()
                    };
                    store.keep(together).await;
                    for letter in new {
                        metrics::counter!("headgate_dead_letters_total", "step" => letter.step.to_string(), "reason" => letter.reason.to_string())
                            .increment(1);
                    }
                }
            }
            store.release();
        })
    }
}

fn fits(encoded: Result<Bytes, headgate_sdk::batch::wire::RecordError>) -> Bytes {
    encoded.expect("envelopes that came this far are within the codec's bounds")
}

/// Runs what blocks where that is allowed.
pub(super) async fn on_blocking_thread<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic, and the runtime waits for it")
}

fn audit_line(kept: &Kept) -> String {
    let letter = &kept.letter;
    let line = serde_json::json!({
        "discarded": Timestamp::now().to_string(),
        "position": kept.position,
        "source": letter.envelope.source.as_str(),
        "id": letter.envelope.id.as_str(),
        "type": letter.envelope.event_type.as_str(),
        "step": letter.step.as_str(),
        "reason": letter.reason.as_str(),
        "failed": letter.failed_at.to_string(),
    });
    format!("{line}\n")
}
