//! The store.

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use headgate_sdk::{Batch, DeadLetter, batch::wire};

use crate::{
    pipeline::dead_letter::DeadLetterWriter,
    segment::{Options, RealFiles, SegmentError, SegmentLog},
};

/// The pause before a write that failed for lack of room is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Dead letters in a segmented log.
#[derive(Clone)]
pub struct DeadLetterStore {
    log: Arc<SegmentLog>,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeadLetterStoreError(#[from] SegmentError);

impl DeadLetterStore {
    /// Opens or creates the store in `folder`. Blocks.
    ///
    /// # Errors
    /// [`DeadLetterStoreError`] if the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, DeadLetterStoreError> {
        let (log, report) = SegmentLog::open(folder, Options::new("dead-letters"), RealFiles)?;
        for corruption in &report.corruptions {
            tracing::error!(
                ?corruption,
                "the dead letters are damaged: the part was set aside"
            );
        }
        Ok(Self { log: Arc::new(log) })
    }
}

impl DeadLetterWriter for DeadLetterStore {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
        let log = Arc::clone(&self.log);
        Box::pin(async move {
            for letter in &letters {
                metrics::counter!("headgate_dead_letters_total", "step" => letter.step.to_string(), "reason" => letter.reason.to_string())
                    .increment(1);
            }
            let batch = Batch {
                rejected: letters,
                ..Batch::default()
            };
            let record = wire::encode(&batch)
                .expect("envelopes that came this far are within the codec's bounds");
            while let Err(error) = log.append(std::slice::from_ref(&record)).await {
                tracing::error!(%error, "dead letters cannot be stored, their lane waits: make room on the disk of data_dir");
                tokio::time::sleep(AGAIN).await;
            }
        })
    }
}
