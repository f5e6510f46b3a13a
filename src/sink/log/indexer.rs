//! Keeps the index of checkpoints (`checkpoints.redb`) up to what the log holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headgate_sdk::{LaneId, Str};
use tokio::sync::Notify;

use super::LogError;
use super::record::{Content, decode, is_checkpoint};
use crate::runtime::{Checkpoints, Commit};
use crate::segment::{Frame, Observer, Record, SegmentLog, Sequence};
use crate::sink::Checkpoint;

/// What the committer's thread shares with the log.
#[derive(Default)]
pub(super) struct Index {
    /// Under which name, and where. Set when the log is recovered; before, nothing is appended with a checkpoint.
    pub(super) target: OnceLock<(Str, Checkpoints)>,
    /// The end of the newest frame with a checkpoint since the log was opened.
    pub(super) newest_checkpoint: AtomicU64,
    /// A segment was completed: retention may have work.
    pub(super) sealed: Notify,
}

/// Hands the checkpoints of durable frames on, in their order.
pub(super) struct Indexer(pub(super) Arc<Index>);

impl Observer for Indexer {
    fn committed(&mut self, frame: &Frame) {
        let Some((sink, checkpoints)) = self.0.target.get() else {
            return;
        };
        let mut found = frame
            .records()
            .filter(|record| is_checkpoint(&record.data))
            .peekable();
        if found.peek().is_some() {
            self.0
                .newest_checkpoint
                .store(frame.end() - 1, Ordering::Release);
        }
        while let Some(record) = found.next() {
            // The mark is for all of the frame, so the last one carries it.
            let mark = found
                .peek()
                .is_none()
                .then(|| (sink.clone(), encode_mark(frame.end() - 1)));
            // A copy: otherwise the events of the frame would stay in memory until it is written.
            let record = Record {
                data: Bytes::copy_from_slice(&record.data),
                ..record
            };
            match decode(record) {
                Ok(Content::Checkpoint(lane, checkpoint)) => {
                    checkpoints.commit_blocking(Commit {
                        lane,
                        checkpoint,
                        mark,
                        done: None,
                    });
                    crate::failpoint::reach("log-indexed");
                }
                Ok(Content::Event(_)) => {}
                Err(error) => tracing::error!(%error, "checkpoint not indexed"),
            }
        }
    }

    fn sealed(&mut self, _next: Sequence) -> Option<Sequence> {
        self.0.sealed.notify_one();
        None
    }
}

/// Reads what the index does not have yet from the log's end. Returns how many checkpoints that were.
pub(super) async fn catch_up(
    log: &SegmentLog,
    sink: &Str,
    checkpoints: &Checkpoints,
) -> Result<usize, LogError> {
    let mark = read_mark(sink, checkpoints)?;
    let mut reader = log.reader(mark.saturating_add(1));
    let mut count = 0;
    while !reader.is_at_end() {
        for record in reader.read_now(1 << 20).await? {
            let sequence = record.sequence;
            if !is_checkpoint(&record.data) {
                continue;
            }
            if let Content::Checkpoint(lane, checkpoint) = decode(record)? {
                let mark = Some((sink.clone(), encode_mark(sequence)));
                checkpoints
                    .commit(Commit {
                        lane,
                        checkpoint,
                        mark,
                        done: None,
                    })
                    .await;
                count += 1;
            }
        }
    }
    let end = reader.position().saturating_sub(1);
    if end > mark {
        checkpoints.commit(mark_only(sink, end)).await;
    }
    checkpoints.flush().await;
    Ok(count)
}

/// Up to which sequence the index has the log's checkpoints.
pub(super) fn read_mark(sink: &str, checkpoints: &Checkpoints) -> Result<Sequence, LogError> {
    let mark = checkpoints.mark(sink)?;
    Ok(mark
        .and_then(|mark| mark.as_ref().try_into().ok())
        .map_or(0, Sequence::from_le_bytes))
}

/// Says that the index has all checkpoints up to `sequence`, and nothing else.
pub(super) fn mark_only(sink: &Str, sequence: Sequence) -> Commit {
    let mark = Some((sink.clone(), encode_mark(sequence)));
    let lane = LaneId::from_stored("");
    Commit {
        lane,
        checkpoint: Checkpoint::default(),
        mark,
        done: None,
    }
}

fn encode_mark(sequence: Sequence) -> Bytes {
    Bytes::copy_from_slice(&sequence.to_le_bytes())
}
