//! The journal as the runtime sees it.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use headgate_sdk::LaneId;

use super::JournalError;
use super::index::Index;
use super::lanes::{Distributor, Lanes};
use super::reader::{JournalScan, LaneReader};
use super::record::{Addressed, Record, parse};
use crate::segment::{FileLayer, Options, RecoveryReport, SegmentError, SegmentLog, Sequence};

/// The bounds of a journal.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all segments may take; beyond it, appends are refused.
    pub max_bytes: u64,
    /// The size of a segment.
    pub segment_bytes: u64,
    /// How much of each lane waits in memory at most; the rest is read from disk.
    pub lane_queue_bytes: usize,
}

impl Default for Config {
    /// 10 GiB in segments of 64 MiB, 4 MiB in memory per lane.
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            segment_bytes: 64 << 20,
            lane_queue_bytes: 4 << 20,
        }
    }
}

/// An open journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) log: SegmentLog,
    pub(super) lanes: Arc<Lanes>,
    files: Arc<dyn FileLayer>,
    dir: std::path::PathBuf,
}

/// One lane of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneInfo {
    /// Its id.
    pub id: LaneId,
    /// Where its undone records begin, or a place before: what was released shortly before a crash may count as undone, so
    /// go by the lane's checkpoint. `None`: it has none.
    pub pending_from: Option<Sequence>,
    /// Its last durable record; 0 if that was before the start and all are done.
    pub last: Sequence,
    /// Whether somebody reads it now.
    pub is_read: bool,
}

/// The figures of the journal at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStats {
    /// What it takes on disk.
    pub bytes: u64,
    /// What it may take.
    pub max_bytes: u64,
    /// How many segments it has.
    pub segments: usize,
    /// The sequence after the last durable record.
    pub next: Sequence,
    /// When the segment of the oldest undone record was begun, milliseconds since 1970; `None`: nothing is undone.
    pub oldest_ms: Option<u64>,
    /// Damaged stretches found since the start.
    pub corruptions: usize,
}

