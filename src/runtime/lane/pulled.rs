//! Lanes whose events can be had again: from the source, or from whoever sent them.

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_sdk::{
    Batch, Delivery, LaneError, LaneId, Str,
    lane::{LaneBackend, Progress},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::DropGuard;

use super::task::Submission;
use crate::runtime::Checkpoints;

/// Numbers batches and hands them to the lane's task.
pub(super) struct Pulled {
    id: LaneId,
    checkpoints: Checkpoints,
    progress: Progress,
    /// The number of the last batch, and the queue; locked together, so that numbers and queue have one order.
    queue: Mutex<(u64, mpsc::Sender<Submission>)>,
    /// Tells that no handle of the lane is left.
    _closed: DropGuard,
}

impl Pulled {
    pub(super) fn new(
        id: LaneId,
        checkpoints: Checkpoints,
        progress: Progress,
        queue: mpsc::Sender<Submission>,
        closed: DropGuard,
    ) -> Self {
        Self {
            id,
            checkpoints,
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
        Box::pin(async move {
            self.checkpoints
                .entries(&self.id, prefix, after, limit)
                .map_err(|error| unreadable(&self.id, &error))
        })
    }

    fn entry<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        Box::pin(async move {
            self.checkpoints
                .entry(&self.id, key)
                .map_err(|error| unreadable(&self.id, &error))
        })
    }
}

pub(super) fn unreadable(id: &LaneId, error: &dyn std::fmt::Display) -> LaneError {
    LaneError::Store {
        id: id.clone(),
        message: error.to_string(),
    }
}
