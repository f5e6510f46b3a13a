//! Opens lanes, each once at a time.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::{
    Lane, LaneError, LaneId, LaneSpec, Replay, Str,
    lane::{LaneOpener, LaneParts, Progress, ProgressState, Restored},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    door::{Door, Wiring},
    entries::{StoredEntries, unreadable},
    indexer::EntryIndexer,
    journaled::{Feeder, Journaled},
    pulled::Pulled,
    task::{LaneFigures, LaneTask, Submission},
};
use crate::{
    journal::{Journal, JournalError},
    pipeline::{
        LaneContext,
        stack::{self, PipelinePlan, StackContext},
    },
    runtime::{CheckpointError, Checkpoints, Identity},
};

/// What a source is told whose lane broke off.
const BROKEN: Str =
    Str::new_static("one of its lanes broke off, which is a bug; the log says where");

/// How long a source that was restarted has to let go of its lanes.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

/// Opens the lanes of all sources. Clones share it.
#[derive(Clone)]
pub(crate) struct LaneFactory(Arc<Shared>);

struct Shared {
    identity: Identity,
    checkpoints: Checkpoints,
    journal: Journal,
    indexer: Arc<EntryIndexer>,
    stack: StackContext,
    capacity: usize,
    open: Mutex<HashMap<LaneId, Open>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abandon: CancellationToken,
}

/// A lane whose task runs.
#[derive(Clone)]
struct Open {
    source: Str,
    /// No handle of it is left.
    closed: CancellationToken,
    /// Its task has ended.
    ended: CancellationToken,
    progress: watch::Receiver<ProgressState>,
    /// Of a lane of the journal.
    door: Option<Arc<Door>>,
    wiring: watch::Sender<Wiring>,
}

/// An open lane, for people and programs.
#[derive(Debug, Clone)]
pub struct LaneInfo {
    /// The lane.
    pub id: LaneId,
    /// Its source.
    pub source: Str,
    /// Its durable prefix.
    pub progress: ProgressState,
}

/// What a source opens its lanes with.
struct SourceLanes {
    factory: LaneFactory,
    source: Str,
    plan: watch::Receiver<Arc<PipelinePlan>>,
    paused: watch::Receiver<bool>,
    revoked: CancellationToken,
    /// Told why, when a lane broke off.
    broken: watch::Sender<Str>,
    /// Whether its lanes of the journal are opened again while they still drain.
    returns: bool,
}

impl LaneFactory {
    /// Lanes of at most `capacity` bytes under way. Their tasks run on `tasks`. From `stop` on they end when what they accepted is
    /// delivered, and with `abandon` at once.
    ///
    /// # Errors
    /// [`CheckpointError`] if the checkpoint store cannot be read.
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, where the gateway is put together"
    )]
    pub(crate) fn new(
        identity: Identity,
        checkpoints: Checkpoints,
        journal: Journal,
        stack: StackContext,
        capacity: usize,
        tasks: TaskTracker,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> Result<Self, CheckpointError> {
        let indexer = Arc::new(EntryIndexer::new(&journal, checkpoints.clone())?);
        let open = Mutex::default();
        Ok(Self(Arc::new(Shared {
            identity,
            checkpoints,
            journal,
            indexer,
            stack,
            capacity,
            open,
            tasks,
            stop,
            abandon,
        })))
    }

    /// Brings the entries of journaled lanes into the checkpoint store and keeps doing so.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub(crate) async fn follow_journal(&self) -> Result<(), JournalError> {
        self.0.indexer.catch_up().await?;
        let factory = self.clone();
        self.0
            .tasks
            .spawn(async move { factory.0.indexer.run(factory.0.stop.clone()).await });
        Ok(())
    }

    /// What `source` opens its lanes with. `broken` is told why when one breaks off: the source must let go of all and open them anew.
    #[must_use]
    pub(crate) fn for_source(
        &self,
        source: Str,
        plan: watch::Receiver<Arc<PipelinePlan>>,
        paused: watch::Receiver<bool>,
        revoked: CancellationToken,
        broken: watch::Sender<Str>,
    ) -> headgate_sdk::Lanes {
        headgate_sdk::Lanes::new(Arc::new(SourceLanes {
            factory: self.clone(),
            source,
            plan,
            paused,
            revoked,
            broken,
            returns: true,
        }))
    }

    /// The same for what comes to a source's pipeline a second time, such as dead letters: nobody pauses it, one that breaks off goes
    /// on at the next start, and a lane opens only after everything that it accepted before is delivered.
    #[must_use]
    pub(crate) fn aside(
        &self,
        source: Str,
        plan: watch::Receiver<Arc<PipelinePlan>>,
    ) -> headgate_sdk::Lanes {
        headgate_sdk::Lanes::new(Arc::new(SourceLanes {
            factory: self.clone(),
            source,
            plan,
            paused: watch::channel(false).1,
            revoked: self.0.stop.child_token(),
            broken: watch::Sender::new(Str::default()),
            returns: false,
        }))
    }

    /// All open lanes, by id.
    #[must_use]
    pub(crate) fn lanes(&self) -> Vec<LaneInfo> {
        let open = self.0.open.lock();
        let mut lanes: Vec<_> = open
            .iter()
            .filter(|(_, lane)| !lane.ended.is_cancelled())
            .map(|(id, lane)| LaneInfo {
                id: id.clone(),
                source: lane.source.clone(),
                progress: lane.progress.borrow().clone(),
            })
            .collect();
        lanes.sort_by(|a, b| a.id.cmp(&b.id));
        lanes
    }
}

