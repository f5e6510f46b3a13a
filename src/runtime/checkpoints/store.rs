//! Reading checkpoints, and handing commits to the writer.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use headgate_sdk::{Entry, LaneId, Position, Str};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{
    moved,
    writer::{Command, Commit, Writer},
};

/// Lane → position, JSON text.
pub(super) const POSITIONS: TableDefinition<'_, &str, &str> = TableDefinition::new("positions");
/// (lane, key) → value.
pub(super) const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("entries");
/// Sink → how far its own checkpoints are in this file.
pub(super) const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");

/// Pages of the file that are kept in memory; without a bound it would be up to a gigabyte.
const CACHE_BYTES: usize = 64 << 20;
/// Commits that may wait for the writer.
const QUEUE: usize = 1024;

/// The checkpoint store. Clones share it; the last one to go ends the writer after its last commit.
#[derive(Clone)]
pub struct Checkpoints {
    pub(super) database: Arc<Shared>,
    queue: mpsc::Sender<Command>,
    /// Commits that were handed over, each counted before it is in the queue.
    handed_over: Arc<AtomicU64>,
}

/// The open file. It is closed and opened anew after an I/O error, because `redb` refuses to write until then.
pub(super) struct Shared {
    path: PathBuf,
    open: RwLock<Option<Database>>,
    /// Commits that are on disk.
    pub(super) written: AtomicU64,
}

/// A lane's stored checkpoint, without its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The lane.
    pub lane: LaneId,
    /// Where it resumes.
    pub position: Option<Position>,
}

