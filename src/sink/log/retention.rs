//! What the log forgets, and when.

use std::sync::Weak;
use std::time::Duration;

use headgate_sdk::Timestamp;

use super::store::EmbeddedLog;
use crate::segment::releasable;

/// How often age is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// A segment that is not full is completed after this part of the age, so that its events can go in time.
const ROLL_PART: u32 = 8;

/// Applies retention until the log is gone: when a segment is completed, and every minute.
pub(super) async fn run(log: Weak<EmbeddedLog>) {
    loop {
        let Some(index) = log.upgrade().map(|log| log.index.clone()) else {
            return;
        };
        // Elapsing is as good as being told.
        let _ = tokio::time::timeout(EVERY, index.sealed.notified()).await;
        let Some(log) = log.upgrade() else { return };
        let applied = tokio::task::spawn_blocking(move || log.retain(Timestamp::now())).await;
        if let Ok(Err(error)) = applied {
            tracing::warn!(%error, "retention of the embedded log was not applied");
        }
    }
}

impl EmbeddedLog {
    /// Lets go of what is too old or too much. Blocks. Returns up to which position events can go, if any can.
    pub fn retain(&self, now: Timestamp) -> Result<Option<u64>, super::LogError> {
        let now_ms = now.as_millisecond().max(0).cast_unsigned();
        let max_age = self.config.max_age.get();
        let max_bytes = self.config.max_bytes.bytes();
        let segments = self.log.segments()?;
        let keep_from = self.keep_from()?;
        let too_much = releasable(&segments, now_ms, None, Some(max_bytes), keep_from);
        // Named readers hold against age, not against the bound on size.
        let unread = self.groups.first().map_or(u64::MAX, |read| read + 1);
        let too_old = releasable(
            &segments,
            now_ms,
            Some(max_age),
            None,
            keep_from.min(unread),
        );
        let up_to = too_much.max(too_old);
        if let Some(up_to) = up_to {
            self.log.release(up_to);
            metrics::counter!("headgate_log_expired_segments_total").increment(
                segments
                    .iter()
                    .filter(|segment| segment.first <= up_to)
                    .count() as u64,
            );
        }
        let oldest_open_ms = now_ms.saturating_sub((max_age / ROLL_PART).as_millis() as u64);
        if segments
            .last()
            .is_some_and(|last| last.created_ms < oldest_open_ms)
        {
            self.log.roll();
        }
        Ok(up_to)
    }
}
