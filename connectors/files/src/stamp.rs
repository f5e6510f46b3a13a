//! What the file system says about a file without reading it.

use std::{
    fs::Metadata,
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::MetadataExt as _,
    sync::LazyLock,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Identity and age of a file's bytes: as long as the stamp stands still, the bytes are taken to stand still.
///
/// The status change time is part of it, because programs set `mtime` back (`rsync -t`, `cp -p`) but cannot set `ctime`. The
/// device is not: it changes when a share is mounted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Inode.
    #[serde(rename = "i")]
    pub inode: u64,
    /// Bytes.
    #[serde(rename = "z")]
    pub size: u64,
    /// Modification time, nanoseconds since 1970 (negative before).
    #[serde(rename = "m")]
    pub modified: i64,
    /// Status change time, nanoseconds since 1970.
    #[serde(rename = "c")]
    pub changed: i64,
}

impl Stamp {
    /// The stamp of `metadata`.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The modification time as an instant; clamped to what a timestamp can hold.
    #[must_use]
    pub fn modified_at(&self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.modified)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// 64 bits of it, for the index of known files of this process. Two stamps of one path collide with probability 2⁻⁶⁴.
    #[must_use]
    pub fn digest(&self) -> u64 {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEYS.hash_one(self)
    }
}

fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_each_of_its_parts() {
        let base = Stamp {
            inode: 1,
            size: 2,
            modified: 3,
            changed: 4,
        };
        let others = [
            Stamp { inode: 9, ..base },
            Stamp { size: 9, ..base },
            Stamp {
                modified: 9,
                ..base
            },
            Stamp { changed: 9, ..base },
        ];
        for other in others {
            assert_ne!(other, base);
            assert_ne!(other.digest(), base.digest());
        }
    }

    #[test]
    fn a_clock_in_the_past_is_an_instant_too() {
        let stamp = Stamp {
            inode: 0,
            size: 0,
            modified: -1_000_000_000,
            changed: 0,
        };
        assert_eq!(stamp.modified_at().to_string(), "1969-12-31T23:59:59Z");
    }
}
