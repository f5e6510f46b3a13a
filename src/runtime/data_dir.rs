//! `data_dir`: one gateway at a time, a format version, and what is fixed at the first start.

use std::{
    fs::{self, File, TryLockError},
    io,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use headgate_sdk::Str;
use serde::{Deserialize, Serialize};

/// The format that this version writes. Newer ones are refused, older ones migrated.
const FORMAT: u32 = 1;
/// Holds [`Identity`] as JSON.
const IDENTITY_FILE: &str = "headgate.json";
/// Locked for as long as a gateway uses the directory.
const LOCK_FILE: &str = "lock";

/// An opened and locked `data_dir`. The lock goes with the value.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    identity: Identity,
    _lock: File,
}

/// What the first start fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The format of everything in the directory.
    pub format: u32,
    /// The instance: travels with the journal and is part of a journaled lane's id.
    pub instance: Str,
    /// How many shards lanes are hashed onto.
    pub shards: NonZeroU16,
    /// The key that data at rest is encrypted with; none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Str>,
}

impl DataDir {
    /// Opens `root`, creating it at the first start. `shards` is the configured number, if one is.
    ///
    /// # Errors
    /// [`DataDirError`] if it is in use, written by a newer version, was started with another number of shards, or I/O fails.
    pub fn open(root: &Path, shards: Option<NonZeroU16>) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io {
            root: root.to_owned(),
            source,
        };
        fs::create_dir_all(root).map_err(failed)?;
        let root = fs::canonicalize(root).map_err(failed)?;
        let failed = |source| DataDirError::Io {
            root: root.clone(),
            source,
        };
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { root }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let identity = match fs::read(root.join(IDENTITY_FILE)) {
            Ok(bytes) => Self::check(&root, &bytes, shards)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Identity::new(shards);
                write_synced(&root, &identity).map_err(failed)?;
                identity
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            root,
            identity,
            _lock: lock,
        })
    }

    fn check(
        root: &Path,
        bytes: &[u8],
        shards: Option<NonZeroU16>,
    ) -> Result<Identity, DataDirError> {
        /// Read first, because a newer format may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |source| DataDirError::Unreadable {
            file: root.join(IDENTITY_FILE),
            source,
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(DataDirError::Newer {
                root: root.to_owned(),
                format,
            });
        }
        let identity: Identity = serde_json::from_slice(bytes).map_err(unreadable)?;
        match shards {
            Some(wanted) if wanted != identity.shards => Err(DataDirError::Shards {
                stored: identity.shards.get(),
                wanted: wanted.get(),
            }),
            _ => Ok(identity),
        }
    }

    /// What the first start fixed.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The checkpoint file.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints.redb")
    }

    /// The folder of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The folder of the embedded log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The folder of the dead letters that no sink keeps.
    #[must_use]
    pub fn dead_letters(&self) -> PathBuf {
        self.root.join("dead-letters")
    }

    /// The folder of the trace ledger that no sink keeps.
    #[must_use]
    pub fn trace(&self) -> PathBuf {
        self.root.join("trace")
    }

    /// The folder of the log in front of a sink with `buffer: log`.
    #[must_use]
    pub fn buffer(&self, sink: &str) -> PathBuf {
        self.root.join("buffers").join(sink)
    }

    /// The folder of the claim-check store.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The folder that belongs to a source.
    #[must_use]
    pub fn scratch(&self, source: &str) -> PathBuf {
        self.root.join("sources").join(source)
    }
}

impl Identity {
    fn new(shards: Option<NonZeroU16>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let cores = u16::try_from(cores)
            .ok()
            .and_then(NonZeroU16::new)
            .unwrap_or(NonZeroU16::MIN);
        let instance = format!("{:08x}", fastrand::u32(..));
        Self {
            format: FORMAT,
            instance: instance.into(),
            shards: shards.unwrap_or(cores),
            key_id: None,
        }
    }

    /// The shard of a lane: a hash that never changes.
    #[must_use]
    pub fn shard_of(&self, lane: &str) -> u32 {
        let hash = blake3::hash(lane.as_bytes());
        let head = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        u32::from_le_bytes(*head) % u32::from(self.shards.get())
    }
}

/// Written beside, synced and renamed, so that a crash leaves the old file or the new one.
fn write_synced(root: &Path, identity: &Identity) -> io::Result<()> {
    let staged = root.join(format!("{IDENTITY_FILE}.new"));
    let text = serde_json::to_vec_pretty(identity)?;
    fs::write(&staged, text)?;
    File::open(&staged)?.sync_all()?;
    fs::rename(&staged, root.join(IDENTITY_FILE))?;
    File::open(root)?.sync_all()
}

/// `data_dir` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "data_dir `{root}` is in use by another gateway: stop it, or give this one another `data_dir`"
    )]
    InUse {
        /// The directory.
        root: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "data_dir `{root}` has format {format}, newer than this version's {FORMAT}: run the version that wrote it"
    )]
    Newer {
        /// The directory.
        root: PathBuf,
        /// Its format.
        format: u32,
    },
    /// `shards` differs from the first start's.
    #[error(
        "`shards: {wanted}` differs from the {stored} of the first start, which lanes are hashed onto: write `shards: {stored}`, or leave it out"
    )]
    Shards {
        /// The first start's.
        stored: u16,
        /// The configured one.
        wanted: u16,
    },
    /// Its identity file is damaged.
    #[error("`{file}` cannot be read: restore it from a backup")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// Reading or writing failed.
    #[error("data_dir `{root}`: {source}; it must be a directory that this user may write to")]
    Io {
        /// The directory.
        root: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(n: u16) -> Option<NonZeroU16> {
        NonZeroU16::new(n)
    }

    #[test]
    fn keeps_what_the_first_start_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), shards(3))
            .unwrap()
            .identity()
            .clone();
        let second = DataDir::open(folder.path(), None)
            .unwrap()
            .identity()
            .clone();
        assert_eq!(first, second);
        let refused = DataDir::open(folder.path(), shards(4)).unwrap_err();
        assert!(
            matches!(
                refused,
                DataDirError::Shards {
                    stored: 3,
                    wanted: 4
                }
            ),
            "{refused}"
        );
    }

    #[test]
    fn is_locked_while_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::open(folder.path(), None).unwrap();
        assert!(matches!(
            DataDir::open(folder.path(), None),
            Err(DataDirError::InUse { .. })
        ));
        drop(held);
        DataDir::open(folder.path(), None).unwrap();
    }

    #[test]
    fn refuses_a_newer_format() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(IDENTITY_FILE),
            r#"{"format":2,"novelty":true}"#,
        )
        .unwrap();
        let refused = DataDir::open(folder.path(), None).unwrap_err();
        assert!(
            matches!(refused, DataDirError::Newer { format: 2, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_lane_stays_on_its_shard() {
        let identity = Identity {
            format: 1,
            instance: "a".into(),
            shards: NonZeroU16::new(8).unwrap(),
            key_id: None,
        };
        assert_eq!(
            identity.shard_of("github/@0001"),
            identity.shard_of("github/@0001")
        );
        let used: std::collections::BTreeSet<_> = (0..200)
            .map(|n| identity.shard_of(&format!("s/{n}")))
            .collect();
        assert_eq!(used.len(), 8);
    }
}
