//! The records of the store: a letter, or what became of some.
//!
//! Version (1 byte), kind (1 byte); a letter is a batch in the SDK's codec with one rejected record; a resolution is its kind
//! (1 byte), the count of letters and their positions (little-endian `u32` and `u64`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headgate_sdk::batch::wire::{self, RecordError};
use headgate_sdk::{Batch, DeadLetter};

use crate::segment::Sequence;

const VERSION: u8 = 1;
const LETTER: u8 = 1;
const RESOLVED: u8 = 2;

/// How a letter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was accepted for another try.
    Retried,
    /// Somebody decided against it.
    Discarded,
}

/// What a record is.
#[derive(Debug)]
pub(super) enum Content {
    Letter(Box<DeadLetter>),
    /// However they ended.
    Resolved(Vec<Sequence>),
}

pub(super) fn encode_letter(letter: DeadLetter) -> Result<Bytes, RecordError> {
    let batch = wire::encode(&Batch {
        rejected: vec![letter],
        ..Batch::default()
    })?;
    let mut out = BytesMut::with_capacity(batch.len() + 2);
    out.put_slice(&[VERSION, LETTER]);
    out.put_slice(&batch);
    Ok(out.freeze())
}

pub(super) fn encode_resolved(resolution: Resolution, positions: &[Sequence]) -> Bytes {
    let mut out = BytesMut::with_capacity(7 + positions.len() * 8);
    let how = match resolution {
        Resolution::Retried => 1,
        Resolution::Discarded => 2,
    };
    out.put_slice(&[VERSION, RESOLVED, how]);
    out.put_u32_le(positions.len() as u32);
    for position in positions {
        out.put_u64_le(*position);
    }
    out.freeze()
}

/// `None`: damaged, or written by a newer version.
pub(super) fn decode(mut data: Bytes) -> Option<Content> {
    if data.try_get_u8().ok()? != VERSION {
        return None;
    }
    match data.try_get_u8().ok()? {
        LETTER => {
            let mut batch = Batch::default();
            wire::decode_events_into(data, &mut batch).ok()?;
            batch
                .rejected
                .pop()
                .map(|letter| Content::Letter(Box::new(letter)))
        }
        RESOLVED => {
            let _how = data.try_get_u8().ok()?;
            let count = data.try_get_u32_le().ok()?;
            let positions = (0..count)
                .map(|_| data.try_get_u64_le().ok())
                .collect::<Option<_>>()?;
            Some(Content::Resolved(positions))
        }
        _ => None,
    }
}
