//! A batch inside the pipeline.

use std::sync::Arc;

use headgate_sdk::{DeadLetter, Envelope, LaneId, Replay, Str};

use crate::sink::Checkpoint;

/// What all batches of a lane have in common.
#[derive(Debug, Clone)]
pub struct LaneContext {
    /// The lane.
    pub id: LaneId,
    /// Its source.
    pub source: Str,
    /// Its tenant.
    pub tenant: Str,
    /// Who can send its events again. Pushed events were charged at the door; pulled ones can wait.
    pub replay: Replay,
    /// The shard that it is hashed onto.
    pub shard: u32,
}

impl LaneContext {
    /// Whether its events were pushed by a sender, who was limited at the door.
    #[must_use]
    pub fn is_pushed(&self) -> bool {
        self.replay != Replay::FromSource
    }
}

/// A batch on its way through the stack.
#[derive(Debug)]
pub struct PipelineBatch {
    /// Its lane.
    pub lane: Arc<LaneContext>,
    /// Its delivery number on the lane.
    pub number: u64,
    /// The events still on their way, in order.
    pub events: Vec<Envelope>,
    /// What failed so far: by the source or by a step.
    pub rejected: Vec<DeadLetter>,
    /// The lane's checkpoint after this batch.
    pub checkpoint: Checkpoint,
}

impl PipelineBatch {
    /// The first batch of a lane, with these events and nothing else.
    #[must_use]
    pub fn new(lane: Arc<LaneContext>, events: Vec<Envelope>) -> Self {
        Self {
            lane,
            number: 0,
            events,
            rejected: Vec::new(),
            checkpoint: Checkpoint::default(),
        }
    }

    /// Keeps the events for which `keep` is true; returns how many were dropped.
    pub fn retain(&mut self, mut keep: impl FnMut(&Envelope) -> bool) -> usize {
        let before = self.events.len();
        self.events.retain(|event| keep(event));
        before - self.events.len()
    }

    /// Moves the events for which `fails` gives (reason, message) to the rejected records of `step`. Asks once per event, in order.
    pub fn reject(
        &mut self,
        step: &Str,
        mut fails: impl FnMut(&Envelope) -> Option<(Str, String)>,
    ) {
        let mut verdicts = Vec::new();
        let failing: Vec<Envelope> = self
            .events
            .extract_if(.., |event| {
                fails(event).map(|verdict| verdicts.push(verdict)).is_some()
            })
            .collect();
        for (event, (reason, message)) in failing.into_iter().zip(verdicts) {
            self.rejected
                .push(DeadLetter::new(event, step.clone(), reason, message));
        }
    }
}

/// A stack that cannot go on; the lane stops and its batches stay undurable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PipelineError {
    /// The gateway shuts down.
    #[error("the pipeline is closed")]
    Closed,
}
