//! What a lane's checkpoint knows of files and contents, and what that means for a file that turned up.
//!
//! | key | value | says |
//! |---|---|---|
//! | `f/{path}` | [`FileEntry`] | the last version at a path, and where it is on its way |
//! | `c/{hash}` | [`ContentEntry`] | which file first had these bytes |
//! | `n/{hash}/{path}` | [`ReturnEntry`] | how often a path had these bytes, where it was not the first |
//! | `r/{path}` | [`RecordsEntry`](crate::records) | how far the records of a file are read |
//! | `a/{path}` | identity and position | how far a file that grows is read |
//! | `m/epoch` | a number | where counting returns starts, so that an id is never given twice |
//!
//! Of files and contents there may be millions, so these two are stored in a compact form; the others are JSON.
//!
//! Paths are absolute, as [`name::encode`] writes them. Everything older than the window is removed, except what is still in its
//! folder.

mod compact;

pub use compact::{ContentParts, FileParts};

use std::path::Path;

use headgate_sdk::{Entry, Str};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{name, records::Place, stamp::Stamp, state::FileState};

/// `f/{path}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Only durable states are stored.
    #[serde(rename = "s")]
    pub state: FileState,
    /// When it got there, seconds since 1970.
    #[serde(rename = "at")]
    pub since: i64,
    /// The stamp of the version.
    #[serde(rename = "t")]
    pub stamp: Stamp,
    /// BLAKE3 of its content, hex.
    #[serde(rename = "h")]
    pub hash: Str,
    /// The id of its event; for a duplicate, of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Str>,
    /// Whether it was passed over as a duplicate.
    #[serde(default, rename = "dup", skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Str>,
}

/// `c/{hash}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentEntry {
    /// The path of the file, as text.
    #[serde(rename = "p")]
    pub path: Str,
    /// The id of the event.
    pub id: Str,
    /// How often that path has returned to these bytes.
    pub n: u64,
    /// When it was published, seconds since 1970.
    pub at: i64,
}

/// `n/{hash}/{path}`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnEntry {
    /// How often the path has returned to these bytes.
    pub n: u64,
    /// When, seconds since 1970.
    pub at: i64,
}

/// `r/{path}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsEntry {
    /// The id of the file's event, from which the records' ids are made: it names path, content and return.
    pub id: Str,
    /// The stamp of the version.
    #[serde(rename = "t")]
    pub stamp: Stamp,
    /// Where reading goes on.
    #[serde(rename = "p")]
    pub place: Place,
    /// Records that became dead letters so far.
    #[serde(rename = "bad")]
    pub defects: u64,
}

/// Keys of a lane's entries.
pub mod key {
    use super::{Path, Str, name};

    /// `f/{path}`
    #[must_use]
    pub fn file(path: &Path) -> Str {
        file_of(&name::encode(path))
    }

    /// `f/{path}`, of a path that is text already.
    #[must_use]
    pub fn file_of(path: &str) -> Str {
        joined(["f/", "", path])
    }

    /// `f/{folder}{path}`, of texts that make a path when put together.
    #[must_use]
    pub fn file_in(folder: &str, path: &str) -> Str {
        joined(["f/", folder, path])
    }

    /// `c/{hash}`
    #[must_use]
    pub fn content(hash: &str) -> Str {
        joined(["c/", hash, ""])
    }

    /// `n/{hash}/{path}`, of a path that is text already.
    #[must_use]
    pub fn again(hash: &str, path: &str) -> Str {
        format!("n/{hash}/{path}").into()
    }

    /// `r/{path}`, of a path that is text already.
    #[must_use]
    pub fn records(path: &str) -> Str {
        joined(["r/", path, ""])
    }

    /// `a/{path}`
    #[must_use]
    pub fn growth(path: &Path) -> Str {
        format!("a/{}", name::encode(path)).into()
    }

    /// `m/epoch`
    pub const EPOCH: &str = "m/epoch";

    /// The texts put together, mostly in one allocation.
    fn joined(parts: [&str; 3]) -> Str {
        let mut room = [0; 256];
        let mut filled = 0;
        for part in parts {
            let Some(place) = room.get_mut(filled..filled + part.len()) else {
                return parts.concat().into();
            };
            place.copy_from_slice(part.as_bytes());
            filled += part.len();
        }
        // Texts, put together, are a text.
        std::str::from_utf8(&room[..filled]).map_or_else(|_| parts.concat().into(), Str::from)
    }
}

