//! The records of the store: a letter, or what became of some.
//!
//! Version (1 byte), kind (1 byte), then by kind:
//! - a letter: a batch in the SDK's codec with one rejected record;
//! - a letter whose data lies apart: the name of the file (32 characters), its length (`u64`), and the letter without data;
//! - a letter that was moved when the store was compacted: the position by which it is known (`u64`), and its record;
//! - a resolution: its kind (1 byte), the count of letters (`u32`), and for each its position (`u64`) and the name of its event: source, id,
//!   type and step, each a length (`u32`) and text.
//!
//! Numbers are little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headgate_sdk::batch::wire::{self, RecordError};
use headgate_sdk::{Batch, Data, DeadLetter, Str};

use crate::segment::Sequence;

const VERSION: u8 = 1;
const LETTER: u8 = 1;
/// A resolution without names, as older versions wrote it.
const RESOLVED_UNNAMED: u8 = 2;
const MOVED: u8 = 3;
const APART: u8 = 4;
const RESOLVED: u8 = 5;
const NAME_LENGTH: usize = 32;

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
    Letter(Stored),
    /// However they ended.
    Resolved(Vec<Resolved>),
}

/// A letter that waits no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// By which it was known.
    pub position: Sequence,
    /// How it ended.
    pub how: Resolution,
    /// Which it was; older versions did not note it.
    pub name: Option<Name>,
}

/// Names a letter, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The event's source.
    pub source: Str,
    /// The event's id.
    pub id: Str,
    /// The event's type.
    pub event_type: Str,
    /// The step that failed.
    pub step: Str,
}

impl Name {
    /// That of `letter`.
    #[must_use]
    pub fn of(letter: &DeadLetter) -> Self {
        Self {
            source: letter.envelope.source.clone(),
            id: letter.envelope.id.clone(),
            event_type: letter.envelope.event_type.clone(),
            step: letter.step.clone(),
        }
    }
}

/// A letter as it is stored.
#[derive(Debug)]
pub(super) struct Stored {
    /// By which it is known, if that is not the place of this record.
    pub(super) position: Option<Sequence>,
    pub(super) letter: Box<DeadLetter>,
    pub(super) apart: Option<Apart>,
}

/// A file with the whole letter, as [`encode_whole`] wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Apart {
    pub(super) name: Str,
    pub(super) bytes: u64,
}

/// The letter as a batch of its own.
pub(super) fn encode_whole(letter: DeadLetter) -> Result<Bytes, RecordError> {
    wire::encode(&Batch {
        rejected: vec![letter],
        ..Batch::default()
    })
}

/// The opposite. `None`: damaged, or written by a newer version.
pub(super) fn decode_whole(data: Bytes) -> Option<DeadLetter> {
    let mut batch = Batch::default();
    wire::decode_events_into(data, &mut batch).ok()?;
    batch.rejected.pop()
}

pub(super) fn encode_letter(letter: DeadLetter) -> Result<Bytes, RecordError> {
    let batch = encode_whole(letter)?;
    let mut out = BytesMut::with_capacity(batch.len() + 2);
    out.put_slice(&[VERSION, LETTER]);
    out.put_slice(&batch);
    Ok(out.freeze())
}

/// A letter whose data lies in a file: a name of 32 characters.
pub(super) fn encode_apart(mut letter: DeadLetter, apart: &Apart) -> Result<Bytes, RecordError> {
    letter.envelope.data = Data::default();
    let batch = encode_whole(letter)?;
    let mut out = BytesMut::with_capacity(batch.len() + NAME_LENGTH + 10);
    out.put_slice(&[VERSION, APART]);
    out.put_slice(apart.name.as_bytes());
    out.put_u64_le(apart.bytes);
    out.put_slice(&batch);
    Ok(out.freeze())
}

/// The record of a letter, known by `position`, in another place.
pub(super) fn encode_moved(position: Sequence, record: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(record.len() + 10);
    let mut inner = record.clone();
    if inner.get(1) == Some(&MOVED) {
        inner.advance(10);
    }
    out.put_slice(&[VERSION, MOVED]);
    out.put_u64_le(position);
    out.put_slice(&inner);
    out.freeze()
}

pub(super) fn encode_resolved<'a>(
    resolution: Resolution,
    letters: impl ExactSizeIterator<Item = (Sequence, &'a DeadLetter)>,
) -> Bytes {
    let mut out = BytesMut::with_capacity(7 + letters.len() * 128);
    let how = match resolution {
        Resolution::Retried => 1,
        Resolution::Discarded => 2,
    };
    out.put_slice(&[VERSION, RESOLVED, how]);
    out.put_u32_le(letters.len() as u32);
    for (position, letter) in letters {
        out.put_u64_le(position);
        let event = &letter.envelope;
        for text in [&event.source, &event.id, &event.event_type, &letter.step] {
            out.put_u32_le(text.len() as u32);
            out.put_slice(text.as_bytes());
        }
    }
    out.freeze()
}

/// `None`: damaged, or written by a newer version.
pub(super) fn decode(mut data: Bytes) -> Option<Content> {
    if data.try_get_u8().ok()? != VERSION {
        return None;
    }
    match data.try_get_u8().ok()? {
        LETTER => stored(data, None),
        APART => {
            let name = data.get(..NAME_LENGTH)?;
            let name = Str::new(std::str::from_utf8(name).ok()?);
            data.advance(NAME_LENGTH);
            let bytes = data.try_get_u64_le().ok()?;
            stored(data, Some(Apart { name, bytes }))
        }
        MOVED => {
            let position = data.try_get_u64_le().ok()?;
            // What was moved is a letter, never itself something moved.
            if data.get(1) == Some(&MOVED) {
                return None;
            }
            match decode(data)? {
                Content::Letter(stored) => Some(Content::Letter(Stored {
                    position: Some(position),
                    ..stored
                })),
                Content::Resolved(_) => None,
            }
        }
        kind @ (RESOLVED | RESOLVED_UNNAMED) => {
            let how = match data.try_get_u8().ok()? {
                1 => Resolution::Retried,
                _ => Resolution::Discarded,
            };
            let count = data.try_get_u32_le().ok()?;
            let one = |_| {
                Some(Resolved {
                    position: data.try_get_u64_le().ok()?,
                    how,
                    name: match kind {
                        RESOLVED => Some(name(&mut data)?),
                        _ => None,
                    },
                })
            };
            let resolved = (0..count).map(one).collect::<Option<_>>()?;
            Some(Content::Resolved(resolved))
        }
        _ => None,
    }
}

fn name(data: &mut Bytes) -> Option<Name> {
    let mut text = || {
        let length = data.try_get_u32_le().ok()? as usize;
        let text = data.get(..length)?;
        let text = Str::new(std::str::from_utf8(text).ok()?);
        data.advance(length);
        Some(text)
    };
    Some(Name {
        source: text()?,
        id: text()?,
        event_type: text()?,
        step: text()?,
    })
}

fn stored(batch: Bytes, apart: Option<Apart>) -> Option<Content> {
    Some(Content::Letter(Stored {
        position: None,
        letter: Box::new(decode_whole(batch)?),
        apart,
    }))
}
