//! Lanes whose events can be had again: from the source, or from whoever sent them.

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_sdk::{
    Batch, Delivery, LaneError, Str,
    lane::{LaneBackend, Progress},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::DropGuard;

use super::{entries::StoredEntries, task::Submission};

/// Numbers batches and hands them to the lane's task.
pub(super) struct Pulled {
    entries: StoredEntries,
    progress: Progress,
    /// The number of the last batch, and the queue; locked together, so that numbers and queue have one order.
    queue: Mutex<(u64, mpsc::Sender<Submission>)>,
    /// Tells that no handle of the lane is left.
    _closed: DropGuard,
}

impl Pulled {
    pub(super) fn new(
        entries: StoredEntries,
        progress: Progress,
        queue: mpsc::Sender<Submission>,
        closed: DropGuard,
    ) -> Self {
        Self {
            entries,
            progress,
            queue: Mutex::new((0, queue)),
            _closed: closed,
        }
    }
}

impl LaneBackend for Pulled {
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery {
        let mut queue = self.queue.lock();
        queue.0 += 1;
        let number = queue.0;
        // The queue has a place for each reservation of the smallest size, so it is full only when the lane's task has ended;
        // then the batch is gone, its delivery never becomes durable, and the source sends it again.
        let _ended = queue.1.try_send(Submission {
            number,
            batch,
            room,
        });
        Delivery::accepted_now(number, self.progress.clone())
    }

    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        self.entries.read(prefix, after, limit)
    }

    fn entry<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        self.entries.read_one(key)
    }
}
