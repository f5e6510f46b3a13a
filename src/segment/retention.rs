//! What a log that keeps history may delete.

use std::time::Duration;

use super::Sequence;
use super::log::SegmentInfo;

/// Up to which sequence the oldest segments can go: those wholly older than `max_age`, and those beyond `max_bytes`; but
/// nothing at or after `keep_from`, and never the segment being written. `None`: nothing can go.
///
/// `segments` are oldest first. A segment's newest record is taken to be as old as its successor.
#[must_use]
pub fn releasable(
    segments: &[SegmentInfo],
    now_ms: u64,
    max_age: Option<Duration>,
    max_bytes: Option<u64>,
    keep_from: Sequence,
) -> Option<Sequence> {
    let oldest_kept_ms = max_age.map(|age| now_ms.saturating_sub(age.as_millis() as u64));
    let mut kept_bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut up_to = None;
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1]);
        let too_old = oldest_kept_ms.is_some_and(|oldest| next.created_ms < oldest);
        let too_much = max_bytes.is_some_and(|max| kept_bytes > max);
        if next.first > keep_from || !(too_old || too_much) {
            break;
        }
        kept_bytes -= segment.bytes;
        up_to = Some(next.first - 1);
    }
    up_to
}