impl Journal {
    /// Opens or creates the journal in `dir`. Blocks. Time does not depend on how much is kept.
    pub fn open(
        dir: &Path,
        config: Config,
        files: impl FileLayer + Clone,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let lanes = Arc::new(Lanes::default());
        let shared_files: Arc<dyn FileLayer> = Arc::new(files.clone());
        let distributor = Distributor {
            lanes: lanes.clone(),
            queue_bytes: config.lane_queue_bytes,
            dir: dir.into(),
            files: shared_files.clone(),
            recent: None,
        };
        let defaults = Options::new("journal");
        let options = Options {
            segment_bytes: config.segment_bytes,
            max_total_bytes: config.max_bytes,
            max_group_bytes: defaults
                .max_group_bytes
                .min(config.segment_bytes as usize / 2),
            // What lanes wait for is in their queues.
            tail_bytes: 0,
            ..defaults
        };
        let (log, report) = SegmentLog::open_with(dir, options, files, distributor)?;
        count_lanes(&log, &lanes, dir, &*shared_files)?;
        let shared = Shared {
            log,
            lanes,
            files: shared_files,
            dir: dir.into(),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            report,
        ))
    }

    /// Appends records to a lane; the future resolves to their sequences once they are durable.
    ///
    /// The order of calls is the order of sequences. Dropping the future does not take the records back. An error that is
    /// known at once, [`JournalError::Full`] above all, has stored nothing.
    pub fn append(
        &self,
        lane: &LaneId,
        records: &[Record],
    ) -> impl Future<Output = Result<Range<Sequence>, JournalError>> + Send + 'static {
        let addressed: Vec<_> = records
            .iter()
            .map(|record| Addressed {
                lane: lane.as_str(),
                record,
            })
            .collect();
        let ticket = match self.shared.log.try_append(&addressed) {
            Ok(Some(ticket)) => Ok(ticket),
            Ok(None) => Err(JournalError::Full("too much waits for the disk".into())),
            Err(error) => Err(error.into()),
        };
        async move { Ok(ticket?.await?) }
    }

    /// The reader of a lane, from `from` on. Everything before `from` counts as released.
    ///
    /// Call it once per lane and start; a second reader of a lane would take records away from the first.
    #[must_use]
    pub fn reader(&self, lane: &LaneId, from: Sequence) -> LaneReader {
        // Whoever remembers more than the journal does must not see sequences twice.
        self.shared.log.skip_to(from);
        let state = self.shared.lanes.attach(lane.as_str());
        let reader = LaneReader::new(self.shared.clone(), state, from);
        self.release(lane, from.saturating_sub(1));
        reader
    }

    /// Says that a lane is done with everything up to and including `up_to`.
    pub fn release(&self, lane: &LaneId, up_to: Sequence) {
        let Some(state) = self.shared.lanes.get(lane.as_str()) else {
            return;
        };
        let Some(held_from) = state.marks.lock().release(up_to) else {
            return;
        };
        let log = &self.shared.log;
        // Only a lane that held the oldest segment can have freed it.
        if log
            .oldest_ends_before()
            .is_some_and(|second| held_from < second)
        {
            let durable = log.durable();
            let keep_from = self
                .shared
                .lanes
                .hold_from()
                .map_or(durable, |held| held.min(durable));
            log.release(keep_from.saturating_sub(1));
        }
    }

    /// All lanes with records, and those that are read; also lanes of sources that no longer exist.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneInfo> {
        let mut lanes: Vec<_> = self
            .shared
            .lanes
            .all()
            .iter()
            .map(|lane| {
                let marks = lane.marks.lock();
                LaneInfo {
                    id: LaneId::from_stored(lane.id.clone()),
                    pending_from: marks.hold_from,
                    last: marks.last,
                    is_read: marks.readers > 0,
                }
            })
            .collect();
        lanes.sort_by(|a, b| a.id.cmp(&b.id));
        lanes
    }

    /// Reads the records of all lanes from `from` on, as far as they are durable now and still kept.
    #[must_use]
    pub fn scan(&self, from: Sequence) -> JournalScan {
        JournalScan::new(self.shared.log.reader(from))
    }

    /// The figures now. May read a header from disk.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let log = self.shared.log.stats();
        let held = self.shared.lanes.hold_from();
        JournalStats {
            bytes: log.bytes,
            max_bytes: log.max_bytes,
            segments: log.segments,
            next: log.next,
            oldest_ms: held.and_then(|held| self.shared.log.begun_ms(held).ok().flatten()),
            corruptions: log.corruptions,
        }
    }

    /// Whether appends can succeed; the error that they get otherwise.
    pub fn health(&self) -> Result<(), JournalError> {
        Ok(self.shared.log.health()?)
    }

    /// Commits what is pending, refuses everything from now on, lets readers end, and stores the index of lanes. Blocks.
    pub fn close(&self) {
        self.shared.log.close();
        let index = self.shared.lanes.index(self.shared.log.durable());
        if let Err(error) = index.store(&self.shared.dir, &*self.shared.files) {
            tracing::warn!(%error, "index of lanes not stored: the next start reads more of the journal");
        }
    }
}

/// Learns which lanes have records: from the index, then from what was appended since.
fn count_lanes(
    log: &SegmentLog,
    lanes: &Lanes,
    dir: &Path,
    files: &dyn FileLayer,
) -> Result<(), JournalError> {
    let index = Index::load(dir, files).map_err(|source| {
        JournalError::Failed(SegmentError::Io {
            action: "reading the index of",
            path: dir.into(),
            source: Arc::new(source),
        })
    })?;
    let index = index.unwrap_or_default();
    lanes.restore(&index);
    // Sequences begin at one; an index that was never written says zero.
    let mut reader = log.reader(index.as_of.max(1));
    loop {
        let records = reader.read(1 << 20)?;
        if records.is_empty() {
            return Ok(());
        }
        for record in &records {
            if let Some(parts) = parse(&record.data) {
                lanes.count(parts.lane, record.sequence);
            }
        }
    }
}
