//! The files that are known to need nothing: a cache of what the checkpoints say, so that a scan asks no store for each of them.
//!
//! Memory: about 40 bytes a file that lies in a watched folder. Losing it costs time, never correctness.

use std::collections::HashMap;

use crate::{digest::Digested, stamp::Stamp, watch::Key};

/// Why a file needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It was sent, and its batch is not yet durable.
    Published,
    /// It is done and stays where it is.
    Done,
    /// It is durable, and is to be put away.
    Waiting,
    /// It is being put away.
    Leaving,
    /// It is not wanted, by its media type.
    Unwanted,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    digest: u64,
    scan: u32,
    rest: Rest,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index(HashMap<u64, (u16, Seen), Digested>);

impl Index {
    /// Why this version of a file needs nothing, if so. Notes that scan number `scan` of its folder saw it.
    pub(crate) fn sight(&mut self, key: &Key, stamp: &Stamp, scan: u32) -> Option<Rest> {
        let (_, seen) = self.0.get_mut(&key.digest())?;
        seen.scan = seen.scan.max(scan);
        (seen.digest == stamp.digest()).then_some(seen.rest)
    }

    /// Notes that this version of a file needs nothing.
    pub(crate) fn rest(&mut self, key: &Key, stamp: &Stamp, rest: Rest, scan: u32) {
        let digest = stamp.digest();
        let seen = Seen { digest, scan, rest };
        self.0.insert(key.digest(), (key.folder, seen));
    }

    /// Moves this version of a file on, if it is still the one that is known.
    pub(crate) fn advance(&mut self, key: &Key, stamp: &Stamp, rest: Rest) {
        if let Some((_, seen)) = self.0.get_mut(&key.digest())
            && seen.digest == stamp.digest()
        {
            seen.rest = rest;
        }
    }

    /// Forgets a file.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(&key.digest());
    }

    /// Forgets the files of a folder that neither scan number `scan` saw nor anything since.
    pub(crate) fn forget_unseen(&mut self, folder: u16, scan: u32) {
        self.0
            .retain(|_, (of, seen)| *of != folder || seen.scan >= scan);
    }

    /// How many files are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn key(folder: u16, name: &str) -> Key {
        Key::new(folder, Path::new(name))
    }

    fn stamp(size: u64) -> Stamp {
        Stamp {
            inode: 1,
            size,
            modified: 0,
            changed: 0,
        }
    }

    #[test]
    fn a_version_rests_and_another_one_does_not() {
        let mut index = Index::default();
        index.rest(&key(0, "a"), &stamp(1), Rest::Published, 1);
        assert_eq!(
            index.sight(&key(0, "a"), &stamp(1), 2),
            Some(Rest::Published)
        );
        assert_eq!(index.sight(&key(0, "a"), &stamp(2), 2), None);
        index.advance(&key(0, "a"), &stamp(2), Rest::Done);
        assert_eq!(
            index.sight(&key(0, "a"), &stamp(1), 2),
            Some(Rest::Published)
        );
        index.advance(&key(0, "a"), &stamp(1), Rest::Done);
        assert_eq!(index.sight(&key(0, "a"), &stamp(1), 2), Some(Rest::Done));
        assert_eq!(index.sight(&key(1, "a"), &stamp(1), 2), None);
    }

    #[test]
    fn what_a_scan_did_not_see_is_forgotten_in_its_folder_only() {
        let mut index = Index::default();
        for (folder, name, scan) in [
            (0, "old", 1),
            (0, "seen", 1),
            (0, "new", 2),
            (1, "other", 1),
        ] {
            index.rest(&key(folder, name), &stamp(1), Rest::Done, scan);
        }
        index.sight(&key(0, "seen"), &stamp(1), 2);
        index.forget_unseen(0, 2);
        assert_eq!(index.len(), 3);
        assert_eq!(index.sight(&key(0, "old"), &stamp(1), 2), None);
    }
}
