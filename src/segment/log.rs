//! The log as its owner sees it.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::committer::{Committer, Durable, Pending, Shared, State, create_segment};
use super::files::FileLayer;
use super::frame::{Encode, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES};
use super::group::Ticket;
use super::options::{Observer, Options};
use super::quarantine::Corruption;
use super::reader::Reader;
use super::recovery::{RecoveryReport, recover};
use super::tail::Tail;
use super::{SegmentError, Sequence};

/// How long a full disk shows after it refused something.
const NO_SPACE_LASTS: Duration = Duration::from_secs(10);

/// An open log. Dropping it commits what is pending and stops the committer.
pub struct SegmentLog {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What is kept in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The sequence it begins with.
    pub first: Sequence,
    /// What it takes on disk.
    pub bytes: u64,
    /// When it was begun, milliseconds since 1970.
    pub created_ms: u64,
}

/// The figures of a log at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStats {
    /// What the segments take on disk.
    pub bytes: u64,
    /// What they may take.
    pub max_bytes: u64,
    /// How many there are.
    pub segments: usize,
    /// The oldest sequence that is kept.
    pub first: Sequence,
    /// The sequence after the last durable record.
    pub next: Sequence,
    /// Damaged stretches found since the log was opened.
    pub corruptions: usize,
}

impl SegmentLog {
    /// Opens or creates the log in `dir` and starts its committer.
    ///
    /// Reads the last segment only. Blocks: call it from a blocking context. The caller makes sure that no other process
    /// uses `dir`.
    pub fn open(
        dir: &Path,
        options: Options,
        files: impl FileLayer,
    ) -> Result<(Self, RecoveryReport), SegmentError> {
        Self::open_with(dir, options, files, ())
    }

    /// Like [`open`](Self::open), with somebody who is told about every commit.
    pub fn open_with(
        dir: &Path,
        options: Options,
        files: impl FileLayer,
        observer: impl Observer,
    ) -> Result<(Self, RecoveryReport), SegmentError> {
        let files: Arc<dyn FileLayer> = Arc::new(files);
        let recovered = recover(dir, &options, &*files)?;
        let name = options.name;
        let shared = Arc::new(Shared {
            dir: dir.into(),
            files,
            pending: Mutex::new(Pending::new()),
            work: Condvar::new(),
            space: Notify::new(),
            durable: watch::Sender::new(Durable {
                next: recovered.next,
                ended: false,
            }),
            tail: RwLock::new(Tail::new(options.tail_bytes)),
            catalog: RwLock::new(recovered.catalog),
            corruptions: Mutex::new(recovered.report.corruptions.clone()),
            options,
        });
        let place = match recovered.place {
            Some(place) => place,
            None => create_segment(&shared, recovered.next)?,
        };
        let active_left = place.segment.bytes.saturating_sub(place.offset);
        let left = shared.count_segments_left();
        shared
            .pending
            .lock()
            .plan(active_left, left, shared.options.capacity());
        for corruption in &recovered.report.corruptions {
            tracing::error!(
                log = name,
                ?corruption,
                "damaged stretch: copied aside and skipped"
            );
        }
        let committer = Committer::new(shared.clone(), observer, place);
        let committer = std::thread::Builder::new()
            .name(format!("{name}-committer"))
            .spawn(move || committer.run())
            .map_err(SegmentError::io("starting the committer for", dir))?;
        Ok((
            Self {
                shared,
                committer: Mutex::new(Some(committer)),
            },
            recovered.report,
        ))
    }

    /// Adds records to a pending group without waiting. `None`: too much is pending, try again when
    /// [`room`](Self::room) resolves.
    ///
    /// All records get consecutive sequences and become durable together. The order of successful calls is the order of
    /// sequences.
    pub fn try_append<R: Encode>(&self, records: &[R]) -> Result<Option<Ticket>, SegmentError> {
        let options = &self.shared.options;
        let bytes: usize = records
            .iter()
            .map(|record| RECORD_HEADER_BYTES + record.max_len())
            .sum();
        let alone = (FRAME_HEADER_BYTES + bytes).next_multiple_of(8) as u64;
        if alone > options.capacity() || records.len() > u32::MAX as usize / 2 {
            return Err(SegmentError::TooLarge {
                log: options.name,
                bytes: alone,
                max_bytes: options.capacity(),
            });
        }
        let mut pending = self.shared.pending.lock();
        pending.check(options)?;
        if records.is_empty() {
            return Ok(Some(Ticket::resolved(self.durable())));
        }
        if pending.bytes > 0 && pending.bytes + bytes > options.max_pending_bytes {
            return Ok(None);
        }
        let Some(gathering) = pending.group_for(bytes, options) else {
            return Err(SegmentError::Full {
                log: options.name,
                cap_bytes: options.max_total_bytes(),
            });
        };
        let before = gathering.frame.grown_len();
        let index = gathering.frame.count();
        for record in records {
            gathering.frame.push(record);
        }
        let ticket = Ticket::new(gathering.group.clone(), index, records.len() as u32);
        let after = gathering.frame.sealed_len();
        gathering.appends += 1;
        pending.bytes += after - before;
        pending.appends += 1;
        // A full group goes without the rest of the crowd.
        let wake = pending.appends == pending.wake_at || pending.groups.len() > 1;
        drop(pending);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(Some(ticket))
    }

