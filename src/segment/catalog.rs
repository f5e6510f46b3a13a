//! The segments of a log, oldest first, and the spares.
//!
//! `{first sequence, 20 digits}.seg` is a segment. `spare-{tag}.seg` is a file without content that counts: released, or
//! not yet in use. A spare gets its new header, is synced, and only then gets its name; so a name never lies.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::{FileLayer, LogFile};
use super::frame::{Decoded, decode, read_u64};
use super::header::{HEADER_BYTES, Header, HeaderError};
use super::{SegmentError, Sequence};

const UNKNOWN: u64 = u64::MAX;

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Sequence,
    pub(super) path: PathBuf,
    /// What it takes on disk.
    pub(super) bytes: u64,
    end: AtomicU64,
    created_ms: AtomicU64,
}

impl Segment {
    pub(super) fn new(first: Sequence, path: PathBuf, bytes: u64) -> Self {
        Self {
            first,
            path,
            bytes,
            end: AtomicU64::new(UNKNOWN),
            created_ms: AtomicU64::new(UNKNOWN),
        }
    }

    /// Where the durable frames end, if this process knows.
    pub(super) fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Acquire)).filter(|end| *end != UNKNOWN)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(super) fn set_created(&self, created_ms: u64) {
        self.created_ms.store(created_ms, Ordering::Relaxed);
    }

    /// When it was begun; reads the header the first time.
    pub(super) fn created_ms(&self, files: &dyn FileLayer) -> Result<u64, SegmentError> {
        let known = self.created_ms.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return Ok(known);
        }
        let file = files
            .open(&self.path)
            .map_err(SegmentError::io("opening", &self.path))?;
        let created = self.header(&*file)?.map_or(0, |header| header.created_ms);
        self.set_created(created);
        Ok(created)
    }

    /// The header; if it is damaged, one rebuilt from the first frame, which repeats the tag; `None` without either.
    pub(super) fn header(&self, file: &dyn LogFile) -> Result<Option<Header>, SegmentError> {
        let mut block = vec![0; HEADER_BYTES as usize];
        let read = file
            .read_at(&mut block, 0)
            .map_err(SegmentError::io("reading", &self.path))?;
        match Header::decode(&block[..read]) {
            Ok(header) if header.first == self.first => return Ok(Some(header)),
            // A header of another use: whatever follows is not this segment's.
            Ok(_) => return Ok(None),
            Err(HeaderError::Bad) => {}
            Err(HeaderError::Unsupported(what)) => {
                return Err(SegmentError::Unsupported {
                    path: self.path.clone(),
                    what,
                });
            }
        }
        self.header_from_first_frame(file)
            .map_err(SegmentError::io("reading", &self.path))
    }

    fn header_from_first_frame(&self, file: &dyn LogFile) -> std::io::Result<Option<Header>> {
        let mut buffer = vec![0; 8];
        loop {
            let wanted = buffer.len();
            let read = file.read_at(&mut buffer, HEADER_BYTES)?;
            if read < 8 {
                return Ok(None);
            }
            buffer.truncate(read);
            let tag = read_u64(&buffer);
            match decode(
                &buffer.clone().into(),
                tag,
                self.bytes.saturating_sub(HEADER_BYTES),
            ) {
                Decoded::Frame(frame, _) => {
                    return Ok(Some(Header {
                        tag,
                        first: self.first,
                        created_ms: frame.committed_ms,
                    }));
                }
                Decoded::Needs(more) if read == wanted => buffer.resize(more, 0),
                Decoded::Needs(_) | Decoded::Bad => return Ok(None),
            }
        }
    }
}

/// All segments; the last one is being written.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) spares: Vec<PathBuf>,
}

impl Catalog {
    /// What the segments take on disk, spares not counted.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The first sequence that is still there.
    pub(super) fn first(&self) -> Sequence {
        self.segments.front().map_or(1, |segment| segment.first)
    }

    /// The segment that holds `sequence` (or the oldest one), and where the one after it begins.
    pub(super) fn locate(&self, sequence: Sequence) -> Option<(Arc<Segment>, Option<Sequence>)> {
        let after = self
            .segments
            .partition_point(|segment| segment.first <= sequence);
        let index = after.saturating_sub(1);
        let segment = self.segments.get(index)?;
        Some((
            segment.clone(),
            self.segments.get(index + 1).map(|next| next.first),
        ))
    }

    /// Takes out the segments whose records are all at or before `up_to`; never the one being written.
    pub(super) fn take_released(&mut self, up_to: Sequence) -> Vec<Arc<Segment>> {
        let mut released = Vec::new();
        while self
            .segments
            .get(1)
            .is_some_and(|next| next.first <= up_to.saturating_add(1))
        {
            released.extend(self.segments.pop_front());
        }
        released
    }
}

pub(super) fn segment_name(first: Sequence) -> String {
    format!("{first:020}.seg")
}

pub(super) fn spare_name(tag: u64) -> String {
    format!("spare-{tag:016x}.seg")
}

/// What a file name in the directory means.
pub(super) enum Name {
    Segment(Sequence),
    Spare,
    Foreign,
}

pub(super) fn parse_name(name: &str) -> Name {
    let Some(stem) = Path::new(name).file_stem().and_then(|stem| stem.to_str()) else {
        return Name::Foreign;
    };
    if !name.ends_with(".seg") {
        Name::Foreign
    } else if stem.starts_with("spare-") {
        Name::Spare
    } else if stem.len() == 20 {
        stem.parse().map_or(Name::Foreign, Name::Segment)
    } else {
        Name::Foreign
    }
}
