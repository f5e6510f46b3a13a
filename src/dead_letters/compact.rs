//! Makes room: live letters that hold old segments are moved to the end of the log.

use bytes::Bytes;

use super::{
    DeadLetterStore,
    record::encode_moved,
    store::{READ_BYTES, on_blocking_thread},
};
use crate::segment::SegmentError;

/// So many segments are never too much.
const FEW_SEGMENTS: u64 = 4;

impl DeadLetterStore {
    /// Moves letters until the log takes at most twice what the live ones need, or four segments. A letter keeps the position by
    /// which it is known. Nobody else writes meanwhile.
    pub(super) async fn compact(&self) -> Result<(), SegmentError> {
        if !self.is_wasteful().await? {
            return Ok(());
        }
        let _alone = self.writing.write().await;
        while self.is_wasteful().await? {
            let Some(first) = self.live.lock().first_place() else {
                return Ok(());
            };
            let records = self.log.reader(first).read_now(READ_BYTES).await?;
            let moved: Vec<Bytes> = {
                let live = self.live.lock();
                let letters = records
                    .iter()
                    .filter_map(|record| Some((live.at(record.sequence)?, &record.data)));
                letters
                    .map(|(position, data)| encode_moved(position, data))
                    .collect()
            };
            if moved.is_empty() {
                return Ok(());
            }
            tracing::debug!(letters = moved.len(), "compacting the dead letters");
            self.log.append(&moved).await?;
            self.release();
        }
        Ok(())
    }

    async fn is_wasteful(&self) -> Result<bool, SegmentError> {
        let (needed, first) = {
            let live = self.live.lock();
            (live.bytes(), live.first_place())
        };
        let Some(first) = first else { return Ok(false) };
        let enough = (FEW_SEGMENTS * self.segment_bytes).max(needed * 2);
        if self.log.stats().bytes <= enough {
            return Ok(false);
        }
        // Segments that are released already count as long as they are not recycled.
        let log = self.log.clone();
        let segments = on_blocking_thread(move || log.segments()).await?;
        let held = segments.windows(2).filter(|pair| pair[1].first > first);
        let held: u64 = held.map(|pair| pair[0].bytes).sum();
        Ok(held + self.segment_bytes > enough)
    }
}