    /// Appends records and waits until they are durable; while too much is pending, for room first.
    ///
    /// Dropping the future before room was found stores nothing; afterwards the records stay.
    pub async fn append<R: Encode>(&self, records: &[R]) -> Result<Range<Sequence>, SegmentError> {
        loop {
            let room = self.room();
            if let Some(ticket) = self.try_append(records)? {
                return ticket.await;
            }
            room.await;
        }
    }

    /// Resolves when the committer has taken a group or released a segment, counted from this call. Cancel safe.
    pub fn room(&self) -> impl Future<Output = ()> + '_ {
        let mut notified = Box::pin(self.shared.space.notified());
        notified.as_mut().enable();
        notified
    }

    /// A reader that begins at `from`, or at the oldest record if that is newer.
    #[must_use]
    pub fn reader(&self, from: Sequence) -> Reader {
        Reader::new(self.shared.clone(), from)
    }

    /// The sequence after the last durable record.
    #[must_use]
    pub fn durable(&self) -> Sequence {
        self.shared.durable.borrow().next
    }

    /// Lets everything up to and including `up_to` go. Whole segments are recycled; the one being written stays.
    pub fn release(&self, up_to: Sequence) {
        let mut pending = self.shared.pending.lock();
        if up_to > pending.released {
            pending.released = up_to;
            if self
                .oldest_ends_before()
                .is_some_and(|next| next <= up_to.saturating_add(1))
            {
                pending.must_recycle = true;
                drop(pending);
                self.shared.work.notify_one();
            }
        }
    }

    /// The sequence with which the second segment begins: as soon as everything before it is released, the oldest can go.
    #[must_use]
    pub fn oldest_ends_before(&self) -> Option<Sequence> {
        self.shared
            .catalog
            .read()
            .segments
            .get(1)
            .map(|segment| segment.first)
    }

    /// When the segment that holds `sequence` was begun, milliseconds since 1970. May read its header.
    pub fn begun_ms(&self, sequence: Sequence) -> Result<Option<u64>, SegmentError> {
        let located = self.shared.catalog.read().locate(sequence);
        located
            .map(|(segment, _)| segment.created_ms(&*self.shared.files))
            .transpose()
    }

    /// Completes the present segment if it holds anything, so that retention by age can reach it.
    pub fn roll(&self) {
        let mut pending = self.shared.pending.lock();
        if pending.segments_left > 0 {
            pending.must_roll = true;
            drop(pending);
            self.shared.work.notify_one();
        }
    }

    /// Never gives out a sequence below `next`. For owners whose own records remember more than the log does, because the
    /// log's end was lost.
    pub fn skip_to(&self, next: Sequence) {
        let mut pending = self.shared.pending.lock();
        pending.skip_to = pending.skip_to.max(next);
    }

    /// The segments, oldest first. Reads headers that were not read before; blocks.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, SegmentError> {
        let segments: Vec<_> = self
            .shared
            .catalog
            .read()
            .segments
            .iter()
            .cloned()
            .collect();
        segments
            .iter()
            .map(|segment| {
                let created_ms = segment.created_ms(&*self.shared.files)?;
                Ok(SegmentInfo {
                    first: segment.first,
                    bytes: segment.bytes,
                    created_ms,
                })
            })
            .collect()
    }

    /// The figures now.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let catalog = self.shared.catalog.read();
        LogStats {
            bytes: catalog.bytes(),
            max_bytes: self.shared.options.max_total_bytes(),
            segments: catalog.segments.len(),
            first: catalog.first(),
            next: self.durable(),
            corruptions: self.shared.corruptions.lock().len(),
        }
    }

    /// The damaged stretches found since the log was opened.
    #[must_use]
    pub fn corruptions(&self) -> Vec<Corruption> {
        self.shared.corruptions.lock().clone()
    }

    /// Whether appends can succeed; the error that they get otherwise. A full log fails only when not even an empty
    /// segment is left; a full disk for some seconds after it refused something, so that somebody tries again.
    pub fn health(&self) -> Result<(), SegmentError> {
        let pending = self.shared.pending.lock();
        pending.check(&self.shared.options)?;
        if let Some((when, error)) = &pending.no_space
            && when.elapsed() < NO_SPACE_LASTS
        {
            return Err(error.clone());
        }
        if pending.segments_left == 0 && pending.open_left < (FRAME_HEADER_BYTES as u64) * 2 {
            return Err(SegmentError::Full {
                log: self.shared.options.name,
                cap_bytes: self.shared.options.max_total_bytes(),
            });
        }
        Ok(())
    }

    /// Whether nothing will be added any more, because the log was closed or has failed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.durable.borrow().ended
    }

    /// Commits what is pending and refuses everything from now on; reading goes on. Blocks until the committer has stopped.
    pub fn close(&self) {
        {
            let mut pending = self.shared.pending.lock();
            if matches!(pending.state, State::Running) {
                pending.state = State::Closing;
            }
        }
        self.shared.work.notify_one();
        if let Some(committer) = self.committer.lock().take() {
            // A panic of the committer was reported when it happened.
            let _ = committer.join();
        }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pending {
    fn check(&self, options: &Options) -> Result<(), SegmentError> {
        match &self.state {
            State::Running => Ok(()),
            State::Closing | State::Closed => Err(SegmentError::Closed { log: options.name }),
            State::Failed(error) => Err(error.clone()),
        }
    }
}
