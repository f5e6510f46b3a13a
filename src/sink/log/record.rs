//! The log's records: an event with its destination, or a lane's checkpoint.
//!
//! Version (1 byte), kind (1 byte), then for an event: lane, topic, key, headers (count, name, value), the envelope in the
//! SDK's wire codec; for a checkpoint: lane, position, the changed entries as the SDK writes them. Numbers are little-endian
//! `u32`, strings carry their length, `u32::MAX` says that one is absent.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headgate_sdk::envelope::wire;
use headgate_sdk::{Envelope, LaneId, Position, Str, Timestamp, batch};

use super::LogError;
use crate::segment::{self, Sequence};
use crate::sink::{Checkpoint, Record};

const VERSION: u8 = 1;
const EVENT: u8 = 1;
const CHECKPOINT: u8 = 2;
const ABSENT: u32 = u32::MAX;

/// An event of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its place in the log.
    pub position: Sequence,
    /// When it was delivered.
    pub delivered: Timestamp,
    /// The lane that it came on.
    pub lane: LaneId,
    /// The event with its destination.
    pub record: Record,
}

/// What a record is.
#[derive(Debug)]
pub(super) enum Content {
    Event(Box<Logged>),
    Checkpoint(LaneId, Checkpoint),
}

/// Appends an event to `out`.
pub(super) fn encode_event(
    lane: &LaneId,
    record: &Record,
    out: &mut BytesMut,
) -> Result<(), LogError> {
    out.reserve(64 + record.envelope.weight());
    out.put_slice(&[VERSION, EVENT]);
    put(out, lane.as_str());
    put(out, &record.topic);
    put_optional(out, record.key.as_deref());
    out.put_u32_le(record.headers.len() as u32);
    for (name, value) in &record.headers {
        put(out, name);
        put(out, value);
    }
    Ok(wire::encode(&record.envelope, out)?)
}

/// Appends a checkpoint to `out`.
pub(super) fn encode_checkpoint(lane: &LaneId, checkpoint: &Checkpoint, out: &mut BytesMut) {
    out.put_slice(&[VERSION, CHECKPOINT]);
    put(out, lane.as_str());
    put_optional(out, checkpoint.position.as_ref().map(Position::as_json));
    batch::wire::encode_entries(&checkpoint.entries, out);
}

/// Whether a record is a checkpoint; cheap.
pub(super) fn is_checkpoint(data: &[u8]) -> bool {
    data.get(..2) == Some(&[VERSION, CHECKPOINT])
}

/// Reads a record.
pub(super) fn decode(record: segment::Record) -> Result<Content, LogError> {
    let position = record.sequence;
    let delivered =
        Timestamp::from_millisecond(record.committed_ms.cast_signed()).unwrap_or_default();
    decode_content(position, delivered, record.data)
        .map_err(|reason| LogError::Record { position, reason })
}

fn decode_content(
    position: Sequence,
    delivered: Timestamp,
    mut data: Bytes,
) -> Result<Content, String> {
    let cut = |_| "it is cut short".to_owned();
    let version = data.try_get_u8().map_err(cut)?;
    if version != VERSION {
        return Err(format!(
            "it has version {version}; use the version that wrote it"
        ));
    }
    let kind = data.try_get_u8().map_err(cut)?;
    let lane = LaneId::from_stored(take(&mut data)?);
    match kind {
        EVENT => {
            let topic = take(&mut data)?;
            let key = take_optional(&mut data)?;
            let mut headers = Vec::new();
            for _ in 0..data.try_get_u32_le().map_err(cut)? {
                headers.push((take(&mut data)?, take(&mut data)?));
            }
            let envelope: Envelope = wire::decode(&mut data).map_err(|error| error.to_string())?;
            let record = Record {
                envelope,
                topic,
                key,
                headers,
            };
            Ok(Content::Event(Box::new(Logged {
                position,
                delivered,
                lane,
                record,
            })))
        }
        CHECKPOINT => {
            let stored = take_optional(&mut data)?
                .map(|text| Position::from_json(&text))
                .transpose();
            let position = stored.map_err(|error| error.to_string())?;
            let entries = batch::wire::decode_entries(data).map_err(|error| error.to_string())?;
            let checkpoint = Checkpoint {
                position,
                entries,
                ..Checkpoint::default()
            };
            Ok(Content::Checkpoint(lane, checkpoint))
        }
        unknown => Err(format!(
            "it is of the unknown kind {unknown}; use the version that wrote it"
        )),
    }
}

fn put(out: &mut BytesMut, text: &str) {
    out.put_u32_le(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn put_optional(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put(out, text),
        None => out.put_u32_le(ABSENT),
    }
}

fn take(data: &mut Bytes) -> Result<Str, String> {
    take_optional(data)?.ok_or_else(|| "a string is missing".to_owned())
}

fn take_optional(data: &mut Bytes) -> Result<Option<Str>, String> {
    let length = data
        .try_get_u32_le()
        .map_err(|_| "it is cut short".to_owned())?;
    if length == ABSENT {
        return Ok(None);
    }
    let text = data.get(..length as usize).ok_or("it is cut short")?;
    let text = Str::new(std::str::from_utf8(text).map_err(|_| "a string is not UTF-8")?);
    data.advance(length as usize);
    Ok(Some(text))
}
