//! The log itself: opening, appending, holding.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use headgate_sdk::{LaneId, Str};
use parking_lot::Mutex;

use super::config::Config;
use super::groups::Groups;
use super::indexer::{Index, Indexer, catch_up, mark_only, read_mark};
use super::reader::{LogReader, Start};
use super::record::{encode_checkpoint, encode_event};
use super::{LogError, retention};
use crate::runtime::Checkpoints;
use crate::segment::{
    FileLayer, LogStats, Options, RecoveryReport, SegmentError, SegmentLog, Sequence, Ticket,
};
use crate::sink::{Checkpoint, Record};

/// What a log takes on disk beyond its retention, so that a holder that lags does not stop it at once.
const HEADROOM_SEGMENTS: u64 = 4;
const SEGMENT_BYTES: u64 = 64 << 20;

/// An open embedded log.
pub struct EmbeddedLog {
    pub(super) log: SegmentLog,
    pub(super) config: Config,
    pub(super) index: Arc<Index>,
    pub(super) groups: Groups,
    holds: Arc<Mutex<BTreeMap<Str, Sequence>>>,
    segment_bytes: u64,
}

impl EmbeddedLog {
    /// Opens or creates the log in `dir`. Blocks.
    pub fn open(
        dir: &Path,
        config: Config,
        files: impl FileLayer + Clone,
    ) -> Result<(Arc<Self>, RecoveryReport), LogError> {
        Self::open_with(dir, config, SEGMENT_BYTES, files)
    }

    pub(super) fn open_with(
        dir: &Path,
        config: Config,
        segment_bytes: u64,
        files: impl FileLayer + Clone,
    ) -> Result<(Arc<Self>, RecoveryReport), LogError> {
        let index = Arc::new(Index::default());
        let defaults = Options::new("log");
        let options = Options {
            segment_bytes,
            max_total_bytes: config.max_bytes.bytes() + HEADROOM_SEGMENTS * segment_bytes,
            max_group_bytes: defaults.max_group_bytes.min(segment_bytes as usize / 2),
            ..defaults
        };
        let shared_files: Arc<dyn FileLayer> = Arc::new(files.clone());
        let (log, report) = SegmentLog::open_with(dir, options, files, Indexer(index.clone()))?;
        let groups = Groups::open(dir.into(), shared_files)?;
        Ok((
            Arc::new(Self {
                log,
                config,
                index,
                groups,
                holds: Arc::default(),
                segment_bytes,
            }),
            report,
        ))
    }

    /// Brings `checkpoints` up to what the log holds and keeps it there, under the name of `sink`; then begins to apply
    /// retention. Returns how many checkpoints the index did not have. Called once, before anything is appended.
    pub async fn recover(
        self: &Arc<Self>,
        sink: &Str,
        checkpoints: &Checkpoints,
    ) -> Result<usize, LogError> {
        let caught_up = catch_up(&self.log, sink, checkpoints).await?;
        if self
            .index
            .target
            .set((sink.clone(), checkpoints.clone()))
            .is_ok()
        {
            tokio::spawn(retention::run(Arc::downgrade(self)));
        }
        Ok(caught_up)
    }

    /// Brings `checkpoints` up to what the log holds, once, for somebody who looks at a gateway that does not run. Returns how many
    /// checkpoints the index did not have.
    ///
    /// # Errors
    /// [`LogError`] if the log or the index cannot be read.
    pub async fn catch_up(&self, sink: &Str, checkpoints: &Checkpoints) -> Result<usize, LogError> {
        catch_up(&self.log, sink, checkpoints).await
    }

    /// Adds events and the checkpoint after them, as one. `None`: too much waits for the disk; try again when
    /// [`room`](Self::room) resolves.
    pub fn try_append(&self, batch: &Encoded) -> Result<Option<Ticket>, SegmentError> {
        self.log.try_append(&batch.0)
    }

    /// The largest event that it takes, by its weight: as text it is at most a third larger, and must fit into a segment together
    /// with the rest of its batch.
    #[must_use]
    pub fn max_event_bytes(&self) -> usize {
        self.segment_bytes as usize / 2
    }

    /// Resolves when there may be room again. Cancel safe.
    pub fn room(&self) -> impl Future<Output = ()> + '_ {
        self.log.room()
    }

    /// Reads from `start` on.
    #[must_use]
    pub fn reader(self: &Arc<Self>, start: Start) -> LogReader {
        LogReader::new(self.clone(), start)
    }

    /// Keeps everything after `read` until the hold moves on or is dropped. One at a time per name.
    #[must_use]
    pub fn hold(&self, name: &Str, read: Sequence) -> Hold {
        self.holds.lock().insert(name.clone(), read);
        Hold {
            name: name.clone(),
            holds: self.holds.clone(),
        }
    }

    /// The first position that must stay, whatever retention says.
    pub(super) fn keep_from(&self) -> Result<Sequence, LogError> {
        let held = self
            .holds
            .lock()
            .values()
            .min()
            .map_or(u64::MAX, |read| read + 1);
        let Some((sink, checkpoints)) = self.index.target.get() else {
            return Ok(0);
        };
        // Asked in this order, so that a checkpoint that is written meanwhile shows as not indexed.
        let durable = self.log.durable();
        let newest = self.index.newest_checkpoint.load(Ordering::Acquire);
        let mark = read_mark(sink, checkpoints)?;
        if mark < newest {
            return Ok(held.min(mark + 1));
        }
        if mark + 1 < durable {
            // Nothing waits for the index: the next start need not look at what has none.
            checkpoints.commit_blocking(mark_only(sink, durable - 1));
        }
        Ok(held)
    }

    /// The figures now.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.log.stats()
    }

    /// Whether appends can succeed; the error that they get otherwise.
    pub fn health(&self) -> Result<(), SegmentError> {
        self.log.health()
    }

    /// Commits what is pending and refuses everything from now on; readers end. Blocks.
    pub fn close(&self) {
        self.log.close();
    }
}

/// A batch in the form in which it is stored.
#[derive(Debug, Clone)]
pub struct Encoded(Vec<Bytes>);

impl Encoded {
    /// Encodes events of a lane and its checkpoint after them.
    pub fn new(
        lane: &LaneId,
        records: &[Record],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self, LogError> {
        // One piece of memory for all of them.
        let weight = |record: &Record| 256 + record.envelope.weight();
        let mut buffer = BytesMut::with_capacity(records.iter().map(weight).sum());
        let mut encoded = Vec::with_capacity(records.len() + 1);
        for record in records {
            encode_event(lane, record, &mut buffer)?;
            encoded.push(buffer.split().freeze());
        }
        if let Some(checkpoint) = checkpoint.filter(|checkpoint| !checkpoint.is_empty()) {
            encode_checkpoint(lane, checkpoint, &mut buffer);
            encoded.push(buffer.split().freeze());
        }
        Ok(Self(encoded))
    }
}

/// Keeps a part of the log from being deleted.
pub struct Hold {
    name: Str,
    holds: Arc<Mutex<BTreeMap<Str, Sequence>>>,
}

impl Hold {
    /// Everything up to `read` may go.
    pub fn advance(&self, read: Sequence) {
        self.holds.lock().insert(self.name.clone(), read);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.lock().remove(&self.name);
    }
}
