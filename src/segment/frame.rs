//! One commit group on disk and in memory.
//!
//! Little endian, 8-byte aligned:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | tag of the segment's present use |
//! | 4 | CRC32C of everything after this field |
//! | 4 | length of the body |
//! | 8 | sequence of the first record |
//! | 4 | count of records |
//! | 4 | flags, 0 |
//! | 8 | commit time, milliseconds since 1970 |
//! | … | body: per record its length (4 bytes) and its bytes |
//! | … | zeros up to a multiple of 8 |

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::Sequence;

pub(super) const FRAME_HEADER_BYTES: usize = 40;
pub(super) const RECORD_HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 8;
const CRC_FROM: usize = 12;

/// Something that a log can hold as one record.
pub trait Encode {
    /// An upper bound of what [`encode`](Self::encode) writes, in bytes.
    fn max_len(&self) -> usize;
    /// Appends the record's bytes to `out`. Runs under the log's lock: copy, do not compute.
    fn encode(&self, out: &mut Vec<u8>);
}

impl Encode for Bytes {
    fn max_len(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Encode for Vec<u8> {
    fn max_len(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// One record as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub sequence: Sequence,
    /// When its group was committed, milliseconds since 1970.
    pub committed_ms: u64,
    /// Its bytes: a slice of its frame.
    pub data: Bytes,
}

/// A group of records that became durable together.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Sequence of the first record.
    pub first: Sequence,
    /// How many records it has.
    pub count: u32,
    /// When it was committed, milliseconds since 1970.
    pub committed_ms: u64,
    body: Bytes,
}

impl Frame {
    /// The sequence after the last record's.
    #[must_use]
    pub fn end(&self) -> Sequence {
        self.first + u64::from(self.count)
    }

    /// The records in order. Their bytes share the frame's memory.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {
            next: self.first,
            left: self.count,
            committed_ms: self.committed_ms,
            rest: self.body.clone(),
        }
    }

    /// The records in order with their sequences, where they lie in the frame.
    pub fn slices(&self) -> impl Iterator<Item = (Sequence, &[u8])> {
        let mut rest = &self.body[..];
        (self.first..self.end()).map_while(move |sequence| {
            let (record, after) = split_record(rest)?;
            rest = after;
            Some((sequence, record))
        })
    }

    /// A part of one of the frame's records, which shares the frame's memory and keeps all of it.
    ///
    /// # Panics
    /// If `part` is not from [`slices`](Self::slices) of this frame.
    #[must_use]
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.body.slice_ref(part)
    }

    /// What the frame takes in memory. A record that is kept keeps all of it.
    #[must_use]
    pub fn weight(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }
}

/// The records of a frame that were not taken yet.
#[derive(Debug, Clone)]
pub struct Records {
    next: Sequence,
    left: u32,
    committed_ms: u64,
    rest: Bytes,
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.left = self.left.checked_sub(1)?;
        let (record, _) = split_record(&self.rest)?;
        let mut data = self.rest.split_to(RECORD_HEADER_BYTES + record.len());
        data.advance(RECORD_HEADER_BYTES);
        let sequence = self.next;
        self.next += 1;
        Some(Record {
            sequence,
            committed_ms: self.committed_ms,
            data,
        })
    }
}

/// The first record of a body, and what follows it.
fn split_record(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_at_checked(RECORD_HEADER_BYTES)?;
    rest.split_at_checked(read_u32(length) as usize)
}

/// A frame in the making: records are appended, then the committer seals it.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    buffer: Vec<u8>,
    count: u32,
}

impl FrameBuilder {
    /// One in `buffer`'s memory, grown to `bytes`.
    pub(super) fn new(mut buffer: Vec<u8>, bytes: usize) -> Self {
        buffer.clear();
        buffer.reserve(bytes.max(FRAME_HEADER_BYTES));
        buffer.resize(FRAME_HEADER_BYTES, 0);
        Self { buffer, count: 0 }
    }

