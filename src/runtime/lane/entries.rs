//! A lane's keyed entries, as its source reads them back.

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::{LaneError, LaneId, Str};

use crate::runtime::{CheckpointError, Checkpoints};

/// The entries of one lane's stored checkpoint. Reading sees everything of which the source was told that it is durable.
pub(super) struct StoredEntries {
    lane: LaneId,
    checkpoints: Checkpoints,
}

impl StoredEntries {
    pub(super) fn new(lane: LaneId, checkpoints: Checkpoints) -> Self {
        Self { lane, checkpoints }
    }

    /// Up to `limit` entries whose keys start with `prefix` and sort after `after`.
    pub(super) fn read<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        async move {
            self.checkpoints.settled().await;
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
            self.checkpoints.settled().await;
            let found = self.checkpoints.entry(&self.lane, key);
            found.map_err(|error| unreadable(&self.lane, &error))
        }
        .boxed()
    }
}

/// The checkpoint store failed when a lane asked it.
pub(super) fn unreadable(lane: &LaneId, error: &CheckpointError) -> LaneError {
    LaneError::Store {
        id: lane.clone(),
        message: error.to_string(),
    }
}
