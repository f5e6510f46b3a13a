//! A lane's keyed entries, as its source reads them back.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::{LaneError, LaneId, Str};

use super::indexer::EntryIndexer;
use crate::runtime::{CheckpointError, Checkpoints};

/// The entries of one lane's stored checkpoint. Reading sees everything of which the source was told that it is durable, or, on a
/// journaled lane, that it is accepted.
pub(super) struct StoredEntries {
    lane: LaneId,
    checkpoints: Checkpoints,
    /// Copies from the journal what it is to see first, where the lane's entries are in the journal.
    indexer: Option<Arc<EntryIndexer>>,
}

impl StoredEntries {
    pub(super) fn new(lane: LaneId, checkpoints: Checkpoints) -> Self {
        Self {
            lane,
            checkpoints,
            indexer: None,
        }
    }

    /// Those of a lane whose entries `indexer` copies from the journal now and then.
    pub(super) fn of_journal(
        lane: LaneId,
        checkpoints: Checkpoints,
        indexer: Arc<EntryIndexer>,
    ) -> Self {
        Self {
            lane,
            checkpoints,
            indexer: Some(indexer),
        }
    }

    /// Up to `limit` entries whose keys start with `prefix` and sort after `after`.
    pub(super) fn read<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        async move {
            self.settle().await?;
            let found = self.checkpoints.entries(&self.lane, prefix, after, limit);
            found.map_err(|error| unreadable(&self.lane, &error))
        }
        .boxed()
    }

    /// One entry.
    pub(super) fn read_one<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        async move {
            self.settle().await?;
            let found = self.checkpoints.entry(&self.lane, key);
            found.map_err(|error| unreadable(&self.lane, &error))
        }
        .boxed()
    }
}

impl StoredEntries {
    /// Waits until everything that was promised can be read.
    async fn settle(&self) -> Result<(), LaneError> {
        if let Some(indexer) = &self.indexer {
            let copied = indexer.catch_up().await;
            copied.map_err(|error| LaneError::Store {
                id: self.lane.clone(),
                message: error.to_string(),
            })?;
        }
        self.checkpoints.settled().await;
        Ok(())
    }
}

/// The checkpoint store failed when a lane asked it.
pub(super) fn unreadable(lane: &LaneId, error: &CheckpointError) -> LaneError {
    LaneError::Store {
        id: lane.clone(),
        message: error.to_string(),
    }
}
