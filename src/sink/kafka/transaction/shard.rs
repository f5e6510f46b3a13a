//! A seat from outside: where its lanes hand their batches over, and how it is.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use headgate_sdk::{LaneId, Str};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    barriers::Barriers,
    burial::Burials,
    contents::Job,
    gathering::Limits,
    member::{Claim, Member, Seat},
    service::LaneToShard,
    worker::Worker,
};
use crate::sink::{
    SinkError,
    kafka::{encode::Encoder, sink::Shared},
};

/// Batches that a shard may have at once.
pub(super) const PLACES: usize = 4096;

/// How a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShardState {
    /// Fencing, reading, claiming.
    Taking,
    /// Lanes may send.
    Ready,
    /// Its lanes are stopped until a person acts; says why, and whether another process has it.
    Held { reason: Str, by_another: bool },
    /// The sink is closed.
    Closed,
}

/// A shard that has been asked for.
#[derive(Clone)]
pub(super) struct Shard {
    /// `None` ends it.
    pub(super) inbox: SyncSender<Option<Job>>,
    pub(super) places: Arc<Semaphore>,
    pub(super) state: watch::Receiver<ShardState>,
}

/// All shards that lanes have asked for.
pub(in crate::sink::kafka) struct Shards {
    member: Member,
    claim: Claim,
    shared: Arc<Shared>,
    closing: CancellationToken,
    open: Mutex<HashMap<Seat, Shard>>,
    runtime: Handle,
}

impl Shards {
    /// Makes none yet. Call it inside a tokio runtime.
    pub(in crate::sink::kafka) fn new(member: Member, shared: Arc<Shared>) -> Self {
        Self {
            claim: Claim::new(&member.identity.instance),
            member,
            shared,
            closing: CancellationToken::new(),
            open: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// A lane's way in.
    pub(in crate::sink::kafka) fn lane(&self, lane: &LaneId, shard: u32) -> LaneToShard {
        let shard = self.shard(self.member.seat(lane, shard));
        LaneToShard::new(Arc::clone(&self.shared), shard)
    }

    /// Resolves when the lane's stored checkpoint is in the index, and nobody else can move it any more.
    pub(in crate::sink::kafka) async fn prepare(
        &self,
        lane: &LaneId,
        shard: u32,
    ) -> Result<(), SinkError> {
        let mut state = self.shard(self.member.seat(lane, shard)).state;
        let settled = state.wait_for(|state| *state != ShardState::Taking).await;
        match settled.as_deref() {
            Ok(ShardState::Ready) => Ok(()),
            Ok(ShardState::Held { reason, .. }) => Err(SinkError::new(reason.clone())),
            _ => Err(SinkError::new("the sink is closed")),
        }
    }

    /// Resolves, with the reason, when another process has the lane's shard.
    pub(in crate::sink::kafka) async fn lost(&self, lane: &LaneId, shard: u32) -> Str {
        let mut state = self.shard(self.member.seat(lane, shard)).state;
        let is_lost = |state: &ShardState| {
            matches!(
                state,
                ShardState::Held {
                    by_another: true,
                    ..
                }
            )
        };
        if let Ok(ShardState::Held { reason, .. }) = state.wait_for(is_lost).await.as_deref() {
            return reason.clone();
        }
        // The sink is closed: nobody asks any more.
        std::future::pending().await
    }

    /// The shard, which is started if it was not yet.
    fn shard(&self, seat: Seat) -> Shard {
        let mut open = self.open.lock();
        if let Some(shard) = open.get(&seat) {
            return shard.clone();
        }
        let (inbox, jobs) = sync_channel(PLACES + 1);
        let (state, watched) = watch::channel(ShardState::Taking);
        let config = &self.shared.config;
        let worker = Worker {
            id: seat.transactional_id(&self.member.group),
            limits: Limits::new(
                &config.transactions,
                self.member.lane_in_flight,
                config.room(),
            ),
            encoder: Encoder::new(config.mode),
            shared: Arc::clone(&self.shared),
            member: self.member.clone(),
            seat: seat.clone(),
            claim: self.claim.clone(),
            seen: 0,
            state,
            closing: self.closing.clone(),
            runtime: self.runtime.clone(),
            inbox: jobs,
            ended: false,
            deferred: VecDeque::new(),
            barriers: Barriers::default(),
            burials: Burials::default(),
            unknown: None,
        };
        let named = thread::Builder::new().name(format!("kafka-{}", seat.shard));
        if let Err(error) = named.spawn(move || worker.run()) {
            // The state's sender is gone with the worker: lanes see the shard closed.
            tracing::error!(%error, "no thread for a shard; check the limits of this user");
        }
        let shard = Shard {
            inbox,
            places: Arc::new(Semaphore::new(PLACES)),
            state: watched,
        };
        open.insert(seat, shard.clone());
        shard
    }

    /// Lets every shard finish what it has for at most `patience`, then gives up the rest.
    pub(in crate::sink::kafka) async fn close(&self, patience: Duration) {
        let shards: Vec<Shard> = self.open.lock().drain().map(|(_, shard)| shard).collect();
        for shard in &shards {
            // There is a place for it; it is refused only when the shard has ended.
            let _ended = shard.inbox.try_send(None);
        }
        let states: Vec<_> = shards.into_iter().map(|shard| shard.state).collect();
        let closed = async {
            for mut state in states.clone() {
                let _closed_or_gone = state.wait_for(|state| *state == ShardState::Closed).await;
            }
        };
        if tokio::time::timeout(patience, closed).await.is_err() {
            self.closing.cancel();
            for mut state in states {
                let gone = state.wait_for(|state| *state == ShardState::Closed);
                let _gone_or_late = tokio::time::timeout(patience, gone).await;
            }
        }
    }
}
