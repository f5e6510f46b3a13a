//! How a record names its lane: version (1 byte), kind (1 byte, the writer's own), length of the lane id (2 bytes), the lane
//! id, the payload.

use bytes::Bytes;

use crate::segment::{self, Encode, Sequence};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4;

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the payload is; the journal only carries it.
    pub kind: u8,
    /// The bytes.
    pub payload: Bytes,
}

/// What a lane reads back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the journal, and the lane's cursor once it is done with.
    pub sequence: Sequence,
    /// When it became durable, milliseconds since 1970.
    pub committed_ms: u64,
    /// As it was appended.
    pub kind: u8,
    /// As it was appended.
    pub payload: Bytes,
}

impl Entry {
    /// What it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }
}

/// A record with its lane, on its way into a frame.
pub(super) struct Addressed<'a> {
    pub(super) lane: &'a str,
    pub(super) record: &'a Record,
}

impl Encode for Addressed<'_> {
    fn max_len(&self) -> usize {
        HEADER_BYTES + self.lane.len() + self.record.payload.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.lane.len()).unwrap_or(u16::MAX);
        let [low, high] = length.to_le_bytes();
        out.extend_from_slice(&[VERSION, self.record.kind, low, high]);
        out.extend_from_slice(&self.lane.as_bytes()[..usize::from(length)]);
        out.extend_from_slice(&self.record.payload);
    }
}

/// A record's parts, where they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) lane: &'a str,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

/// Takes a record apart. `None`: written by something else.
pub(super) fn parse(data: &[u8]) -> Option<Parts<'_>> {
    let (&[version, kind, low, high], rest) = data.split_first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (lane, payload) = rest.split_at_checked(length)?;
    let lane = std::str::from_utf8(lane).ok()?;
    (version == VERSION).then_some(Parts {
        lane,
        kind,
        payload,
    })
}

/// The record as its lane reads it back: its bytes keep what they lay in.
pub(super) fn entry(record: &segment::Record, parts: Parts<'_>) -> Entry {
    Entry {
        sequence: record.sequence,
        committed_ms: record.committed_ms,
        kind: parts.kind,
        payload: record.data.slice_ref(parts.payload),
    }
}
