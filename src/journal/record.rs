//! How a record names its lane: version (1 byte), kind (1 byte, the writer's own), length of the lane id (2 bytes), the lane
//! id, the payload.

use bytes::{Buf, Bytes};
use headgate_sdk::{LaneId, Str};

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

/// The lane of a record, and the record. `None`: written by something else.
pub(super) fn decode(record: segment::Record) -> Option<(Bytes, Entry)> {
    let segment::Record {
        sequence,
        committed_ms,
        mut data,
    } = record;
    let header = data.get(..HEADER_BYTES)?;
    if header[0] != VERSION {
        return None;
    }
    let kind = header[1];
    let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
    data.advance(HEADER_BYTES);
    if length > data.len() {
        return None;
    }
    let lane = data.split_to(length);
    Some((
        lane,
        Entry {
            sequence,
            committed_ms,
            kind,
            payload: data,
        },
    ))
}

/// The lane id that `decode` found.
pub(super) fn lane_id(lane: &Bytes) -> Option<LaneId> {
    Some(LaneId::from_stored(Str::new(
        std::str::from_utf8(lane).ok()?,
    )))
}