    pub(super) fn push(&mut self, record: &impl Encode) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        record.encode(&mut self.buffer);
        let length = (self.buffer.len() - start - RECORD_HEADER_BYTES) as u32;
        self.buffer[start..start + RECORD_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What was counted for it so far: nothing for an empty one.
    pub(super) fn grown_len(&self) -> usize {
        if self.count == 0 {
            0
        } else {
            self.sealed_len()
        }
    }

    /// What the frame takes on disk as it is.
    pub(super) fn sealed_len(&self) -> usize {
        self.buffer.len().next_multiple_of(ALIGNMENT)
    }

    /// Fills in header and checksum. Returns the frame and all of its bytes.
    pub(super) fn seal(self, tag: u64, first: Sequence, committed_ms: u64) -> (Frame, Bytes) {
        let Self { mut buffer, count } = self;
        let body_end = buffer.len();
        buffer.resize(body_end.next_multiple_of(ALIGNMENT), 0);
        buffer[0..8].copy_from_slice(&tag.to_le_bytes());
        buffer[12..16].copy_from_slice(&((body_end - FRAME_HEADER_BYTES) as u32).to_le_bytes());
        buffer[16..24].copy_from_slice(&first.to_le_bytes());
        buffer[24..28].copy_from_slice(&count.to_le_bytes());
        buffer[32..40].copy_from_slice(&committed_ms.to_le_bytes());
        let crc = crc32c::crc32c(&buffer[CRC_FROM..body_end]);
        buffer[8..12].copy_from_slice(&crc.to_le_bytes());
        let bytes = Bytes::from(buffer);
        let frame = Frame {
            first,
            count,
            committed_ms,
            body: bytes.slice(FRAME_HEADER_BYTES..body_end),
        };
        (frame, bytes)
    }
}

/// What lies at a place where a frame should begin.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A frame, and the length it takes.
    Frame(Frame, usize),
    /// Perhaps a frame: this many bytes are needed to tell.
    Needs(usize),
    /// No frame of this use of the segment.
    Bad,
}

/// Reads the frame at the start of `bytes`, of which at most `limit` could belong to it.
pub(super) fn decode(bytes: &Bytes, tag: u64, limit: u64) -> Decoded {
    if limit < FRAME_HEADER_BYTES as u64 {
        return Decoded::Bad;
    }
    if bytes.len() < FRAME_HEADER_BYTES {
        return Decoded::Needs(FRAME_HEADER_BYTES);
    }
    if bytes[0..8] != tag.to_le_bytes() {
        return Decoded::Bad;
    }
    let body_end = FRAME_HEADER_BYTES + read_u32(&bytes[12..16]) as usize;
    if body_end as u64 > limit {
        return Decoded::Bad;
    }
    if bytes.len() < body_end {
        return Decoded::Needs(body_end);
    }
    if crc32c::crc32c(&bytes[CRC_FROM..body_end]) != read_u32(&bytes[8..12]) {
        return Decoded::Bad;
    }
    let frame = Frame {
        first: read_u64(&bytes[16..24]),
        count: read_u32(&bytes[24..28]),
        committed_ms: read_u64(&bytes[32..40]),
        body: bytes.slice(FRAME_HEADER_BYTES..body_end),
    };
    Decoded::Frame(frame, body_end.next_multiple_of(ALIGNMENT))
}

/// Where in `bytes` a frame with this tag might begin, from `from` on; aligned as frames are.
pub(super) fn find_tag(bytes: &[u8], tag: u64, from: usize) -> Option<usize> {
    let from = from.next_multiple_of(ALIGNMENT);
    let finder = memchr::memmem::Finder::new(&tag.to_le_bytes()).into_owned();
    let mut start = from;
    while let Some(found) = finder.find(bytes.get(start..)?) {
        let at = start + found;
        if at.is_multiple_of(ALIGNMENT) {
            return Some(at);
        }
        start = at + 1;
    }
    None
}

pub(super) fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

pub(super) fn read_u64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ])
}

/// The range of sequences that `count` records from `first` take.
pub(super) fn range(first: Sequence, index: u32, count: u32) -> Range<Sequence> {
    let first = first + u64::from(index);
    first..first + u64::from(count)
}
