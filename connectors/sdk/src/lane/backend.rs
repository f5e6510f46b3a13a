//! What stands behind a lane: the gateway's runtime, or the conformance suite's memory.

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use super::{Delivery, Lane, LaneError, LaneSpec};
use crate::{Batch, Position, Str};

/// Opens lanes for one source.
pub trait LaneOpener: Send + Sync + 'static {
    /// Opens the lane, or waits until it may be opened (its shard may be on the move).
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>>;
}

/// What a checkpoint held when its lane was opened.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Where to resume; `None` on the first start.
    pub position: Option<Position>,
}

/// Takes a lane's batches and keeps its entries.
pub trait LaneBackend: Send + Sync + 'static {
    /// Takes a batch in order. Never blocks: `room` was reserved for it and is given back when the batch no longer occupies
    /// memory.
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery;

    /// Reads up to `limit` entries whose keys start with `prefix` and sort after `after`, in order. Entries of batches that
    /// are accepted but not yet in a checkpoint are included only on journaled lanes, and only those from before a restart.
    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>>;

    /// Reads one entry.
    fn entry<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>>;
}
