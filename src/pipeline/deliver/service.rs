//! Splits a routed batch among sinks.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use headgate_sdk::{DeadLetter, Str};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

use crate::{
    pipeline::{
        LayerStates, PipelineError,
        dead_letter::DeadLetterWriter,
        retry::UNAVAILABLE,
        route::{RoutedBatch, RoutedRecord},
    },
    sink::{Accepted, Keeps, LaneSink, Notes, Outcome, Record, SinkBatch},
};

/// A lane's way into one sink, with its layers.
pub struct LaneOutlet {
    /// The sink's name.
    pub sink: Str,
    /// The stack in front of the sink.
    pub service: LaneSink,
    /// Whether the lane's progress waits for it.
    pub required: bool,
    /// What it keeps besides events.
    pub keeps: Keeps,
    /// The weight of the largest event that it can write.
    pub max_event_bytes: usize,
    /// Room for batches that nobody waits for.
    pub unsettled: Arc<Semaphore>,
}

/// Batches of a lane that a sink which nobody waits for may owe an outcome: somewhat more than its queue takes. The others are those whose
/// dead letters are being written; where there is no room for these, the lane waits.
pub const UNSETTLED_BATCHES: usize = 384;
/// How long dead letters may take to be written when the gateway gives up what is not durable.
const LAST_LETTERS: Duration = Duration::from_secs(5);

/// The end of a lane's pipeline. Clones share the ways into the sinks, so that a pipeline can be swapped while batches are under
/// way; calls are made one after the other.
#[derive(Clone)]
pub struct Deliver {
    inner: Arc<Mutex<Outlets>>,
    carries_checkpoint: bool,
}

struct Outlets {
    /// By the sinks' indices.
    outlets: Vec<LaneOutlet>,
    /// The one whose stored checkpoint decides where the lane resumes, if it is the only one that does.
    home: Option<usize>,
    aside: Aside,
}

/// What is done beside a lane.
#[derive(Clone)]
struct Aside {
    dead_letters: Arc<dyn DeadLetterWriter>,
    states: LayerStates,
    tasks: TaskTracker,
    abandon: CancellationToken,
}

impl Deliver {
    /// Delivers to `outlets`, in the order of the sinks' indices; outcomes that nobody waits for are followed on `tasks`.
    #[must_use]
    pub fn new(
        outlets: Vec<LaneOutlet>,
        dead_letters: Arc<dyn DeadLetterWriter>,
        states: LayerStates,
        tasks: TaskTracker,
        abandon: CancellationToken,
    ) -> Self {
        let mut required = (0..outlets.len()).filter(|index| outlets[*index].required);
        let home = match (required.next(), required.next()) {
            (Some(only), None) if outlets[only].keeps.checkpoints => Some(only),
            _ => None,
        };
        let outlets = Outlets {
            outlets,
            home,
            aside: Aside {
                dead_letters,
                states,
                tasks,
                abandon,
            },
        };
        Self {
            inner: Arc::new(Mutex::new(outlets)),
            carries_checkpoint: home.is_some(),
        }
    }

    /// Whether a sink stores the lane's checkpoint with each batch, so that nobody else has to.
    #[must_use]
    pub fn carries_checkpoint(&self) -> bool {
        self.carries_checkpoint
    }
}

impl Service<RoutedBatch> for Deliver {
    type Response = Accepted;
    type Error = PipelineError;
    type Future = BoxFuture<'static, Result<Accepted, PipelineError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PipelineError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: RoutedBatch) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.lock_owned().await.deliver(batch).await })
    }
}

impl Outlets {
    async fn deliver(&mut self, mut batch: RoutedBatch) -> Result<Accepted, PipelineError> {
        self.refuse_too_large(&mut batch);
        if !batch.rejected.is_empty() {
            self.aside.states.dead_lettered(&batch.rejected);
        }
        let keeper = self
            .home
            .filter(|home| self.outlets[*home].keeps.dead_letters);
        if keeper.is_none() && !batch.rejected.is_empty() {
            self.aside
                .dead_letters
                .write(std::mem::take(&mut batch.rejected))
                .await;
        }
        let mut pending = Vec::new();
        for index in 0..self.outlets.len() {
            let Some(part) = self.part(index, keeper, &mut batch) else {
                continue;
            };
            let outlet = &mut self.outlets[index];
            let service = outlet
                .service
                .ready()
                .await
                .map_err(|_| PipelineError::Closed)?;
            let part = Arc::new(part);
            let accepted = service
                .call(Arc::clone(&part))
                .await
                .map_err(|_| PipelineError::Closed)?;
            if outlet.required {
                pending.push(accepted);
                continue;
            }
            let settling = Arc::clone(&outlet.unsettled).acquire_owned().await;
            let follow = self
                .aside
                .clone()
                .follow(outlet.sink.clone(), accepted, part);
            self.aside.tasks.spawn(async move {
                follow.await;
                drop(settling);
            });
        }
        Ok(match pending.len() {
            0 => Accepted::known(Outcome::Durable),
            1 => pending.remove(0),
            _ => Accepted::future(async move { join(join_all(pending).await) }),
        })
    }