impl SourceLanes {
    async fn open(&self, spec: LaneSpec) -> Result<Lane, LaneError> {
        let shared = &self.factory.0;
        let id = LaneId::new(&self.source, &spec, &shared.identity.instance);
        let (progress_sender, progress) = watch::channel(ProgressState::default());
        let closed = CancellationToken::new();
        let is_journaled = spec.replay == Replay::FromJournal;
        let lane = Open {
            source: self.source.clone(),
            ended: CancellationToken::new(),
            progress,
            door: is_journaled.then(|| Door::new(closed.clone())),
            wiring: watch::Sender::new(self.wiring()),
            closed: closed.clone(),
        };
        // What leads to no lane must not block the next one.
        let handle = closed.drop_guard();
        let draining = self.claim(&id, &lane).await?;
        let claim = lane.ended.clone().drop_guard();
        let shard = shared.identity.shard_of(id.as_str());
        if spec.replay == Replay::FromSource {
            // It is read from where the sink says, so it has to wait for that; others can take events meanwhile.
            tokio::select! {
                prepared = stack::prepare(&id, shard, &shared.stack) => prepared.map_err(|error| LaneError::Refused {
                    id: id.clone(),
                    reason: error.to_string(),
                })?,
                () = self.revoked.cancelled() => return Err(LaneError::Closed),
            }
        } else if let Some(reason) = stack::lost(&id, shard, &shared.stack).now_or_never() {
            // What is accepted here would go nowhere.
            let reason = reason.to_string();
            return Err(LaneError::Refused { id, reason });
        }

        let checkpoints = shared.checkpoints.clone();
        checkpoints.flush().await;
        let restored = checkpoints
            .restored(&id)
            .map_err(|error| unreadable(&id, &error))?;
        let restored = Restored {
            position: restored.and_then(|stored| stored.position),
        };
        let context = Arc::new(LaneContext {
            id: id.clone(),
            source: self.source.clone(),
            tenant: spec.tenant.clone(),
            replay: spec.replay,
            shard,
        });
        let progress = draining.clone().unwrap_or_else(|| lane.progress.clone());
        let backend: Arc<dyn headgate_sdk::lane::LaneBackend> = match &lane.door {
            Some(door) => {
                if draining.is_none() {
                    let queue = self.spawn_task(&context, &lane, progress_sender, claim.disarm());
                    self.spawn_feeder(&context, &lane, queue, Arc::clone(door));
                }
                let indexer = Arc::clone(&shared.indexer);
                Arc::new(Journaled {
                    id: id.clone(),
                    journal: shared.journal.clone(),
                    entries: StoredEntries::of_journal(id.clone(), checkpoints, indexer),
                    progress: Progress::new(progress.clone()),
                    _closed: handle,
                })
            }
            None => {
                let queue = self.spawn_task(&context, &lane, progress_sender, claim.disarm());
                Arc::new(Pulled::new(
                    StoredEntries::new(id.clone(), checkpoints),
                    Progress::new(progress.clone()),
                    queue,
                    handle,
                ))
            }
        };
        Ok(Lane::new(LaneParts {
            id,
            spec,
            restored,
            capacity: shared.capacity,
            progress: Progress::new(progress),
            revoked: self.revoked.clone(),
            paused: self.paused.clone(),
            backend,
        }))
    }

    fn wiring(&self) -> Wiring {
        Wiring {
            plan: self.plan.clone(),
            broken: self.broken.clone(),
        }
    }

