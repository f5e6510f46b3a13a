//! A batch as bytes, for journal and dead letters.
//!
//! Version (1), then the numbers of entries, events and rejected records as little-endian `u32`, then each of them. Strings and
//! values carry their length as `u32`; a removed entry has the length `u32::MAX`. Envelopes are in the SDK's wire codec.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Batch, DeadLetter, Entry};
use crate::{
    Str, Timestamp,
    envelope::wire::{self, WireError},
};

const VERSION: u8 = 1;
const ABSENT: u32 = u32::MAX;

/// Writes a batch, except its position: whoever stores it has one of its own.
///
/// # Errors
/// [`RecordError::Envelope`] if an envelope is too large for the codec.
pub fn encode(batch: &Batch) -> Result<Bytes, RecordError> {
    let mut out = BytesMut::with_capacity(256 + batch.weight() / 2);
    let others = [batch.events.len(), batch.rejected.len()];
    put_entries(&batch.entries, others, &mut out);
    for event in &batch.events {
        wire::encode(event, &mut out)?;
    }
    for letter in &batch.rejected {
        wire::encode(&letter.envelope, &mut out)?;
        for text in [&letter.step, &letter.reason, &letter.message] {
            put(&mut out, text.as_bytes());
        }
        match &letter.place {
            Some(place) => put(&mut out, place.as_bytes()),
            None => out.put_u32_le(ABSENT),
        }
        out.put_u32_le(letter.attempts);
        out.put_i64_le(letter.failed_at.as_millisecond());
    }
    Ok(out.freeze())
}

/// Appends a batch that has nothing but entries.
pub fn encode_entries(entries: &[Entry], out: &mut BytesMut) {
    let bytes: usize = entries.iter().map(|entry| entry.weight() + 8).sum();
    out.reserve(16 + bytes);
    put_entries(entries, [0, 0], out);
}

fn put_entries(entries: &[Entry], [events, rejected]: [usize; 2], out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u32_le(count(entries.len()));
    out.put_u32_le(count(events));
    out.put_u32_le(count(rejected));
    for Entry { key, value } in entries {
        put(out, key.as_bytes());
        match value {
            Some(value) => put(out, value),
            None => out.put_u32_le(ABSENT),
        }
    }
}

/// Reads the events and rejected records of a batch back and adds them to `batch`.
///
/// # Errors
/// [`RecordError`] if the bytes are no record of a known version.
pub fn decode_events_into(mut input: Bytes, batch: &mut Batch) -> Result<(), RecordError> {
    let [entries, events, rejected] = counts(&mut input)?;
    for _ in 0..entries {
        value(&mut input)?;
        value(&mut input)?;
    }
    for _ in 0..events {
        batch.events.push(wire::decode(&mut input)?);
    }
    for _ in 0..rejected {
        let envelope = Box::new(wire::decode(&mut input)?);
        let mut next = || text(&mut input)?.ok_or(RecordError::Damaged);
        let (step, reason, message) = (next()?, next()?, next()?);
        let place = text(&mut input)?;
        let attempts = input.try_get_u32_le()?;
        let failed_at = Timestamp::from_millisecond(input.try_get_i64_le()?)
            .map_err(|_| RecordError::Damaged)?;
        batch.rejected.push(DeadLetter {
            envelope,
            step,
            reason,
            message,
            place,
            attempts,
            failed_at,
        });
    }
    Ok(())
}

/// Reads the entries of a batch back.
///
/// # Errors
/// [`RecordError`] if the bytes are no record of a known version.
pub fn decode_entries(mut input: Bytes) -> Result<Vec<Entry>, RecordError> {
    let [entries, ..] = counts(&mut input)?;
    let mut read = Vec::new();
    for _ in 0..entries {
        let key = text(&mut input)?.ok_or(RecordError::Damaged)?;
        read.push(Entry {
            key,
            value: value(&mut input)?,
        });
    }
    Ok(read)
}

fn counts(input: &mut Bytes) -> Result<[u32; 3], RecordError> {
    let version = input.try_get_u8()?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    Ok([
        input.try_get_u32_le()?,
        input.try_get_u32_le()?,
        input.try_get_u32_le()?,
    ])
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a batch that fits in memory has fewer than 4 billion parts")
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(count(bytes.len()));
    out.put_slice(bytes);
}

fn value(input: &mut Bytes) -> Result<Option<Bytes>, RecordError> {
    match input.try_get_u32_le()? {
        ABSENT => Ok(None),
        length if length as usize <= input.len() => Ok(Some(input.split_to(length as usize))),
        _ => Err(RecordError::Damaged),
    }
}

fn text(input: &mut Bytes) -> Result<Option<Str>, RecordError> {
    let Some(bytes) = value(input)? else {
        return Ok(None);
    };
    Ok(Some(Str::new(
        std::str::from_utf8(&bytes).map_err(|_| RecordError::Damaged)?,
    )))
}

/// Bytes that are no batch, or a batch that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer version.
    #[error(
        "a stored batch has version {0}, newer than this gateway's: run the version that wrote it"
    )]
    Version(u8),
    /// Its parts do not fit together, although its checksum is right.
    #[error("a stored batch is damaged")]
    Damaged,
    /// One of its envelopes.
    #[error(transparent)]
    Envelope(#[from] WireError),
}

impl From<bytes::TryGetError> for RecordError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Damaged
    }
}

#[cfg(test)]
mod tests {
    use crate::{Data, Envelope};

    use super::*;

    fn batch() -> Batch {
        let event = Envelope::new(
            "1",
            "urn:s",
            "a.v1",
            Timestamp::UNIX_EPOCH,
            Data::json("{}"),
        );
        let mut letter = DeadLetter::new(event.clone(), "source", "malformed", "line 3 is no JSON");
        letter.place = Some("a.csv:3".into());
        letter.failed_at = Timestamp::from_millisecond(17).unwrap();
        Batch {
            events: vec![event.clone(), event],
            rejected: vec![letter],
            position: None,
            entries: vec![Entry::put("dedup/1", "x"), Entry::remove("dedup/0")],
            ..Batch::default()
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let mut read = Batch {
            entries: decode_entries(encode(&batch()).unwrap()).unwrap(),
            ..Batch::default()
        };
        decode_events_into(encode(&batch()).unwrap(), &mut read).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", batch()));
    }

    #[test]
    fn entries_alone_are_a_batch_too() {
        let entries = batch().entries;
        let mut out = BytesMut::new();
        encode_entries(&entries, &mut out);
        let alone = Batch {
            entries: entries.clone(),
            ..Batch::default()
        };
        assert_eq!(out, encode(&alone).unwrap());
        assert_eq!(decode_entries(out.freeze()).unwrap(), entries);
    }

    #[test]
    fn a_truncated_record_is_an_error() {
        let whole = encode(&batch()).unwrap();
        for end in 0..whole.len() {
            assert!(
                decode_events_into(whole.slice(..end), &mut Batch::default()).is_err(),
                "cut at {end}"
            );
        }
    }
}
