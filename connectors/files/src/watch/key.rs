//! Which file.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

use crate::digest::digest_of;

/// A file: which of the source's folders, and the path in it.
///
/// Two are equal if they are byte for byte: walks write each path in one way only. (Comparing paths part by part takes a multiple of
/// the time, and keys are compared all the time.)
#[derive(Debug, Clone)]
pub struct Key {
    /// Index of the configured folder.
    pub folder: u16,
    /// Path relative to it.
    pub path: Arc<Path>,
    /// Of both. Made once, because each file is looked up in several tables.
    digest: u64,
}

impl Key {
    /// The file at `path`, relative to the folder of this index.
    #[must_use]
    pub fn new(folder: u16, path: impl Into<Arc<Path>>) -> Self {
        let path = path.into();
        Self {
            folder,
            digest: digest_of(folder, path.as_os_str().as_bytes()),
            path,
        }
    }

    /// 64 bits of it, the same within one run. Two keys collide with probability 2⁻⁶⁴, and nobody can choose two that do.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn bytes(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.folder == other.folder && self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.folder, self.bytes()).cmp(&(other.folder, other.bytes()))
    }
}
