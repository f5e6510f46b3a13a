//! Reading a log in order: from memory where possible, else from the segments.

use std::sync::Arc;

use tokio::sync::watch;

use super::catalog::Segment;
use super::committer::{Durable, Shared};
use super::frame::{Frame, Record, Records};
use super::header::HEADER_BYTES;
use super::quarantine::{Corruption, copy_aside};
use super::scan::{Scanner, Step};
use super::{SegmentError, Sequence};

const MAX_REPORTED_CORRUPTIONS: usize = 1000;

/// A cursor over the durable records of a log. Damaged and released stretches are skipped; a gap in the sequences shows them.
pub struct Reader {
    shared: Arc<Shared>,
    durable: watch::Receiver<Durable>,
    next: Sequence,
    current: Option<Records>,
    disk: Option<DiskPlace>,
}

/// Where reading from the segments goes on.
struct DiskPlace {
    segment: Arc<Segment>,
    scanner: Scanner,
    /// The sequence that should come at the scanner's place.
    expected: Sequence,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Sequence) -> Self {
        let durable = shared.durable.subscribe();
        Self {
            shared,
            durable,
            // Sequences begin at one.
            next: from.max(1),
            current: None,
            disk: None,
        }
    }

    /// The sequence that is read next, unless it is gone.
    #[must_use]
    pub fn position(&self) -> Sequence {
        self.next
    }

    /// Goes on at `to`. Going forward is cheap.
    pub fn seek(&mut self, to: Sequence) {
        let to = to.max(1);
        if to < self.next {
            self.current = None;
            self.disk = None;
        }
        self.next = to;
    }

    /// Everything before this is durable now.
    #[must_use]
    pub fn durable(&self) -> Sequence {
        self.durable.borrow().next
    }

    /// Whether everything durable was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.next >= self.durable()
    }

    /// Up to about `max_bytes` of records, at least one if there is one. Empty at the end. May block on the disk.
    pub fn read(&mut self, max_bytes: usize) -> Result<Vec<Record>, SegmentError> {
        let mut records = Vec::new();
        let mut left = max_bytes;
        while self.drain_current(&mut records, &mut left) {
            match self.cached()? {
                Some(frame) => self.current = Some(frame.records()),
                None => match self.on_disk()? {
                    Some(frame) => self.current = Some(frame.records()),
                    None => break,
                },
            }
        }
        Ok(records)
    }

    /// Like [`read`](Self::read), but from memory only: empty also if the disk would have to be asked.
    pub fn read_cached(&mut self, max_bytes: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut left = max_bytes;
        while self.drain_current(&mut records, &mut left) {
            match self.cached() {
                Ok(Some(frame)) => self.current = Some(frame.records()),
                _ => break,
            }
        }
        records
    }

    /// Waits for records and returns up to about `max_bytes` of them.
    ///
    /// Empty only when the log has ended: it was closed or has failed, and everything durable was read. Cancel safe: the
    /// position moves only when records are returned.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Vec<Record>, SegmentError> {
        loop {
            let records = self.read_now(max_bytes).await?;
            if !records.is_empty() || !self.wait().await {
                return Ok(records);
            }
        }
    }

    /// Waits until there is something to read. `false`: the log has ended and everything was read. Cancel safe.
    pub async fn wait(&mut self) -> bool {
        let next = self.next;
        let more = self
            .durable
            .wait_for(|durable| durable.next > next || durable.ended)
            .await;
        more.is_ok_and(|durable| durable.next > next)
    }

    /// Like [`read`](Self::read), for async callers: the disk is asked on the blocking pool. Cancel safe.
    pub async fn read_now(&mut self, max_bytes: usize) -> Result<Vec<Record>, SegmentError> {
        let records = self.read_cached(max_bytes);
        if !records.is_empty() || self.is_at_end() {
            return Ok(records);
        }
        let mut other = Self {
            shared: self.shared.clone(),
            durable: self.durable.clone(),
            next: self.next,
            current: None,
            disk: self.disk.take(),
        };
        let read = tokio::task::spawn_blocking(move || (other.read(max_bytes), other)).await;
        // The runtime is shutting down.
        let Ok((records, other)) = read else {
            return Err(SegmentError::Closed {
                log: self.shared.options.name,
            });
        };
        let records = records?;
        self.next = other.next;
        self.current = other.current;
        self.disk = other.disk;
        Ok(records)
    }

    /// Moves records out of the present frame. `false`: enough were taken.
    fn drain_current(&mut self, records: &mut Vec<Record>, left: &mut usize) -> bool {
        if let Some(current) = &mut self.current {
            while *left > 0 {
                let Some(record) = current.next() else {
                    self.current = None;
                    return true;
                };
                if record.sequence >= self.next {
                    self.next = record.sequence + 1;
                    *left = left.saturating_sub(record.data.len().max(1));
                    records.push(record);
                }
            }
        }
        *left > 0
    }

    /// The next frame, if it is in memory.
    fn cached(&self) -> Result<Option<Frame>, SegmentError> {
        if self.is_at_end() {
            return Ok(None);
        }
        Ok(self.shared.tail.read().find(self.next).cloned())
    }

    /// The next frame from the segments. `None`: the end.
    fn on_disk(&mut self) -> Result<Option<Frame>, SegmentError> {
        while !self.is_at_end() {
            // Asked before anything is read: all of it must be found.
            let durable = self.durable();
            let mut place = match self.disk.take() {
                Some(place)
                    if self
                        .after(&place.segment)
                        .is_none_or(|next| next > self.next) =>
                {
                    place
                }
                _ => match self.locate()? {
                    Some(place) => place,
                    None => continue,
                },
            };
            match self.advance(&mut place)? {
                Advance::Frame(frame) => {
                    self.disk = Some(place);
                    if frame.end() > self.next {
                        self.next = self.next.max(frame.first);
                        return Ok(Some(frame));
                    }
                }
                // Where the next segment begins is asked anew: this one may have been released meanwhile.
                Advance::SegmentDone { next } => self.next = self.next.max(next),
                Advance::Nothing => {
                    let missing = self.next..durable;
                    tracing::error!(
                        log = self.shared.options.name,
                        ?missing,
                        "records are not where they should be"
                    );
                    self.next = durable;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Opens the segment that holds the next record. `None`: it cannot be had, and the position moved past it.
    fn locate(&mut self) -> Result<Option<DiskPlace>, SegmentError> {
        let Some((segment, next)) = self.shared.catalog.read().locate(self.next) else {
            return Ok(None);
        };
        let file = match self.shared.files.open(&segment.path) {
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && self.was_released(&segment) =>
            {
                return Ok(None);
            }
            opened => opened.map_err(SegmentError::io("opening", &segment.path))?,
        };
        match (segment.header(&*file)?, next) {
            (Some(header), _) => {
                let scanner = Scanner::new(file, header.tag, HEADER_BYTES);
                let expected = segment.first;
                Ok(Some(DiskPlace {
                    segment,
                    scanner,
                    expected,
                }))
            }
            (None, Some(next)) => {
                self.report(&segment, &*file, 0..segment.bytes, segment.first..next);
                self.next = self.next.max(next);
                Ok(None)
            }
            (None, None) => {
                let damaged = std::io::Error::other("header and first frame are damaged");
                Err(SegmentError::io("reading", &segment.path)(damaged))
            }
        }
    }

    fn was_released(&self, segment: &Segment) -> bool {
        !self
            .shared
            .catalog
            .read()
            .segments
            .iter()
            .any(|other| other.first == segment.first)
    }

    /// One step within a segment.
    fn advance(&self, place: &mut DiskPlace) -> Result<Advance, SegmentError> {
        let segment = place.segment.clone();
        let failed = || SegmentError::io("reading", segment.path.clone());
        // Asked before the end: once there is a successor, the end stands.
        let successor = self.after(&segment);
        let limit = segment.end().unwrap_or(segment.bytes);
        let at = place.scanner.offset();
        match place.scanner.next(limit).map_err(failed())? {
            Step::Frame(frame) => {
                place.expected = frame.end();
                Ok(Advance::Frame(frame))
            }
            Step::End => Ok(match successor {
                Some(next) => Advance::SegmentDone { next },
                None => Advance::Nothing,
            }),
            Step::Bad => {
                let valid = place.scanner.find_next(limit).map_err(failed())?;
                match (valid, successor) {
                    (None, Some(next)) if segment.end().is_none() && place.expected == next => {
                        segment.set_end(at);
                        Ok(Advance::SegmentDone { next })
                    }
                    (Some(valid), _) => {
                        place.scanner.move_to(valid);
                        let Step::Frame(frame) = place.scanner.next(limit).map_err(failed())?
                        else {
                            return Ok(Advance::Nothing);
                        };
                        self.report(
                            &segment,
                            place.scanner.file(),
                            at..valid,
                            place.expected..frame.first,
                        );
                        place.expected = frame.end();
                        Ok(Advance::Frame(frame))
                    }
                    (None, successor) => {
                        let next = successor.unwrap_or(self.durable());
                        self.report(
                            &segment,
                            place.scanner.file(),
                            at..limit,
                            place.expected..next,
                        );
                        Ok(Advance::SegmentDone { next })
                    }
                }
            }
        }
    }

    /// Where the segment after this one begins.
    fn after(&self, segment: &Segment) -> Option<Sequence> {
        let catalog = self.shared.catalog.read();
        let index = catalog
            .segments
            .partition_point(|other| other.first <= segment.first);
        catalog.segments.get(index).map(|next| next.first)
    }

    fn report(
        &self,
        segment: &Segment,
        file: &dyn super::files::LogFile,
        stretch: std::ops::Range<u64>,
        missing: std::ops::Range<Sequence>,
    ) {
        let known =
            |found: &Corruption| found.segment == segment.path && found.offset == stretch.start;
        if self.shared.corruptions.lock().iter().any(known) {
            return;
        }
        let kept_at = copy_aside(&*self.shared.files, &segment.path, file, stretch.clone()).ok();
        let corruption = Corruption {
            segment: segment.path.clone(),
            offset: stretch.start,
            bytes: stretch.end - stretch.start,
            missing,
            kept_at,
        };
        tracing::error!(
            log = self.shared.options.name,
            ?corruption,
            "damaged stretch: copied aside and skipped"
        );
        let mut corruptions = self.shared.corruptions.lock();
        if corruptions.len() < MAX_REPORTED_CORRUPTIONS && !corruptions.iter().any(known) {
            corruptions.push(corruption);
        }
    }
}

enum Advance {
    Frame(Frame),
    SegmentDone { next: Sequence },
    Nothing,
}
