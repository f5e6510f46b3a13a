//! The task of one lane.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use headgate_sdk::{Batch, lane::ProgressState};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::{
    door::Wiring,
    tracker::{AckTracker, Prefix},
};
use crate::{
    pipeline::{
        LaneContext, PipelineBatch, PipelineError, PipelineService,
        deliver::Deliver,
        stack::{PipelinePlan, StackContext},
    },
    runtime::{Checkpoints, Commit},
    sink::{Accepted, Checkpoint, Outcome},
};

/// A batch on its way from a source, or from the journal, to the lane's task.
#[derive(Debug)]
pub(super) struct Submission {
    /// Its delivery number; grows.
    pub(super) number: u64,
    /// What was sent.
    pub(super) batch: Batch,
    /// Its room on the lane.
    pub(super) room: OwnedSemaphorePermit,
}

/// Runs a lane until no more batches can come and all are durable.
pub(super) struct LaneTask {
    pub(super) lane: Arc<LaneContext>,
    pub(super) submissions: mpsc::Receiver<Submission>,
    pub(super) plan: watch::Receiver<Arc<PipelinePlan>>,
    /// Another run of the source may have the lane now, with another pipeline.
    pub(super) wiring: watch::Receiver<Wiring>,
    pub(super) deliver: Deliver,
    pub(super) stack: StackContext,
    pub(super) checkpoints: Checkpoints,
    pub(super) progress: watch::Sender<ProgressState>,
    /// Gives up on what is not durable: the deadline of a shutdown has passed.
    pub(super) abandon: CancellationToken,
    pub(super) figures: LaneFigures,
}

/// Cached metric handles of a lane's source.
pub(super) struct LaneFigures {
    pub(super) events: metrics::Counter,
    pub(super) bytes: metrics::Counter,
    pub(super) rejected: metrics::Counter,
    pub(super) undurable: metrics::Gauge,
}

impl LaneFigures {
    pub(super) fn new(lane: &LaneContext) -> Self {
        let labels = [
            ("source", lane.source.to_string()),
            ("tenant", lane.tenant.to_string()),
        ];
        Self {
            events: metrics::counter!("headgate_source_received_events_total", &labels),
            bytes: metrics::counter!("headgate_source_received_bytes_total", &labels),
            rejected: metrics::counter!("headgate_source_rejected_records_total", &labels),
            undurable: metrics::gauge!("headgate_lane_undurable_batches", "lane" => lane.id.to_string()),
        }
    }

    fn received(&self, batch: &Batch) {
        self.events.increment(batch.events.len() as u64);
        self.bytes.increment(
            batch
                .events
                .iter()
                .map(|event| event.data.len() as u64)
                .sum(),
        );
        if !batch.rejected.is_empty() {
            self.rejected.increment(batch.rejected.len() as u64);
        }
    }
}

/// The pipeline under way with one batch; gives the stack back with the answer.
type Call = BoxFuture<'static, (PipelineService, u64, Result<Accepted, PipelineError>)>;

enum Next {
    Outcome(u64, Outcome),
    Answer(PipelineService, u64, Result<Accepted, PipelineError>),
    Submission(Option<Submission>),
}

impl LaneTask {
    /// Runs to the end; tells whether everything that was sent is durable.
    pub(super) async fn run(self) -> bool {
        let abandon = self.abandon.clone();
        tokio::select! {
            drained = self.drain() => drained,
            () = abandon.cancelled() => false,
        }
    }

    async fn drain(mut self) -> bool {
        let mut tracker = AckTracker::default();
        let mut outcomes: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>> =
            FuturesUnordered::new();
        let mut idle = Some(self.build());
        let mut call: Option<Call> = None;
        let mut open = true;
        while open || call.is_some() || !outcomes.is_empty() {
            let next = tokio::select! {
                biased;
                Some((serial, outcome)) = outcomes.next(), if !outcomes.is_empty() => Next::Outcome(serial, outcome),
                (stack, serial, answer) = async { call.as_mut().expect("guarded").await }, if call.is_some() =>
                    Next::Answer(stack, serial, answer),
                submission = self.submissions.recv(), if open && call.is_none() => Next::Submission(submission),
            };
            match next {
                Next::Outcome(serial, outcome) => {
                    if !matches!(outcome, Outcome::Durable) {
                        tracing::error!(lane = %self.lane.id, ?outcome, "a batch came back undurable: the lane stops");
                        return false;
                    }
                    if let Some(prefix) = tracker.durable(serial) {
                        self.store(prefix).await;
                    }
                }
                Next::Answer(stack, serial, Ok(accepted)) => {
                    call = None;
                    idle = Some(stack);
                    outcomes.push(accepted.map(move |outcome| (serial, outcome)).boxed());
                }
                Next::Answer(_, _, Err(PipelineError::Closed)) => return false,
                Next::Submission(None) => open = false,
                Next::Submission(Some(submission)) => {
                    if self.wiring.has_changed().unwrap_or(false) {
                        self.plan = self.wiring.borrow_and_update().plan.clone();
                        self.plan.mark_changed();
                    }
                    let stack = if self.plan.has_changed().unwrap_or(false) {
                        None
                    } else {
                        idle.take()
                    };
                    let stack = stack.unwrap_or_else(|| self.build());
                    call = Some(self.call(stack, submission, &mut tracker));
                }
            }
            self.figures.undurable.set(tracker.len() as f64);
        }
        true
    }

    /// The stack of the present plan; the ways into the sinks stay the same.
    fn build(&mut self) -> PipelineService {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        plan.build(self.deliver.clone(), &self.stack)
    }

    fn call(
        &self,
        mut stack: PipelineService,
        submission: Submission,
        tracker: &mut AckTracker,
    ) -> Call {
        let Submission {
            number,
            batch,
            room,
        } = submission;
        self.figures.received(&batch);
        let Batch {
            events,
            rejected,
            position,
            entries,
            unfinished,
        } = batch;
        let checkpoint = Checkpoint {
            position,
            entries,
            unfinished,
        };
        let tracked = if self.deliver.carries_checkpoint() {
            // A sink stores it with the batch; only the position is needed here, to tell the source.
            Checkpoint {
                position: checkpoint.position.clone(),
                ..Checkpoint::default()
            }
        } else {
            checkpoint.clone()
        };
        let serial = tracker.push(number, tracked, Some(room));
        let lane = Arc::clone(&self.lane);
        let batch = PipelineBatch {
            lane,
            number,
            events,
            rejected,
            checkpoint,
        };
        async move {
            let answer = match stack.ready().await {
                Ok(ready) => ready.call(batch).await,
                Err(error) => Err(error),
            };
            (stack, serial, answer)
        }
        .boxed()
    }

    /// Stores a durable prefix's checkpoint, and then tells the source.
    async fn store(&mut self, Prefix { number, checkpoint }: Prefix) {
        crate::failpoint::reach("checkpoint-begun");
        let progress = self.progress.clone();
        let position = checkpoint.position.clone();
        let tell = move || {
            progress.send_modify(|state| {
                state.durable = number;
                if position.is_some() {
                    state.position = position;
                }
            });
            crate::failpoint::reach("source-told");
        };
        if self.deliver.carries_checkpoint() {
            return tell();
        }
        let lane = self.lane.id.clone();
        self.checkpoints
            .commit(Commit {
                lane,
                checkpoint,
                mark: None,
                done: Some(Box::new(tell)),
            })
            .await;
    }
}