/// What is stored as an entry.
pub trait Stored: Serialize + DeserializeOwned {
    /// As few bytes as may be, where there are very many of its kind; `None`: as JSON.
    fn compact(&self) -> Option<Vec<u8>> {
        None
    }

    /// What [`compact`](Self::compact) wrote.
    fn expand(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

impl Stored for u64 {}
impl Stored for ReturnEntry {}
impl Stored for RecordsEntry {}

/// An entry that sets `key` to `value`.
#[must_use]
pub fn put<T: Stored>(key: Str, value: &T) -> Entry {
    // Plain data: it always is JSON.
    let json = || serde_json::to_vec(value).unwrap_or_default();
    Entry::put(key, value.compact().unwrap_or_else(json))
}

/// Reads an entry's value; `None` for one that is not ours, which is then treated as absent and written anew.
#[must_use]
pub fn get<T: Stored>(value: &[u8]) -> Option<T> {
    T::expand(value).or_else(|| serde_json::from_slice(value).ok())
}

/// What to do with the same bytes under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// No event; counted.
    Skip,
    /// An event with `duplicateof`.
    Mark,
}

/// What is known of a file's path and content when it is judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The last content at its path, with the window not considered.
    pub last_hash: Option<&'a str>,
    /// Whether that last version failed as a whole.
    pub last_failed: bool,
    /// Who had these bytes first, within the window.
    pub first: Option<&'a ContentEntry>,
    /// How often this path had these bytes, where it was not the first.
    pub again: Option<ReturnEntry>,
    /// Where counting starts.
    pub epoch: u64,
}

/// What a file is, given what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A version to publish, as the `n`-th return to these bytes.
    Publish {
        /// Goes into the id.
        n: u64,
        /// The first event with these bytes, if another file had them.
        duplicate_of: Option<Str>,
    },
    /// The same bytes under another name, which are passed over.
    Duplicate {
        /// The first event with these bytes.
        of: Str,
    },
    /// The version that its path had already: touched, renamed away and back, or put there again.
    Same,
}

/// Judges a file at `path` (as text) with the content `hash`. Files without content are never duplicates of each other.
#[must_use]
pub fn judge(
    path: &str,
    hash: &str,
    empty: bool,
    known: Known<'_>,
    duplicates: Duplicates,
) -> Verdict {
    if known.last_hash == Some(hash) && !known.last_failed {
        return Verdict::Same;
    }
    let next = known.again.map_or(known.epoch, |again| again.n + 1);
    match known.first {
        _ if empty => Verdict::Publish {
            n: next,
            duplicate_of: None,
        },
        None => Verdict::Publish {
            n: known.epoch,
            duplicate_of: None,
        },
        Some(first) if first.path == path => {
            if known.last_hash.is_some() {
                Verdict::Publish {
                    n: first.n + 1,
                    duplicate_of: None,
                }
            } else {
                Verdict::Duplicate {
                    of: first.id.clone(),
                }
            }
        }
        Some(first) => match duplicates {
            Duplicates::Skip => Verdict::Duplicate {
                of: first.id.clone(),
            },
            Duplicates::Mark => Verdict::Publish {
                n: next,
                duplicate_of: Some(first.id.clone()),
            },
        },
    }
}