impl Checkpoints {
    /// Opens or creates the file and starts the writer. Blocks; call it at start.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be opened, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let database = Arc::new(Shared {
            path: path.to_owned(),
            open: RwLock::new(None),
            written: AtomicU64::new(0),
        });
        database.reopen()?;
        let (queue, commands) = mpsc::channel(QUEUE);
        Writer::start(Arc::clone(&database), commands)?;
        Ok(Self {
            database,
            queue,
            handed_over: Arc::default(),
        })
    }

    /// Hands a commit to the writer. Waits only while its queue is full. Cancel safe: a cancelled call has queued nothing.
    pub async fn commit(&self, commit: Commit) {
        if let Ok(room) = self.queue.reserve().await {
            self.handed_over.fetch_add(1, Ordering::SeqCst);
            room.send(Command::Commit(commit));
        }
    }

    /// The same for threads outside of the async runtime.
    pub fn commit_blocking(&self, commit: Commit) {
        self.handed_over.fetch_add(1, Ordering::SeqCst);
        let _writer_gone = self.queue.blocking_send(Command::Commit(commit));
    }

    /// Waits until everything handed over before is on disk.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Command::Flush(done)).await.is_ok() {
            let _writer_gone = flushed.await;
        }
    }

    /// Waits until everything handed over before can be read. What a sink stores itself is handed over when it is durable, and
    /// written when there is time: whoever was told that it is durable, and reads it, would otherwise find what was before.
    pub async fn settled(&self) {
        // In this order: what is handed over meanwhile may only make it look unsettled.
        let written = self.database.written.load(Ordering::SeqCst);
        if written < self.handed_over.load(Ordering::SeqCst) {
            self.flush().await;
        }
    }

    /// Writes what was handed over before and closes the file; reading and writing end in errors from then on.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Command::Close(done)).await.is_ok() {
            let _writer_gone = closed.await;
        }
    }

    /// The stored checkpoint of a lane, `None` if it has none.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn restored(&self, lane: &LaneId) -> Result<Option<StoredCheckpoint>, CheckpointError> {
        self.database.read(|read| {
            let position = match read.open_table(POSITIONS) {
                Ok(table) => table
                    .get(lane.as_str())?
                    .map(|text| text.value().to_owned()),
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(error.into()),
            };
            Ok(position.map(|text| StoredCheckpoint {
                lane: lane.clone(),
                position: Position::from_json(&text).ok(),
            }))
        })
    }

    /// All lanes with a stored position, in the order of their ids.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn lanes(&self) -> Result<Vec<StoredCheckpoint>, CheckpointError> {
        self.database.read(|read| {
            let table = match read.open_table(POSITIONS) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut lanes = Vec::new();
            for row in table.iter()? {
                let (lane, position) = row?;
                lanes.push(StoredCheckpoint {
                    lane: LaneId::from_stored(lane.value()),
                    position: Position::from_json(position.value()).ok(),
                });
            }
            Ok(lanes)
        })
    }

    /// Up to `limit` entries of a lane whose keys start with `prefix` and sort after `after`.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn entries(
        &self,
        lane: &LaneId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Str, Bytes)>, CheckpointError> {
        self.database.read(|read| {
            let table = match read.open_table(ENTRIES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let start = after.map_or(prefix, |after| after.max(prefix));
            let mut found = Vec::new();
            for row in table.range((lane.as_str(), start)..)? {
                let (key, value) = row?;
                let (of, key) = key.value();
                if of != lane.as_str() || !key.starts_with(prefix) || found.len() == limit {
                    break;
                }
                if after != Some(key) {
                    found.push((Str::new(key), Bytes::copy_from_slice(value.value())));
                }
            }
            Ok(found)
        })
    }

    /// One entry of a lane.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn entry(&self, lane: &LaneId, key: &str) -> Result<Option<Bytes>, CheckpointError> {
        self.database.read(|read| match read.open_table(ENTRIES) {
            Ok(table) => Ok(table
                .get((lane.as_str(), key))?
                .map(|value| Bytes::copy_from_slice(value.value()))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// How far a sink's own checkpoints are in this file.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn mark(&self, sink: &str) -> Result<Option<Bytes>, CheckpointError> {
        self.database.read(|read| match read.open_table(MARKS) {
            Ok(table) => Ok(table
                .get(sink)?
                .map(|value| Bytes::copy_from_slice(value.value()))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }
}

impl Shared {
    /// Writes a group of commits as one transaction.
    pub(super) fn write(&self, commits: &[Commit]) -> Result<(), CheckpointError> {
        self.change(|write| {
            let mut positions = write.open_table(POSITIONS)?;
            let mut entries = write.open_table(ENTRIES)?;
            let mut marks = write.open_table(MARKS)?;
            for commit in commits {
                let lane = commit.lane.as_str();
                if let Some(position) = &commit.checkpoint.position {
                    positions.insert(lane, position.as_json())?;
                }
                if let Some((sink, mark)) = &commit.mark {
                    marks.insert(sink.as_str(), mark.as_ref())?;
                }
            }
            for (lane, Entry { key, value }) in newest_changes(commits) {
                match value {
                    Some(value) => drop(entries.insert((lane, key.as_str()), value.as_ref())?),
                    None => drop(entries.remove((lane, key.as_str()))?),
                }
            }
            let sent_on = commits
                .iter()
                .filter(|commit| commit.checkpoint.position.is_some());
            moved::forget(write, sent_on.map(|commit| &commit.lane))
        })
    }

    /// One transaction.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), CheckpointError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or_else(|| self.closed())?;
        let write = database.begin_write().map_err(|error| self.failed(error))?;
        change(&write).map_err(|error| self.failed(error))?;
        write.commit().map_err(|error| self.failed(error))
    }

    /// Closes the file.
    pub(super) fn close(&self) {
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Closes the file and opens it anew.
    pub(super) fn reopen(&self) -> Result<(), CheckpointError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&self.path);
        *open = Some(database.map_err(|error| self.failed(error))?);
        Ok(())
    }

    pub(super) fn read<T>(
        &self,
        f: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, CheckpointError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let read = open
            .as_ref()
            .ok_or_else(|| self.closed())?
            .begin_read()
            .map_err(|error| self.failed(error))?;
        f(&read).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: impl Into<redb::Error>) -> CheckpointError {
        CheckpointError::Store {
            path: self.path.display().to_string(),
            source: Box::new(source.into()),
        }
    }

    fn closed(&self) -> CheckpointError {
        CheckpointError::Closed {
            path: self.path.display().to_string(),
        }
    }
}

/// The last change of each entry, in the order in which they lie in the file: neighbours are then changed together, which takes half
/// the time.
fn newest_changes(commits: &[Commit]) -> impl Iterator<Item = (&str, &Entry)> {
    let mut changes: Vec<(&str, &Entry)> = commits
        .iter()
        .flat_map(|commit| {
            let lane = commit.lane.as_str();
            commit
                .checkpoint
                .entries
                .iter()
                .map(move |entry| (lane, entry))
        })
        .collect();
    // Stable: of several changes of one entry, the last one comes last.
    changes.sort_by(|(a, one), (b, other)| (a, &one.key).cmp(&(b, &other.key)));
    let mut changes = changes.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut newest = changes.next()?;
        while let Some(newer) =
            changes.next_if(|(lane, entry)| *lane == newest.0 && entry.key == newest.1.key)
        {
            newest = newer;
        }
        Some(newest)
    })
}

/// The checkpoint file does not serve.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("checkpoint file `{path}`: {source}; check that its disk has room and is healthy")]
    Store {
        /// The file.
        path: String,
        /// The cause.
        source: Box<redb::Error>,
    },
    /// It could not be opened again after an error.
    #[error(
        "checkpoint file `{path}` is closed after an I/O error; check its disk, it is tried again every second"
    )]
    Closed {
        /// The file.
        path: String,
    },
    /// The writer could not be started.
    #[error("the checkpoint writer's thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
}
