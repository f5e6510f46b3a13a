//! What can go wrong with a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why an append, a read or an opening failed. Cheap to clone, because one failure answers every waiter of a group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SegmentError {
    /// The size cap is reached and nothing could be recycled. Try again after readers have moved on.
    #[error(
        "the {log} is full: its cap is {cap_bytes} bytes; let its readers catch up or raise the cap"
    )]
    Full {
        /// The log's name.
        log: &'static str,
        /// The configured cap.
        cap_bytes: u64,
    },
    /// The disk has no room for another segment. Nothing was lost; try again after making room.
    #[error("no space left for the {log} in {}: free disk space", path.display())]
    NoSpace {
        /// The log's name.
        log: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The records of one append do not fit into a segment.
    #[error("{bytes} bytes do not fit into one segment of the {log}, which takes {max_bytes}")]
    TooLarge {
        /// The log's name.
        log: &'static str,
        /// What was asked for.
        bytes: u64,
        /// What fits.
        max_bytes: u64,
    },
    /// A write or a sync failed earlier. The log takes nothing more until the process is restarted on a working disk.
    #[error("the {log} failed while it was {action} {} and takes nothing more: check the disk, then restart", path.display())]
    Failed {
        /// The log's name.
        log: &'static str,
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log was closed.
    #[error("the {log} is closed")]
    Closed {
        /// The log's name.
        log: &'static str,
    },
    /// A segment was written by a newer version, or with a feature that this version lacks.
    #[error("segment {} has {what}, which this version cannot read: use the version that wrote it", path.display())]
    Unsupported {
        /// The segment.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// Reading or opening failed.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

impl SegmentError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }

    /// Whether trying again later can succeed without an operator restarting anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace { .. })
    }
}