/// The id of a file's event: a hash of the configured folder, the path in it, the content and `n`.
#[must_use]
pub fn event_id(folder: &str, path: &Path, hash: &blake3::Hash, n: u64) -> Str {
    let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    // Hashed as one: setting up a hasher for several parts costs more than hashing them.
    let mut bytes = Vec::with_capacity(64 + folder.len() + path.len());
    for part in [folder.as_bytes(), path] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(hash.as_bytes());
    bytes.extend_from_slice(&n.to_le_bytes());
    let id = blake3::hash(&bytes).to_hex();
    Str::from(&id[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(path: &str, n: u64) -> ContentEntry {
        ContentEntry {
            path: path.into(),
            id: "e1".into(),
            n,
            at: 0,
        }
    }

    fn verdict(known: Known<'_>, duplicates: Duplicates) -> Verdict {
        judge("/in/a", "x", false, known, duplicates)
    }

    fn publish(n: u64, duplicate_of: Option<&str>) -> Verdict {
        Verdict::Publish {
            n,
            duplicate_of: duplicate_of.map(Str::from),
        }
    }

    #[test]
    fn new_bytes_are_published_and_known_ones_are_not() {
        let skip = Duplicates::Skip;
        assert_eq!(verdict(Known::default(), skip), publish(0, None));
        let same = Known {
            last_hash: Some("x"),
            ..Known::default()
        };
        assert_eq!(verdict(same, skip), Verdict::Same);
        let other = first("/in/b", 0);
        let copied = Known {
            last_hash: Some("y"),
            first: Some(&other),
            ..Known::default()
        };
        let duplicate = Verdict::Duplicate { of: "e1".into() };
        assert_eq!(verdict(copied, skip), duplicate);
        assert_eq!(verdict(copied, Duplicates::Mark), publish(0, Some("e1")));
    }

    #[test]
    fn a_return_to_earlier_bytes_is_a_version_of_its_own() {
        let own = first("/in/a", 3);
        let back = Known {
            last_hash: Some("y"),
            first: Some(&own),
            ..Known::default()
        };
        assert_eq!(verdict(back, Duplicates::Skip), publish(4, None));
        let again = Known {
            last_hash: Some("y"),
            first: Some(&own),
            again: Some(ReturnEntry { n: 7, at: 0 }),
            ..Known::default()
        };
        assert_eq!(
            judge("/in/b", "x", false, again, Duplicates::Mark),
            publish(8, Some("e1"))
        );
    }

    #[test]
    fn a_failed_version_is_tried_again() {
        let failed = Known {
            last_hash: Some("x"),
            last_failed: true,
            ..Known::default()
        };
        assert_eq!(verdict(failed, Duplicates::Skip), publish(0, None));
    }

    #[test]
    fn empty_files_are_no_duplicates_of_each_other() {
        let other = first("/in/b", 0);
        let known = Known {
            first: Some(&other),
            ..Known::default()
        };
        assert_eq!(
            judge("/in/a", "x", true, known, Duplicates::Skip),
            publish(0, None)
        );
    }

    #[test]
    fn ids_tell_all_four_parts_apart() {
        let (x, y) = (blake3::hash(b"x"), blake3::hash(b"y"));
        let ids = [
            event_id("/in", Path::new("a"), &x, 0),
            event_id("/i", Path::new("na"), &x, 0),
            event_id("/in", Path::new("b"), &x, 0),
            event_id("/in", Path::new("a"), &y, 0),
            event_id("/in", Path::new("a"), &x, 1),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(ids[0], event_id("/in", Path::new("a"), &x, 0));
    }

    #[test]
    fn keys_are_made_of_their_parts() {
        for name in ["a.pdf", "ä\u{308}", &"ü".repeat(200)] {
            let path = format!("/in/{name}");
            assert_eq!(key::file_of(&path), format!("f//in/{name}"));
            assert_eq!(key::file_in("/in/", name), format!("f//in/{name}"));
            assert_eq!(key::records(&path), format!("r//in/{name}"));
            assert_eq!(key::again("ab", &path), format!("n/ab//in/{name}"));
        }
        assert_eq!(key::content("ab"), "c/ab");
    }

    #[test]
    fn entries_read_back_and_foreign_ones_are_absent() {
        let entry = FileEntry {
            state: FileState::Failed,
            since: 5,
            stamp: Stamp {
                inode: 1,
                size: 2,
                modified: -3,
                changed: 4,
            },
            hash: "ab".into(),
            id: None,
            duplicate: true,
            why: Some("torn".into()),
        };
        let stored = put(key::file(Path::new("/in/ä\n")), &entry);
        assert_eq!(stored.key, "f//in/ä%0A");
        assert_eq!(get(&stored.value.unwrap()), Some(entry.clone()));
        assert_eq!(get(&serde_json::to_vec(&entry).unwrap()), Some(entry));
        assert_eq!(get::<FileEntry>(b"{}"), None);
    }
}
