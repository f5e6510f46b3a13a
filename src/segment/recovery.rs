//! Opening a directory of segments: the last one is scanned, the others are taken by their names.

use std::path::Path;
use std::sync::Arc;

use super::catalog::{Catalog, Name, Segment, parse_name};
use super::files::{FileLayer, LogFile};
use super::frame::{FRAME_HEADER_BYTES, Frame};
use super::header::HEADER_BYTES;
use super::options::Options;
use super::quarantine::{Corruption, copy_aside};
use super::scan::{Scanner, Step};
use super::{SegmentError, Sequence};

/// What opening a log found.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// How many segments there are.
    pub segments: usize,
    /// The oldest sequence that is kept.
    pub first: Sequence,
    /// The sequence that the next record gets.
    pub next: Sequence,
    /// How much was read of the last segment.
    pub scanned_bytes: u64,
    /// The size of an incomplete group at the end, which was dropped: nobody had been told that it was stored.
    pub torn_bytes: u64,
    /// What was damaged in the last segment. Older segments are checked when they are read.
    pub corruptions: Vec<Corruption>,
}

/// Where writing goes on.
pub(super) struct Place {
    pub(super) file: Arc<dyn LogFile>,
    pub(super) segment: Arc<Segment>,
    pub(super) tag: u64,
    pub(super) offset: u64,
    pub(super) next: Sequence,
}

/// A directory as found.
pub(super) struct Recovered {
    pub(super) catalog: Catalog,
    /// `None`: there is no segment to go on with.
    pub(super) place: Option<Place>,
    /// The sequence that the next record gets.
    pub(super) next: Sequence,
    pub(super) report: RecoveryReport,
}

