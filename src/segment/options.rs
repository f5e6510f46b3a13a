//! How a log is set up.

use super::Sequence;
use super::frame::Frame;
use super::header::HEADER_BYTES;

/// The figures of one log. All bounds are in bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// What messages and threads call this log: `journal`, `log`, `dead letters`.
    pub name: &'static str,
    /// The size to which a segment is preallocated.
    pub segment_bytes: u64,
    /// What all segments together may take; appends beyond get [`SegmentError::Full`](super::SegmentError::Full).
    /// At least two segments are always allowed. Spare segments come on top.
    pub max_total_bytes: u64,
    /// How large a group grows before another one is begun. A single append may be larger, up to a segment.
    pub max_group_bytes: usize,
    /// What all pending groups together may hold before appenders have to wait.
    pub max_pending_bytes: usize,
    /// How many bytes of recent frames stay in memory for readers.
    pub tail_bytes: usize,
    /// How many released segments are kept for reuse.
    pub spare_segments: usize,
}

impl Options {
    /// The defaults: 64 MiB segments, 10 GiB in total, groups of 8 MiB, 64 MiB pending, a tail
    /// of 1 MiB, two spares.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            segment_bytes: 64 << 20,
            max_total_bytes: 10 << 30,
            max_group_bytes: 8 << 20,
            max_pending_bytes: 64 << 20,
            tail_bytes: 1 << 20,
            spare_segments: 2,
        }
    }

    /// Bytes for frames in a segment.
    pub(super) fn capacity(&self) -> u64 {
        self.segment_bytes.saturating_sub(HEADER_BYTES)
    }

    pub(super) fn max_total_bytes(&self) -> u64 {
        self.max_total_bytes
            .max(self.segment_bytes.saturating_mul(2))
    }
}

/// Told about commits on the committer's thread, after the sync and before any ticket resolves; must be quick.
pub trait Observer: Send + 'static {
    /// `frame` is durable.
    fn committed(&mut self, frame: &Frame);

    /// A segment is complete; the next one begins with `next`. Everything before `next` is durable. Returns up to where records
    /// may go now, if it knows: what was released before there was a next segment could not be recycled then.
    fn sealed(&mut self, next: Sequence) -> Option<Sequence> {
        let _ = next;
        None
    }

    /// Nothing more will be committed.
    fn ended(&mut self) {}
}

/// Nobody listens.
impl Observer for () {
    fn committed(&mut self, _frame: &Frame) {}
}
