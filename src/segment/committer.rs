//! The thread that makes groups durable, one after the other, and recycles released segments.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::catalog::{Catalog, Segment, segment_name, spare_name};
use super::files::{FileLayer, LogFile};
use super::frame::{FRAME_HEADER_BYTES, FrameBuilder};
use super::group::Group;
use super::header::{HEADER_BYTES, Header};
use super::options::{Observer, Options};
use super::quarantine::Corruption;
use super::recovery::Place;
use super::tail::Tail;
use super::{SegmentError, Sequence};

/// What appenders, readers and the committer share.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) files: Arc<dyn FileLayer>,
    pub(super) pending: Mutex<Pending>,
    pub(super) work: Condvar,
    /// A group was taken, or something was released: appenders that found no room may try again.
    pub(super) space: Notify,
    pub(super) durable: watch::Sender<Durable>,
    pub(super) tail: RwLock<Tail>,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) corruptions: Mutex<Vec<Corruption>>,
}

/// How far the log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Durable {
    /// Everything before this is durable.
    pub(super) next: Sequence,
    /// Nothing will be added any more.
    pub(super) ended: bool,
}

/// What waits for the committer.
pub(super) struct Pending {
    /// Groups in order; appenders add to the last one.
    pub(super) groups: VecDeque<Gathering>,
    /// What all groups hold.
    pub(super) bytes: usize,
    /// How many appends wait in all groups.
    pub(super) appends: usize,
    /// The committer is woken when so many wait.
    pub(super) wake_at: usize,
    /// What is left for the last group in the segment that it will be written to.
    pub(super) open_left: u64,
    /// How many segments the cap allows beyond those that exist or are planned for.
    pub(super) segments_left: u64,
    /// The size of the last frame, a good guess for the next.
    pub(super) usual_bytes: usize,
    /// The memory of a group that nobody needs any more.
    pub(super) spare: Vec<u8>,
    /// The next group begins at least here.
    pub(super) skip_to: Sequence,
    /// Records up to here may go.
    pub(super) released: Sequence,
    pub(super) must_recycle: bool,
    pub(super) must_roll: bool,
    /// When the disk last had no room, and the error; `None` once something was written again.
    pub(super) no_space: Option<(Instant, SegmentError)>,
    pub(super) state: State,
}