    /// Enters the lane into the list of open ones, after its last task has drained; or takes over what still drains, of a lane of
    /// the journal, and returns its progress.
    async fn claim(
        &self,
        id: &LaneId,
        lane: &Open,
    ) -> Result<Option<watch::Receiver<ProgressState>>, LaneError> {
        loop {
            let last = {
                let mut open = self.factory.0.open.lock();
                match open.get(id) {
                    Some(last) if !last.ended.is_cancelled() => last.clone(),
                    _ => {
                        open.insert(id.clone(), lane.clone());
                        return Ok(None);
                    }
                }
            };
            if tokio::time::timeout(LET_GO_WITHIN, last.closed.cancelled())
                .await
                .is_err()
            {
                let reason =
                    "it is open already, in this source or another of the same name".to_owned();
                return Err(LaneError::Refused {
                    id: id.clone(),
                    reason,
                });
            }
            if let Some(progress) = self.take_over(id, lane) {
                return Ok(Some(progress));
            }
            tokio::select! {
                () = last.ended.cancelled() => {}
                () = self.revoked.cancelled() => return Err(LaneError::Closed),
            }
        }
    }

    /// Goes on with the feeder and the task of a lane that nobody has open.
    fn take_over(&self, id: &LaneId, lane: &Open) -> Option<watch::Receiver<ProgressState>> {
        let mut open = self.factory.0.open.lock();
        let last = open.get_mut(id).filter(|last| last.closed.is_cancelled())?;
        let door = last
            .door
            .clone()
            .filter(|_| self.returns && lane.door.is_some())?;
        // In this order: a task that breaks off tells whoever it finds after it has ended.
        last.wiring.send_replace(self.wiring());
        if last.ended.is_cancelled() || !door.reopen(lane.closed.clone()) {
            return None;
        }
        last.closed = lane.closed.clone();
        Some(last.progress.clone())
    }

    /// Returns where its batches go.
    fn spawn_task(
        &self,
        lane: &Arc<LaneContext>,
        open: &Open,
        progress: watch::Sender<ProgressState>,
        ended: CancellationToken,
    ) -> mpsc::Sender<Submission> {
        let shared = &self.factory.0;
        let (queue, submissions) = mpsc::channel(shared.capacity / Lane::MIN_RESERVATION + 1);
        let priority = self.plan.borrow().priority;
        let abandon = shared.abandon.child_token();
        let stack = StackContext {
            abandon: abandon.clone(),
            ..shared.stack.clone()
        };
        let task = LaneTask {
            lane: Arc::clone(lane),
            submissions,
            plan: self.plan.clone(),
            wiring: open.wiring.subscribe(),
            deliver: stack::deliver(&lane.id, lane.shard, priority, &stack),
            stack: stack.clone(),
            checkpoints: shared.checkpoints.clone(),
            progress,
            abandon: abandon.clone(),
            figures: LaneFigures::new(lane),
        };
        let (lane, wiring) = (Arc::clone(lane), open.wiring.clone());
        let ended = ended.drop_guard();
        shared.tasks.spawn(async move {
            let running = AssertUnwindSafe(task.run()).catch_unwind();
            let reason = tokio::select! {
                run = running => {
                    if run.unwrap_or(false) || abandon.is_cancelled() {
                        return;
                    }
                    tracing::error!(lane = %lane.id, "the lane broke off, which is a bug; its source is started again and goes on from the checkpoint");
                    BROKEN
                }
                reason = stack::lost(&lane.id, lane.shard, &stack) => {
                    tracing::error!(lane = %lane.id, %reason, "another process has the lane: its source lets go of it");
                    reason
                }
            };
            // What waits in its layers is sent again by the lane's next task.
            abandon.cancel();
            drop(ended);
            wiring.borrow().broken.send_replace(reason);
        });
        queue
    }

    fn spawn_feeder(
        &self,
        lane: &Arc<LaneContext>,
        open: &Open,
        queue: mpsc::Sender<Submission>,
        door: Arc<Door>,
    ) {
        let shared = &self.factory.0;
        let feeder = Feeder {
            lane: Arc::clone(lane),
            stack: shared.stack.clone(),
            checkpoints: shared.checkpoints.clone(),
            journal: shared.journal.clone(),
            queue,
            room: Arc::new(Semaphore::new(shared.capacity)),
            capacity: shared.capacity,
            progress: Progress::new(open.progress.clone()),
            indexed: shared.indexer.indexed(),
            door,
            wiring: open.wiring.subscribe(),
            stop: shared.stop.clone(),
            abandon: shared.abandon.clone(),
            fed: 0,
            released: 0,
            next_batch: Instant::now(),
        };
        shared.tasks.spawn(feeder.run());
    }
}

impl LaneOpener for SourceLanes {
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        Box::pin(self.open(spec))
    }
}
