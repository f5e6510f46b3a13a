//! The store.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use headgate_sdk::{DeadLetter, Timestamp};
use parking_lot::Mutex;

use super::{
    filter::Filter,
    live::{Follower, Live},
    record::{Content, Resolution, decode, encode_letter, encode_resolved},
};
use crate::{
    pipeline::dead_letter::DeadLetterWriter,
    segment::{Options, RealFiles, SegmentError, SegmentLog, Sequence},
};

/// The pause before a write that failed for lack of room is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Small, because one live letter holds a whole segment.
const SEGMENT_BYTES: u64 = 16 << 20;
const READ_BYTES: usize = 1 << 20;
const AUDIT_FILE: &str = "audit.jsonl";

/// Dead letters in a segmented log. Clones share it.
#[derive(Clone)]
pub struct DeadLetterStore {
    log: Arc<SegmentLog>,
    live: Arc<Mutex<Live>>,
    audit: Arc<Mutex<PathBuf>>,
}

/// A letter that waits for somebody.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its place in the store, by which it is named.
    pub position: Sequence,
    /// The letter.
    pub letter: DeadLetter,
}

/// The figures of the store at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterStats {
    /// How many letters wait.
    pub letters: usize,
    /// What the store takes on disk.
    pub bytes: u64,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterStoreError {
    /// Its log.
    #[error(transparent)]
    Log(#[from] SegmentError),
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
    /// Opens or creates the store in `folder`, and reads it once to learn which letters are live. Blocks.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, DeadLetterStoreError> {
        Self::open_with(folder, SEGMENT_BYTES)
    }

    pub(super) fn open_with(
        folder: &Path,
        segment_bytes: u64,
    ) -> Result<Self, DeadLetterStoreError> {
        let live = Arc::new(Mutex::new(Live::default()));
        let defaults = Options::new("dead-letters");
        let options = Options {
            segment_bytes,
            max_group_bytes: defaults.max_group_bytes.min(segment_bytes as usize / 2),
            tail_bytes: 1 << 20,
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
        let audit = Arc::new(Mutex::new(folder.join(AUDIT_FILE)));
        let store = Self {
            log: Arc::new(log),
            live,
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
        let Some(first) = self.live.lock().first() else {
            return Ok(found);
        };
        let mut reader = self.log.reader(first.max(after.saturating_add(1)));
        while found.len() < limit && !reader.is_at_end() {
            for record in reader.read_now(READ_BYTES).await? {
                let position = record.sequence;
                if found.len() == limit || !self.live.lock().contains(position) {
                    continue;
                }
                if let Some(Content::Letter(letter)) = decode(record.data)
                    && filter.takes(&letter)
                {
                    found.push(Kept {
                        position,
                        letter: *letter,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The live letter at `position`. Cancel safe.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the log cannot be read.
    pub async fn get(&self, position: Sequence) -> Result<Option<Kept>, DeadLetterStoreError> {
        if position == 0 || !self.live.lock().contains(position) {
            return Ok(None);
        }
        let found = self.list(&Filter::default(), position - 1, 1).await?;
        Ok(found.into_iter().find(|kept| kept.position == position))
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
            let written = tokio::task::spawn_blocking(move || {
                let path = audit.lock();
                append(&path, &lines).map_err(|source| DeadLetterStoreError::Audit {
                    path: path.clone(),
                    source,
                })
            });
            written.await.unwrap_or_else(|error| {
                let path = self.audit.lock().clone();
                Err(DeadLetterStoreError::Audit {
                    path,
                    source: io::Error::other(error),
                })
            })?;
        }
        let positions: Vec<_> = live.iter().map(|kept| kept.position).collect();
        self.log
            .append(&[encode_resolved(resolution, &positions)])
            .await?;
        self.release();
        Ok(positions.len())
    }

    /// The figures now.
    #[must_use]
    pub fn stats(&self) -> DeadLetterStats {
        DeadLetterStats {
            letters: self.live.lock().count(),
            bytes: self.log.stats().bytes,
        }
    }

    /// Lets go of what lies before the oldest live letter.
    fn release(&self) {
        let durable = self.log.durable();
        let first = self.live.lock().first().unwrap_or(durable).min(durable);
        self.log.release(first.saturating_sub(1));
    }
}

impl DeadLetterWriter for DeadLetterStore {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
        let log = Arc::clone(&self.log);
        Box::pin(async move {
            let mut records = Vec::with_capacity(letters.len());
            for letter in letters {
                metrics::counter!("headgate_dead_letters_total", "step" => letter.step.to_string(), "reason" => letter.reason.to_string())
                    .increment(1);
                let record = encode_letter(letter)
                    .expect("envelopes that came this far are within the codec's bounds");
                records.push(record);
            }
            for record in records {
                while let Err(error) = log.append(std::slice::from_ref(&record)).await {
                    tracing::error!(%error, "dead letters cannot be stored, their lane waits: make room on the disk of data_dir");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        })
    }
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

fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}