    /// Makes dead letters of what a sink can never write.
    fn refuse_too_large(&self, batch: &mut RoutedBatch) {
        for (index, outlet) in self.outlets.iter().enumerate() {
            let most = outlet.max_event_bytes;
            if most == usize::MAX {
                continue;
            }
            for routed in &mut batch.records {
                let weight = routed.record.envelope.weight();
                if weight > most && routed.sinks.contains(index) {
                    routed.sinks = routed.sinks.without(index);
                    batch.rejected.push(DeadLetter::new(
                        routed.record.envelope.clone(),
                        format!("sink/{}", outlet.sink),
                        "too_large",
                        format!(
                            "the event has {weight} bytes, and `{}` takes at most {most}",
                            outlet.sink
                        ),
                    ));
                }
            }
        }
    }

    /// What the sink of `index` gets of the batch, `None` if nothing.
    fn part(
        &self,
        index: usize,
        keeper: Option<usize>,
        batch: &mut RoutedBatch,
    ) -> Option<SinkBatch> {
        let records = if index + 1 == self.outlets.len() {
            let all = std::mem::take(&mut batch.records);
            all.into_iter()
                .filter(|routed| routed.sinks.contains(index))
                .map(|routed| routed.record)
                .collect()
        } else {
            let wanted = |routed: &&RoutedRecord| routed.sinks.contains(index);
            batch
                .records
                .iter()
                .filter(wanted)
                .map(|routed| routed.record.clone())
                .collect()
        };
        let part = SinkBatch {
            lane: batch.lane.id.clone(),
            number: batch.number,
            records,
            dead_letters: if keeper == Some(index) {
                std::mem::take(&mut batch.rejected)
            } else {
                Vec::new()
            },
            checkpoint: (self.home == Some(index)).then(|| std::mem::take(&mut batch.checkpoint)),
            landed: Notes::default(),
        };
        let moves_checkpoint = part
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| !checkpoint.is_empty());
        (!part.records.is_empty() || !part.dead_letters.is_empty() || moves_checkpoint)
            .then_some(part)
    }
}

impl Aside {
    /// Waits for the outcome of a batch that nobody else waits for. What the sink does not have when the gateway, or the lane, is given up
    /// becomes dead letters.
    async fn follow(self, sink: Str, accepted: Accepted, batch: Arc<SinkBatch>) {
        let settle = async {
            if !matches!(accepted.await, Outcome::Retriable(_)) {
                return;
            }
            let step = Str::from(format!("sink/{sink}"));
            let letter = |record: &Record| {
                DeadLetter::new(
                    record.envelope.clone(),
                    step.clone(),
                    UNAVAILABLE,
                    "the sink had not taken it when the gateway stopped: retry these dead letters when it is back, or give it `buffer: log`",
                )
            };
            let letters: Vec<DeadLetter> = batch.records.iter().map(letter).collect();
            self.states.dead_lettered(&letters);
            self.dead_letters.write(letters).await;
        };
        let too_late = async {
            self.abandon.cancelled().await;
            tokio::time::sleep(LAST_LETTERS).await;
        };
        tokio::select! {
            () = settle => {}
            () = too_late => {
                tracing::error!(%sink, events = batch.records.len(), "an optional sink missed events, and there is no room for their dead letters");
            }
        }
    }
}

/// All durable, or the first that is not. Behind the layers in front of each sink, nothing but durable comes.
fn join(outcomes: Vec<Outcome>) -> Outcome {
    outcomes
        .into_iter()
        .find(|outcome| !matches!(outcome, Outcome::Durable))
        .unwrap_or(Outcome::Durable)
}