/// A group that still grows.
pub(super) struct Gathering {
    pub(super) frame: FrameBuilder,
    pub(super) group: Arc<Group>,
    pub(super) appends: usize,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
            appends: 0,
            wake_at: 1,
            open_left: 0,
            segments_left: 0,
            usual_bytes: 0,
            spare: Vec::new(),
            skip_to: 0,
            released: 0,
            must_recycle: false,
            must_roll: false,
            no_space: None,
            state: State::Running,
        }
    }

    /// The group to which `bytes` more can be added, a new one if the last would grow beyond `options` allow.
    /// `None`: the cap leaves no room.
    pub(super) fn group_for(&mut self, bytes: usize, options: &Options) -> Option<&mut Gathering> {
        let last = self.groups.back().map(|last| last.frame.sealed_len());
        let joined = last.filter(|last| last + bytes <= options.max_group_bytes);
        // What rounding up to the alignment can add.
        let size = (joined.unwrap_or(FRAME_HEADER_BYTES) + bytes + 8) as u64;
        let open_left = match (joined, last) {
            (None, Some(last)) => self.open_left.saturating_sub(last as u64),
            _ => self.open_left,
        };
        if size <= open_left {
            self.open_left = open_left;
        } else {
            self.segments_left = self.segments_left.checked_sub(1)?;
            self.open_left = options.capacity();
        }
        if joined.is_none() {
            let frame = FrameBuilder::new(std::mem::take(&mut self.spare), self.usual_bytes);
            self.groups.push_back(Gathering {
                frame,
                group: Arc::default(),
                appends: 0,
            });
        }
        self.groups.back_mut()
    }

    fn take_group(&mut self) -> Option<Gathering> {
        let taken = self.groups.pop_front()?;
        let bytes = taken.frame.sealed_len();
        if self.groups.is_empty() {
            self.open_left = self.open_left.saturating_sub(bytes as u64);
        }
        self.bytes -= bytes;
        self.appends -= taken.appends;
        self.usual_bytes = bytes;
        Some(taken)
    }

    /// Counts room anew, given what is left in the segment being written and how many more there may be.
    pub(super) fn plan(&mut self, active_left: u64, segments_left: u64, capacity: u64) {
        self.open_left = active_left;
        self.segments_left = segments_left;
        let mut before = 0;
        for gathering in &self.groups {
            self.open_left = self.open_left.saturating_sub(before);
            before = gathering.frame.sealed_len() as u64;
            if before > self.open_left {
                self.segments_left = self.segments_left.saturating_sub(1);
                self.open_left = capacity;
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Running,
    Closing,
    Closed,
    Failed(SegmentError),
}

impl Shared {
    /// Fails closed: everything pending and everything to come gets `error`.
    fn fail(&self, error: &SegmentError) {
        let groups = {
            let mut pending = self.pending.lock();
            pending.state = State::Failed(error.clone());
            std::mem::take(&mut pending.groups)
        };
        tracing::error!(log = self.options.name, error = %error, cause = ?error, "log failed closed");
        for gathering in groups {
            gathering.group.complete(Err(error.clone()));
        }
        self.end();
    }

    fn end(&self) {
        self.durable.send_modify(|durable| durable.ended = true);
        self.space.notify_waiters();
    }

    /// How many segments the cap allows beyond those that are there.
    pub(super) fn count_segments_left(&self) -> u64 {
        let used = self.catalog.read().bytes();
        self.options.max_total_bytes().saturating_sub(used) / self.options.segment_bytes
    }
}

/// The committer's own state.
pub(super) struct Committer<O> {
    shared: Arc<Shared>,
    observer: O,
    place: Place,
    /// How many appends came together lately: those of a group and those that waited when it was durable.
    crowd: usize,
}

/// Where a crowd appends, a group waits so long for the rest of it: one sync then serves more of them.
const LINGER: Duration = Duration::from_millis(1);
/// So many appends are a crowd.
const CROWD: usize = 4;

enum Work {
    Commit {
        frame: FrameBuilder,
        group: Arc<Group>,
        appends: usize,
        skip_to: Sequence,
    },
    Recycle {
        up_to: Sequence,
    },
    Roll,
    Stop,
}

impl<O: Observer> Committer<O> {
    pub(super) fn new(shared: Arc<Shared>, observer: O, place: Place) -> Self {
        Self {
            shared,
            observer,
            place,
            crowd: 0,
        }
    }

    /// Runs until the log is closed or has failed.
    pub(super) fn run(mut self) {
        let guard = PanicGuard(self.shared.clone());
        loop {
            let outcome = match self.wait() {
                Work::Commit {
                    frame,
                    group,
                    appends,
                    skip_to,
                } => {
                    let outcome = self.commit(frame, &group, skip_to);
                    let came_together = appends + self.shared.pending.lock().appends;
                    self.crowd = came_together.max(self.crowd * 3 / 4);
                    outcome
                }
                Work::Recycle { up_to } => self.recycle(up_to),
                Work::Roll => self.roll().inspect(|()| self.plan()),
                Work::Stop => break,
            };
            match outcome {
                Ok(()) => {}
                Err(error @ SegmentError::NoSpace { .. }) => {
                    tracing::warn!(log = self.shared.options.name, %error, "records refused");
                    // What was counted off for them was not used.
                    self.plan();
                }
                Err(error) => {
                    self.shared.fail(&error);
                    self.observer.ended();
                    return;
                }
            }
        }
        self.shared.pending.lock().state = State::Closed;
        self.shared.end();
        self.observer.ended();
        drop(guard);
    }

    fn wait(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut pending = shared.pending.lock();
        let mut expected = match self.crowd {
            CROWD.. => self.crowd * 7 / 8,
            _ => 1,
        };
        let until = (expected > 1).then(|| Instant::now() + LINGER);
        loop {
            if std::mem::take(&mut pending.must_recycle) {
                return Work::Recycle {
                    up_to: pending.released,
                };
            }
            let closing = matches!(pending.state, State::Closing);
            let gathered = pending.appends >= expected || pending.groups.len() > 1 || closing;
            if gathered && let Some(taken) = pending.take_group() {
                let skip_to = pending.skip_to;
                drop(pending);
                shared.space.notify_waiters();
                let Gathering {
                    frame,
                    group,
                    appends,
                } = taken;
                return Work::Commit {
                    frame,
                    group,
                    appends,
                    skip_to,
                };
            }
            if std::mem::take(&mut pending.must_roll) && self.place.offset > HEADER_BYTES {
                return Work::Roll;
            }
            if closing {
                return Work::Stop;
            }
            pending.wake_at = expected;
            match until {
                Some(until) if expected > 1 => {
                    if shared.work.wait_until(&mut pending, until).timed_out() {
                        expected = 1;
                    }
                }
                _ => shared.work.wait(&mut pending),
            }
        }
    }

    fn commit(
        &mut self,
        frame: FrameBuilder,
        group: &Group,
        skip_to: Sequence,
    ) -> Result<(), SegmentError> {
        let outcome = self.write(frame, skip_to);
        self.shared.pending.lock().no_space = match &outcome {
            Err(error @ SegmentError::NoSpace { .. }) => Some((Instant::now(), error.clone())),
            _ => None,
        };
        group.complete(outcome.clone());
        outcome.map(|_| ())
    }

    /// Writes one frame and syncs it. Returns its first sequence.
    fn write(&mut self, frame: FrameBuilder, skip_to: Sequence) -> Result<Sequence, SegmentError> {
        let bytes = frame.sealed_len() as u64;
        self.place.next = self.place.next.max(skip_to);
        if self.place.offset + bytes > self.place.segment.bytes {
            self.roll()?;
        }
        let (frame, encoded) = frame.seal(self.place.tag, self.place.next, now_ms());
        let place = &mut self.place;
        place
            .file
            .write_all_at(&encoded, place.offset)
            .map_err(|error| failed(&self.shared, "writing", &place.segment.path, error))?;
        place
            .file
            .sync_data()
            .map_err(|error| failed_closed(&self.shared, "syncing", &place.segment.path, error))?;
        crate::failpoint::reach("segment-synced");
        place.offset += bytes;
        place.next = frame.end();
        place.segment.set_end(place.offset);

        let first = frame.first;
        self.observer.committed(&frame);
        self.shared.tail.write().push(frame);
        self.shared
            .durable
            .send_modify(|durable| durable.next = place.next);
        self.reuse(encoded);
        Ok(first)
    }

    /// Keeps a group's memory for another one, unless a reader has it.
    fn reuse(&self, mut encoded: Bytes) {
        if encoded.is_unique() && encoded.len() <= self.shared.options.max_group_bytes {
            encoded.clear();
            self.shared.pending.lock().spare = Vec::from(encoded);
        }
    }

    /// Begins a new segment.
    fn roll(&mut self) -> Result<(), SegmentError> {
        self.place = create_segment(&self.shared, self.place.next)?;
        if let Some(released) = self.observer.sealed(self.place.next) {
            let mut pending = self.shared.pending.lock();
            pending.released = pending.released.max(released);
            pending.must_recycle = true;
        }
        Ok(())
    }

    fn plan(&self) {
        let left = self.shared.count_segments_left();
        let active_left = self.place.segment.bytes.saturating_sub(self.place.offset);
        self.shared
            .pending
            .lock()
            .plan(active_left, left, self.shared.options.capacity());
    }

    /// Gives released segments back: to the spares while those are wanted, else to the file system.
    fn recycle(&mut self, up_to: Sequence) -> Result<(), SegmentError> {
        let released = self.shared.catalog.write().take_released(up_to);
        if released.is_empty() {
            return Ok(());
        }
        let files = &self.shared.files;
        for segment in released {
            let spares = self.shared.catalog.read().spares.len();
            // Somebody who still reads it must not see it change.
            let unread = Arc::strong_count(&segment) == 1;
            let reusable = unread
                && segment.bytes == self.shared.options.segment_bytes
                && spares < self.shared.options.spare_segments;
            let path = &segment.path;
            if reusable {
                let spare = self.shared.dir.join(spare_name(segment.first));
                files
                    .rename(path, &spare)
                    .map_err(|error| failed_closed(&self.shared, "recycling", path, error))?;
                self.shared.catalog.write().spares.push(spare);
            } else {
                files
                    .remove(path)
                    .map_err(|error| failed_closed(&self.shared, "removing", path, error))?;
            }
        }
        files
            .sync_dir(&self.shared.dir)
            .map_err(|error| failed_closed(&self.shared, "syncing", &self.shared.dir, error))?;
        self.plan();
        self.shared.space.notify_waiters();
        Ok(())
    }
}

/// Makes a new segment the last one of the catalog. Its name appears only once its header is durable.
pub(super) fn create_segment(shared: &Shared, first: Sequence) -> Result<Place, SegmentError> {
    let tag = fresh_tag();
    let spare = shared.catalog.write().spares.pop();
    let path = shared.dir.join(segment_name(first));
    let (file, spare) = match spare {
        Some(spare) => (
            shared
                .files
                .open(&spare)
                .map_err(|error| failed_closed(shared, "opening", &spare, error))?,
            spare,
        ),
        None => {
            let fresh = shared.dir.join(spare_name(tag));
            let file = shared
                .files
                .create(&fresh)
                .map_err(|error| failed(shared, "creating", &fresh, error))?;
            if let Err(error) = file.allocate(shared.options.segment_bytes) {
                // Best effort: an orphan is removed when the log is opened.
                let _ = shared.files.remove(&fresh);
                return Err(failed(shared, "allocating", &fresh, error));
            }
            (file, fresh)
        }
    };
    let created_ms = now_ms();
    write_header(
        &*file,
        Header {
            tag,
            first,
            created_ms,
        },
    )
    .map_err(|error| failed_closed(shared, "preparing", &spare, error))?;
    shared
        .files
        .rename(&spare, &path)
        .map_err(|error| failed_closed(shared, "naming", &path, error))?;
    shared
        .files
        .sync_dir(&shared.dir)
        .map_err(|error| failed_closed(shared, "syncing", &shared.dir, error))?;

    let segment = Arc::new(Segment::new(first, path, shared.options.segment_bytes));
    segment.set_end(HEADER_BYTES);
    segment.set_created(created_ms);
    shared.catalog.write().segments.push_back(segment.clone());
    Ok(Place {
        file,
        segment,
        tag,
        offset: HEADER_BYTES,
        next: first,
    })
}

fn write_header(file: &dyn LogFile, header: Header) -> io::Result<()> {
    file.write_all_at(&header.encode(), 0)?;
    file.sync_data()
}

/// A failure before anything was written that counts: a full disk can be mended while the log goes on.
fn failed(
    shared: &Shared,
    action: &'static str,
    path: &std::path::Path,
    error: io::Error,
) -> SegmentError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SegmentError::NoSpace {
            log: shared.options.name,
            path: shared.dir.clone(),
            source: Arc::new(error),
        },
        _ => failed_closed(shared, action, path, error),
    }
}

fn failed_closed(
    shared: &Shared,
    action: &'static str,
    path: &std::path::Path,
    error: io::Error,
) -> SegmentError {
    SegmentError::Failed {
        log: shared.options.name,
        action,
        path: path.into(),
        source: Arc::new(error),
    }
}

/// Unpredictable for whoever sends payloads: the keys of the standard library's hasher come from the system.
fn fresh_tag() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now_ms()).max(1)
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Answers everyone who waits if an observer panics.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = io::Error::other("the committer panicked");
            self.0
                .fail(&failed_closed(&self.0, "committing to", &self.0.dir, cause));
        }
    }
}
