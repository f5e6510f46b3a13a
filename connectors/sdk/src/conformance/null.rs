//! Lanes that keep nothing, for benchmarks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, Delivery, Lane, LaneError, LaneId, LaneSpec, Lanes, Str,
    lane::{LaneBackend, LaneOpener, LaneParts, Progress, ProgressState, Restored},
};

/// Opens lanes whose batches are looked at, durable at once, and forgotten. Nothing is ever restored from them.
#[derive(Clone)]
pub struct NullLanes {
    shared: Arc<Shared>,
    capacity: usize,
}

struct Shared {
    look: Box<dyn Fn(&Batch) + Send + Sync>,
    events: AtomicU64,
    /// Changes with every batch.
    batches: watch::Sender<u64>,
}

impl NullLanes {
    /// Lanes that let at most `capacity` bytes be under way and show each batch to `look`.
    pub fn new(capacity: usize, look: impl Fn(&Batch) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                look: Box::new(look),
                events: AtomicU64::new(0),
                batches: watch::Sender::new(0),
            }),
            capacity,
        }
    }

    /// As a source opens them.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        Lanes::new(Arc::new(self.clone()))
    }

    /// How many events came so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.shared.events.load(Ordering::Acquire)
    }

    /// Waits until so many events came. Cancel safe.
    pub async fn wait_for(&self, events: u64) {
        let mut batches = self.shared.batches.subscribe();
        while self.events() < events {
            // The sender lives as long as this does.
            let _changed = batches.changed().await;
        }
    }
}

impl LaneOpener for NullLanes {
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        let (state, progress) = watch::channel(ProgressState::default());
        let progress = Progress::new(progress);
        let lane = Lane::new(LaneParts {
            id: LaneId::new("null", &spec, "0"),
            spec,
            restored: Restored::default(),
            capacity: self.capacity,
            progress: progress.clone(),
            revoked: CancellationToken::new(),
            paused: watch::channel(false).1,
            backend: Arc::new(Backend {
                shared: Arc::clone(&self.shared),
                state,
                progress,
            }),
        });
        Box::pin(async move { Ok(lane) })
    }
}

struct Backend {
    shared: Arc<Shared>,
    state: watch::Sender<ProgressState>,
    progress: Progress,
}

impl LaneBackend for Backend {
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery {
        drop(room);
        (self.shared.look)(&batch);
        let events = batch.events.len() as u64;
        let mut number = 0;
        self.state.send_modify(|state| {
            state.durable += 1;
            number = state.durable;
            if batch.position.is_some() {
                state.position = batch.position;
            }
        });
        self.shared.events.fetch_add(events, Ordering::Release);
        self.shared.batches.send_modify(|batches| *batches += 1);
        Delivery::accepted_now(number, self.progress.clone())
    }

    fn entries<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn entry<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        Box::pin(async { Ok(None) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{Data, Envelope, Position, Replay, Timestamp};

    #[tokio::test]
    async fn everything_is_durable_at_once_and_counted() {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        let null = NullLanes::new(1 << 20, |batch| {
            SEEN.fetch_add(batch.events.len(), Ordering::Relaxed);
        });
        let spec = LaneSpec {
            name: Str::default(),
            tenant: "default".into(),
            class: "default".into(),
            replay: Replay::FromSource,
        };
        let lane = null.lanes().open(spec).await.unwrap();
        let event = Envelope::new("1", "urn:x", "a.b.v1", Timestamp::UNIX_EPOCH, Data::none());
        let batch = Batch {
            events: vec![event; 3],
            position: Some(Position::encode(&7)),
            ..Batch::default()
        };
        let permit = lane.reserve(batch.weight()).await.unwrap();
        let delivery = permit.send(batch);
        null.wait_for(3).await;
        assert_eq!((null.events(), SEEN.load(Ordering::Relaxed)), (3, 3));
        let now = lane.progress().now();
        assert_eq!(now.durable, delivery.number());
        assert_eq!(now.position, Some(Position::encode(&7)));
    }
}
