//! The compact form of entries: a version, then numbers in little-endian order, hashes and ids as bytes, and text to the end.
//!
//! What does not fit into it (an id that is no hash, as other releases may have given) is stored as JSON.

use bytes::{Buf as _, BufMut as _};
use headgate_sdk::Str;

use super::{ContentEntry, FileEntry, Stored};
use crate::{stamp::Stamp, state::FileState};

/// No JSON begins with it.
const VERSION: u8 = 1;
const HASH_BYTES: usize = 32;
const ID_BYTES: usize = 16;

const DUPLICATE: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_WHY: u8 = 4;

impl Stored for FileEntry {
    fn compact(&self) -> Option<Vec<u8>> {
        let state = FileState::ALL.iter().position(|s| *s == self.state)?;
        let flag = |holds, flag| if holds { flag } else { 0 };
        let mut out = Vec::with_capacity(96);
        out.put_u8(VERSION);
        out.put_u8(u8::try_from(state).ok()?);
        out.put_u8(
            flag(self.duplicate, DUPLICATE)
                | flag(self.id.is_some(), HAS_ID)
                | flag(self.why.is_some(), HAS_WHY),
        );
        out.put_i64_le(self.since);
        out.put_u64_le(self.stamp.inode);
        out.put_u64_le(self.stamp.size);
        out.put_i64_le(self.stamp.modified);
        out.put_i64_le(self.stamp.changed);
        out.put_slice(&bytes::<HASH_BYTES>(&self.hash)?);
        if let Some(id) = &self.id {
            out.put_slice(&bytes::<ID_BYTES>(id)?);
        }
        if let Some(why) = &self.why {
            out.put_slice(why.as_bytes());
        }
        Some(out)
    }

    fn expand(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let state = *FileState::ALL.get(usize::from(from.try_get_u8().ok()?))?;
        let flags = from.try_get_u8().ok()?;
        let since = from.try_get_i64_le().ok()?;
        let stamp = Stamp {
            inode: from.try_get_u64_le().ok()?,
            size: from.try_get_u64_le().ok()?,
            modified: from.try_get_i64_le().ok()?,
            changed: from.try_get_i64_le().ok()?,
        };
        let hash = take_hex::<HASH_BYTES>(&mut from)?;
        let id = match flags & HAS_ID {
            0 => None,
            _ => Some(take_hex::<ID_BYTES>(&mut from)?),
        };
        let why = match flags & HAS_WHY {
            0 => None,
            _ => Some(Str::new(std::str::from_utf8(from).ok()?)),
        };
        Some(Self {
            state,
            since,
            stamp,
            hash,
            id,
            duplicate: flags & DUPLICATE != 0,
            why,
        })
    }
}

impl Stored for ContentEntry {
    fn compact(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1 + ID_BYTES + 16 + self.path.len());
        out.put_u8(VERSION);
        out.put_slice(&bytes::<ID_BYTES>(&self.id)?);
        out.put_u64_le(self.n);
        out.put_i64_le(self.at);
        out.put_slice(self.path.as_bytes());
        Some(out)
    }

    fn expand(mut from: &[u8]) -> Option<Self> {
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let id = take_hex::<ID_BYTES>(&mut from)?;
        let n = from.try_get_u64_le().ok()?;
        let at = from.try_get_i64_le().ok()?;
        let path = Str::new(std::str::from_utf8(from).ok()?);
        Some(Self { path, id, n, at })
    }
}

/// The bytes that `hex` stands for, if it is exactly what [`take_hex`] gives back.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    let mut wrong = 0;
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        *byte = high << 4 | low & 15;
        wrong |= high | low;
    }
    (wrong < 16).then_some(out)
}

/// Of each byte, what it is worth as a digit, or [`NO_DIGIT`].
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = 0xFF;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn take_hex<const N: usize>(from: &mut &[u8]) -> Option<Str> {
    let (bytes, rest) = from.split_at_checked(N)?;
    *from = rest;
    let mut hex = [0; 2 * HASH_BYTES];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(&hex[..2 * N]).ok().map(Str::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{get, put};
    use super::*;

    fn stamp() -> impl Strategy<Value = Stamp> {
        any::<(u64, u64, i64, i64)>().prop_map(|(inode, size, modified, changed)| Stamp {
            inode,
            size,
            modified,
            changed,
        })
    }

    /// Mostly what is given out, sometimes anything.
    fn id() -> impl Strategy<Value = Str> {
        prop_oneof![4 => "[0-9a-f]{32}", 1 => ".{0,40}"].prop_map(Str::from)
    }

    proptest! {
        #[test]
        fn entries_read_back_as_they_were(
            state in prop::sample::select(FileState::ALL.to_vec()),
            (since, n, at) in any::<(i64, u64, i64)>(),
            stamp in stamp(),
            hash in prop_oneof![4 => "[0-9a-f]{64}", 1 => ".{0,70}"].prop_map(Str::from),
            id in id(),
            has_id in any::<bool>(),
            duplicate in any::<bool>(),
            why in prop::option::of(".{0,40}".prop_map(Str::from)),
            path in ".{0,80}".prop_map(Str::from),
        ) {
            let file = FileEntry { state, since, stamp, hash, id: has_id.then(|| id.clone()), duplicate, why };
            prop_assert_eq!(get(&put("f/x".into(), &file).value.unwrap()), Some(file));
            let content = ContentEntry { path, id, n, at };
            prop_assert_eq!(get(&put("c/x".into(), &content).value.unwrap()), Some(content));
        }

        #[test]
        fn any_bytes_are_an_entry_or_none(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut bytes = bytes;
            let _nothing_panics = (get::<FileEntry>(&bytes), get::<ContentEntry>(&bytes));
            bytes.insert(0, VERSION);
            let _nor_here = (get::<FileEntry>(&bytes), get::<ContentEntry>(&bytes));
        }
    }

    #[test]
    fn a_file_s_entry_is_small() {
        let entry = FileEntry {
            state: FileState::Acknowledged,
            since: 1,
            stamp: Stamp {
                inode: 1,
                size: 2,
                modified: 3,
                changed: 4,
            },
            hash: "ab".repeat(32).into(),
            id: Some("cd".repeat(16).into()),
            duplicate: false,
            why: None,
        };
        assert_eq!(entry.compact().unwrap().len(), 91);
    }
}
