//! The compact form of entries: a version, then numbers in little-endian order, hashes and ids as bytes, and text to the end.
//!
//! What does not fit into it (an id that is no hash, as other releases may have given) is stored as JSON.

use bytes::{Buf as _, BufMut, BytesMut};
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

/// What a [`FileEntry`] says of a file that was published, where it is not needed as such.
#[derive(Debug, Clone, Copy)]
pub struct FileParts<'a> {
    /// As in the entry,
    pub state: FileState,
    /// likewise,
    pub since: i64,
    /// likewise.
    pub stamp: Stamp,
    /// BLAKE3 of the content.
    pub hash: &'a blake3::Hash,
    /// The id of its event.
    pub id: &'a str,
}

impl FileParts<'_> {
    /// Appends what is stored.
    pub fn write(&self, out: &mut BytesMut) {
        let Some(id) = bytes::<ID_BYTES>(self.id) else {
            return write_json(&self.entry(), out);
        };
        put_file(out, self.state, HAS_ID, self.since, self.stamp);
        out.put_slice(self.hash.as_bytes());
        out.put_slice(&id);
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> FileEntry {
        FileEntry {
            state: self.state,
            since: self.since,
            stamp: self.stamp,
            hash: Str::from(self.hash.to_hex().as_str()),
            id: Some(Str::from(self.id)),
            duplicate: false,
            why: None,
        }
    }
}

/// What a [`ContentEntry`] says, where it is not needed as such.
#[derive(Debug, Clone, Copy)]
pub struct ContentParts<'a> {
    /// As in the entry,
    pub path: &'a str,
    /// likewise,
    pub id: &'a str,
    /// likewise,
    pub n: u64,
    /// likewise.
    pub at: i64,
}

impl ContentParts<'_> {
    /// Appends what is stored.
    pub fn write(&self, out: &mut BytesMut) {
        let Some(id) = bytes::<ID_BYTES>(self.id) else {
            return write_json(&self.entry(), out);
        };
        put_content(out, &id, self.n, self.at, self.path);
    }

    fn entry(&self) -> ContentEntry {
        ContentEntry {
            path: self.path.into(),
            id: self.id.into(),
            n: self.n,
            at: self.at,
        }
    }
}

fn write_json(entry: &impl serde::Serialize, out: &mut BytesMut) {
    // Plain data: it always is JSON.
    let _always_json = serde_json::to_writer(out.writer(), entry);
}

fn put_file(out: &mut impl BufMut, state: FileState, flags: u8, since: i64, stamp: Stamp) {
    let state = FileState::ALL.iter().position(|known| *known == state);
    out.put_u8(VERSION);
    // There are not many.
    out.put_u8(state.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX));
    out.put_u8(flags);
    out.put_i64_le(since);
    out.put_u64_le(stamp.inode);
    out.put_u64_le(stamp.size);
    out.put_i64_le(stamp.modified);
    out.put_i64_le(stamp.changed);
}

fn put_content(out: &mut impl BufMut, id: &[u8; ID_BYTES], n: u64, at: i64, path: &str) {
    out.put_u8(VERSION);
    out.put_slice(id);
    out.put_u64_le(n);
    out.put_i64_le(at);
    out.put_slice(path.as_bytes());
}

impl Stored for FileEntry {
    fn compact(&self) -> Option<Vec<u8>> {
        let flag = |holds, flag| if holds { flag } else { 0 };
        let flags = flag(self.duplicate, DUPLICATE)
            | flag(self.id.is_some(), HAS_ID)
            | flag(self.why.is_some(), HAS_WHY);
        let mut out = Vec::with_capacity(96);
        put_file(&mut out, self.state, flags, self.since, self.stamp);
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
        let id = bytes::<ID_BYTES>(&self.id)?;
        let mut out = Vec::with_capacity(1 + ID_BYTES + 16 + self.path.len());
        put_content(&mut out, &id, self.n, self.at, &self.path);
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
        fn parts_are_stored_as_their_entries_are(
            (since, n, at) in any::<(i64, u64, i64)>(),
            stamp in stamp(),
            hash in any::<[u8; 32]>(),
            id in id(),
            path in ".{0,80}",
        ) {
            let file = FileParts { state: FileState::Acknowledged, since, stamp, hash: &hash.into(), id: &id };
            let content = ContentParts { path: &path, id: &id, n, at };
            let mut out = BytesMut::new();
            file.write(&mut out);
            prop_assert_eq!(Some(out.split().freeze()), put("f/x".into(), &file.entry()).value);
            content.write(&mut out);
            prop_assert_eq!(Some(out.freeze()), put("c/x".into(), &content.entry()).value);
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
