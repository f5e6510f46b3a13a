//! Why the log did not do it.

use headgate_sdk::envelope::wire::WireError;

use crate::runtime::CheckpointError;
use crate::segment::SegmentError;

/// Opening, reading or keeping the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The segments.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The index of checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A record that this version cannot read.
    #[error("position {position} of the embedded log cannot be read: {reason}")]
    Record {
        /// Where.
        position: u64,
        /// Why.
        reason: String,
    },
    /// An event that cannot be written.
    #[error("an event cannot be written to the embedded log: {0}")]
    Event(#[from] WireError),
    /// The cursors of groups.
    #[error("the cursors of the log's reader groups cannot be {action}: {source}")]
    Groups {
        /// `read` or `stored`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