pub(super) fn recover(
    dir: &Path,
    options: &Options,
    files: &dyn FileLayer,
) -> Result<Recovered, SegmentError> {
    files
        .create_dir(dir)
        .map_err(SegmentError::io("creating", dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files
            .sync_dir(parent)
            .map_err(SegmentError::io("syncing", parent))?;
    }
    let mut catalog = list(dir, options, files)?;
    let mut report = RecoveryReport::default();
    let mut next = 1;
    let mut place = None;
    if let Some(last) = catalog.segments.back().cloned() {
        match scan_last(&last, files, &mut report)? {
            Some(found) => {
                next = found.next;
                place = Some(found);
            }
            None => {
                // Neither header nor first frame: every record takes at least a few bytes, so this skips all of its sequences.
                next = last.first.saturating_add(last.bytes);
                set_aside(&last, next, files, &mut report)?;
                catalog.segments.pop_back();
            }
        }
    }
    report.segments = catalog.segments.len();
    report.first = if catalog.segments.is_empty() {
        next
    } else {
        catalog.first()
    };
    report.next = next;
    Ok(Recovered {
        catalog,
        place,
        next,
        report,
    })
}

fn list(dir: &Path, options: &Options, files: &dyn FileLayer) -> Result<Catalog, SegmentError> {
    let mut catalog = Catalog::default();
    for name in files.list(dir).map_err(SegmentError::io("listing", dir))? {
        let path = dir.join(&name);
        let length = || -> Result<u64, SegmentError> {
            let file = files
                .open(&path)
                .map_err(SegmentError::io("opening", &path))?;
            file.length().map_err(SegmentError::io("reading", &path))
        };
        match parse_name(&name) {
            Name::Segment(first) => {
                let bytes = length()?;
                catalog
                    .segments
                    .push_back(Arc::new(Segment::new(first, path, bytes)));
            }
            Name::Spare
                if length()? == options.segment_bytes
                    && catalog.spares.len() < options.spare_segments =>
            {
                catalog.spares.push(path);
            }
            Name::Spare => files
                .remove(&path)
                .map_err(SegmentError::io("removing", &path))?,
            Name::Foreign => {}
        }
    }
    catalog
        .segments
        .make_contiguous()
        .sort_by_key(|segment| segment.first);
    Ok(catalog)
}

fn scan_last(
    segment: &Arc<Segment>,
    files: &dyn FileLayer,
    report: &mut RecoveryReport,
) -> Result<Option<Place>, SegmentError> {
    let path = &segment.path;
    let failed = |action| SegmentError::io(action, path.clone());
    let file = files.open(path).map_err(failed("opening"))?;
    let Some(header) = segment.header(&*file)? else {
        return Ok(None);
    };
    segment.set_created(header.created_ms);

    let mut scanner = Scanner::new(file.clone(), header.tag, HEADER_BYTES);
    let mut next = segment.first;
    let mut last_frame: Option<(u64, Frame)> = None;
    loop {
        let at = scanner.offset();
        match scanner.next(segment.bytes).map_err(failed("reading"))? {
            Step::Frame(frame) => {
                next = frame.end();
                last_frame = Some((at, frame));
            }
            Step::End => break,
            Step::Bad => {
                let Some(valid) = scanner
                    .find_next(segment.bytes)
                    .map_err(failed("reading"))?
                else {
                    break;
                };
                let kept_at = copy_aside(files, path, &*file, at..valid).ok();
                scanner.move_to(valid);
                let Step::Frame(frame) = scanner.next(segment.bytes).map_err(failed("reading"))?
                else {
                    break;
                };
                scanner.move_to(valid);
                report.corruptions.push(Corruption {
                    segment: path.clone(),
                    offset: at,
                    bytes: valid - at,
                    missing: next..frame.first,
                    kept_at,
                });
            }
        }
    }
    let end = scanner.offset();
    report.scanned_bytes = end;
    report.torn_bytes = torn_bytes(&*file, header.tag, end).map_err(failed("reading"))?;
    settle(&*file, end, segment.bytes, last_frame).map_err(failed("repairing"))?;
    segment.set_end(end);
    Ok(Some(Place {
        file,
        segment: segment.clone(),
        tag: header.tag,
        offset: end,
        next,
    }))
}

/// How long the incomplete frame at `end` claims to be; 0 if none was begun.
fn torn_bytes(file: &dyn LogFile, tag: u64, end: u64) -> std::io::Result<u64> {
    let mut start = [0; FRAME_HEADER_BYTES];
    let read = file.read_at(&mut start, end)?;
    if read < 16 || start[0..8] != tag.to_le_bytes() {
        return Ok(0);
    }
    Ok(FRAME_HEADER_BYTES as u64 + u64::from(super::frame::read_u32(&start[12..16])))
}

/// Makes what was found the durable truth before anyone reads it: the torn frame is blanked and the last frame is written
/// once more. It may exist in the page cache only, and after a failed sync the cache calls it clean.
fn settle(
    file: &dyn LogFile,
    end: u64,
    segment_bytes: u64,
    last: Option<(u64, Frame)>,
) -> std::io::Result<()> {
    if end + (FRAME_HEADER_BYTES as u64) <= segment_bytes {
        file.write_all_at(&[0; FRAME_HEADER_BYTES], end)?;
    }
    if let Some((at, _)) = last {
        let mut bytes = vec![0; (end - at) as usize];
        let read = file.read_at(&mut bytes, at)?;
        file.write_all_at(&bytes[..read], at)?;
    }
    file.sync_data()
}

/// Moves a segment that cannot be read at all into the quarantine.
fn set_aside(
    segment: &Segment,
    next: Sequence,
    files: &dyn FileLayer,
    report: &mut RecoveryReport,
) -> Result<(), SegmentError> {
    let path = &segment.path;
    let file = files
        .open(path)
        .map_err(SegmentError::io("opening", path))?;
    let kept_at = copy_aside(files, path, &*file, 0..segment.bytes)
        .map_err(SegmentError::io("copying to quarantine", path))?;
    files
        .remove(path)
        .map_err(SegmentError::io("removing", path))?;
    report.corruptions.push(Corruption {
        segment: path.clone(),
        offset: 0,
        bytes: segment.bytes,
        missing: segment.first..next,
        kept_at: Some(kept_at),
    });
    Ok(())
}
