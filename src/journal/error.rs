//! What an append or a read can come to.

use crate::segment::SegmentError;

/// Why the journal did not do what it was asked. The variant says what happens next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// There is no room now: the cap is reached, the disk is full, or too much waits for it. The sender should come back.
    #[error("the journal has no room: {0}")]
    Full(String),
    /// These records can never be stored: they are larger than a segment.
    #[error("the journal cannot take the record: {0}")]
    TooLarge(SegmentError),
    /// The disk failed. Nothing is accepted until a restart.
    #[error("the journal failed and accepts nothing until a restart: {0}")]
    Failed(#[source] SegmentError),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl From<SegmentError> for JournalError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Full { .. } | SegmentError::NoSpace { .. } => {
                Self::Full(error.to_string())
            }
            SegmentError::TooLarge { .. } => Self::TooLarge(error),
            SegmentError::Closed { .. } => Self::Closed,
            SegmentError::Failed { .. }
            | SegmentError::Unsupported { .. }
            | SegmentError::Io { .. } => Self::Failed(error),
        }
    }
}
