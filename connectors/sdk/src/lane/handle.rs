//! The source's end of a lane.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Delivery, LaneId, LaneSpec, Progress, Restored,
    backend::{LaneBackend, LaneOpener},
};
use crate::{Batch, Position, Str};

/// Opens lanes.
#[derive(Clone)]
pub struct Lanes(Arc<dyn LaneOpener>);

impl Lanes {
    /// Lanes that `opener` opens.
    #[must_use]
    pub fn new(opener: Arc<dyn LaneOpener>) -> Self {
        Self(opener)
    }

    /// Opens a lane. May wait while another instance still holds it. Cancel safe.
    ///
    /// # Errors
    /// [`LaneError::Refused`] if it is open already or may not be opened here, [`LaneError::Closed`] at shutdown.
    pub async fn open(&self, spec: LaneSpec) -> Result<Lane, LaneError> {
        self.0.open(spec).await
    }
}

/// One ordering domain of a source. Clones are handles of the same lane; the lane closes when the last one is dropped and
/// then drains by itself.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

/// What a lane is made of.
pub struct LaneParts {
    /// Its id.
    pub id: LaneId,
    /// What it was opened as.
    pub spec: LaneSpec,
    /// What its stored checkpoint held.
    pub restored: Restored,
    /// Bytes that may be under way.
    pub capacity: usize,
    /// What has become durable.
    pub progress: Progress,
    /// Cancelled when the lane is taken away.
    pub revoked: CancellationToken,
    /// Whether the operator holds the source.
    pub paused: watch::Receiver<bool>,
    /// What takes its batches.
    pub backend: Arc<dyn LaneBackend>,
}

struct Shared {
    parts: LaneParts,
    room: Arc<Semaphore>,
    capacity: u32,
}

impl Lane {
    /// The smallest room that any batch takes, so that the number of queued batches is bounded as their bytes are.
    pub const MIN_RESERVATION: usize = 1024;

    /// The lane of `parts`. For runtimes, not for connectors.
    #[must_use]
    pub fn new(parts: LaneParts) -> Self {
        let capacity = parts.capacity.max(Self::MIN_RESERVATION);
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(capacity as usize));
        Self {
            shared: Arc::new(Shared {
                room,
                capacity,
                parts,
            }),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &LaneId {
        &self.shared.parts.id
    }

    /// What it was opened as.
    #[must_use]
    pub fn spec(&self) -> &LaneSpec {
        &self.shared.parts.spec
    }

    /// Where to resume: the position of the stored checkpoint, `None` on the first start.
    #[must_use]
    pub fn restored(&self) -> Option<&Position> {
        self.shared.parts.restored.position.as_ref()
    }

    /// Waits for room for a batch of `bytes` (its [`Batch::weight`]); a batch larger than the lane's whole capacity gets all
    /// of it. Waits while the source is paused or its sinks are slow; the source must go on answering its own peers meanwhile.
    /// Cancel safe: select over it freely.
    ///
    /// # Errors
    /// [`LaneError::Closed`] when the lane was revoked or the gateway shuts down.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, LaneError> {
        let wanted = u32::try_from(bytes.max(Self::MIN_RESERVATION))
            .unwrap_or(u32::MAX)
            .min(self.shared.capacity);
        // Mostly there is room, and nothing to wait for.
        if !self.is_paused()
            && !self.shared.parts.revoked.is_cancelled()
            && let Ok(room) = Arc::clone(&self.shared.room).try_acquire_many_owned(wanted)
        {
            return Ok(Permit {
                room,
                lane: self.clone(),
            });
        }
        let room = async {
            if self.is_paused() {
                let mut paused = self.shared.parts.paused.clone();
                // A sender that is gone leaves the lane as it was.
                let _resumed = paused.wait_for(|paused| !paused).await.is_ok();
            }
            Arc::clone(&self.shared.room)
                .acquire_many_owned(wanted)
                .await
        };
        let room = tokio::select! {
            biased;
            () = self.shared.parts.revoked.cancelled() => return Err(LaneError::Closed),
            room = room => room.map_err(|_| LaneError::Closed)?,
        };
        Ok(Permit {
            room,
            lane: self.clone(),
        })
    }

    /// Whether the operator holds the source: [`reserve`](Self::reserve) waits until it is resumed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.shared.parts.paused.borrow()
    }

    /// Follows what has become durable.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.parts.progress.clone()
    }

    /// Reads one entry of the stored checkpoint.
    ///
    /// # Errors
    /// [`LaneError::Store`] if the checkpoint store cannot be read.
    pub async fn entry(&self, key: &str) -> Result<Option<Bytes>, LaneError> {
        self.shared.parts.backend.entry(key).await
    }

    /// Reads up to `limit` entries whose keys start with `prefix` and sort after `after`: page through with the last key.
    ///
    /// # Errors
    /// [`LaneError::Store`] if the checkpoint store cannot be read.
    pub async fn entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Str, Bytes)>, LaneError> {
        self.shared
            .parts
            .backend
            .entries(prefix, after, limit)
            .await
    }

    /// Resolves when the lane is taken away: stop reading and drop it. Cancel safe.
    pub async fn revoked(&self) {
        self.shared.parts.revoked.cancelled().await;
    }

    /// Makes waiting and later reservations fail; for runtimes.
    pub fn close_room(&self) {
        self.shared.room.close();
    }
}

/// Room for one batch. Dropping it unsent gives the room back.
pub struct Permit {
    room: OwnedSemaphorePermit,
    lane: Lane,
}

impl Permit {
    /// Sends the batch. The order of calls is the lane's order. Never waits.
    #[must_use = "the delivery says when the batch is accepted or durable; drop it explicitly where progress is enough"]
    pub fn send(self, batch: Batch) -> Delivery {
        self.lane.shared.parts.backend.send(batch, self.room)
    }
}

/// Why a lane does not serve.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The lane was revoked, or the gateway shuts down.
    #[error("the lane is closed")]
    Closed,
    /// The lane may not be opened.
    #[error("lane `{id}` cannot be opened: {reason}")]
    Refused {
        /// Which.
        id: LaneId,
        /// Why, and what to do.
        reason: String,
    },
    /// Its checkpoint cannot be read.
    #[error("the checkpoint of lane `{id}` cannot be read: {message}")]
    Store {
        /// Which.
        id: LaneId,
        /// What the store said.
        message: String,
    },
}
