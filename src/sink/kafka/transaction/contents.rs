//! What is in one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use headgate_sdk::{DeadLetter, LaneId, Str};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    burial::Letters,
    ledger::{Place, Unwritten},
};
use crate::sink::{
    Checkpoint, Landed, Outcome, Rejection, SinkBatch, SinkError,
    kafka::{
        error::{Meaning, explain},
        health::Health,
    },
};

/// A batch and whoever waits for its outcome.
pub(super) struct Job {
    pub(super) batch: Arc<SinkBatch>,
    /// Records whose topics are not there.
    pub(super) refused: Vec<Rejection>,
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Job {
    pub(super) fn fail(self, error: &SinkError) {
        let _nobody_waits = self.reply.send(Outcome::Retriable(error.clone()));
    }
}

/// The batches of a transaction, in order.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) jobs: Vec<Job>,
    /// What goes on as dead letters.
    rejected: BTreeMap<Place, Rejection>,
    /// Records that were refused together with others: each is written alone.
    suspects: BTreeSet<Place>,
    /// Whether committing has begun, so that nobody knows the end before the broker says it.
    pub(super) committing: bool,
    /// Where the events of each batch are, from when committing began.
    pub(super) landed: Vec<Landed>,
}

/// What follows from records that were not written.
pub(super) enum Verdict {
    /// Write everything again, the suspects alone.
    Sift,
    /// Give it all back; says why.
    Failed {
        error: SinkError,
        /// The topic is not what it was.
        forget: Option<Str>,
        /// The topic that this user may not write to.
        refused: Option<Str>,
    },
}

impl Transaction {
    /// Adds a batch; returns its index.
    pub(super) fn push(&mut self, mut job: Job) -> usize {
        let index = self.jobs.len();
        for rejection in std::mem::take(&mut job.refused) {
            let record = rejection.index;
            let place = Place { job: index, record };
            self.rejected.insert(place, rejection);
        }
        self.jobs.push(job);
        index
    }

    pub(super) fn is_rejected(&self, place: Place) -> bool {
        self.rejected.contains_key(&place)
    }

    pub(super) fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    pub(super) fn lanes_of_rejected(&self) -> BTreeSet<LaneId> {
        let lane = |place: &Place| self.jobs[place.job].batch.lane.clone();
        self.rejected.keys().map(lane).collect()
    }

    pub(super) fn is_suspect(&self, place: Place) -> bool {
        self.suspects.contains(&place)
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The record can never be written.
    pub(super) fn reject(&mut self, place: Place, code: Code) {
        let topic = &self.jobs[place.job].batch.records[place.record].topic;
        let reason = Str::new_static(Meaning::of(code).reason());
        let rejection = Rejection {
            index: place.record,
            reason,
            message: explain(code, topic).into(),
        };
        self.rejected.insert(place, rejection);
    }

    /// What to do about records that were not written. A broker refuses all that came in one request for what one record is.
    pub(super) fn judge(&mut self, unwritten: Vec<Unwritten>) -> Verdict {
        if unwritten.is_empty() {
            let error = SinkError::new("Kafka asks to abort the transaction; it is written again");
            return Verdict::Failed {
                error,
                forget: None,
                refused: None,
            };
        }
        for Unwritten { place, code } in &unwritten {
            let topic = place.map_or("the checkpoints", |place| {
                self.jobs[place.job].batch.records[place.record]
                    .topic
                    .as_str()
            });
            match (Meaning::of(*code), place) {
                (Meaning::Innocent, _) => {}
                (meaning, Some(_)) if meaning.is_its_own() => {}
                (meaning, _) => {
                    let forget = (meaning == Meaning::UnknownTopic).then(|| Str::new(topic));
                    let refused = *code == Code::TopicAuthorizationFailed;
                    return Verdict::Failed {
                        error: SinkError::new(explain(*code, topic)),
                        forget,
                        refused: refused.then(|| Str::new(topic)),
                    };
                }
            }
        }
        let suspects = unwritten.iter().filter_map(|unwritten| unwritten.place);
        self.suspects.extend(suspects);
        Verdict::Sift
    }

    /// The checkpoint of each lane after this transaction.
    pub(super) fn checkpoints(&self) -> BTreeMap<LaneId, Checkpoint> {
        let mut lanes: BTreeMap<LaneId, Checkpoint> = BTreeMap::new();
        for job in &self.jobs {
            if let Some(checkpoint) = &job.batch.checkpoint {
                let lane = lanes.entry(job.batch.lane.clone()).or_default();
                lane.extend(checkpoint.clone());
            }
        }
        lanes
    }

    /// The dead letters of `step` that have to be durable before this is committed, batch by batch.
    pub(super) fn letters(&self, step: &Str) -> Vec<Letters> {
        let mut all: Vec<(usize, Letters)> = Vec::new();
        for (place, rejection) in &self.rejected {
            let batch = &self.jobs[place.job].batch;
            if all.last().is_none_or(|(job, _)| *job != place.job) {
                let letters = Letters {
                    batch: Arc::clone(batch),
                    records: Vec::new(),
                    letters: Vec::new(),
                };
                all.push((place.job, letters));
            }
            let (_, of_batch) = all.last_mut().expect("one was pushed if none was there");
            of_batch.records.push(place.record);
            of_batch.letters.push(DeadLetter::new(
                batch.records[place.record].envelope.clone(),
                step.clone(),
                rejection.reason.clone(),
                rejection.message.clone(),
            ));
        }
        all.into_iter().map(|(_, letters)| letters).collect()
    }

    pub(super) fn events(&self) -> usize {
        let events: usize = self.jobs.iter().map(|job| job.batch.records.len()).sum();
        events - self.rejected.len()
    }

    /// It is committed: everybody hears it.
    pub(super) fn settle(mut self, health: &Health) {
        for (job, landed) in self.jobs.iter().zip(&self.landed) {
            job.batch.landed.add(landed);
        }
        for (index, job) in self.jobs.into_iter().enumerate() {
            let place = |record| Place { job: index, record };
            let mut later = self.rejected.split_off(&place(0));
            let after = later.split_off(&Place {
                job: index + 1,
                record: 0,
            });
            self.rejected = after;
            let rejections: Vec<_> = later.into_values().collect();
            health.sent(&job.batch, &rejections);
            let outcome = if rejections.is_empty() {
                Outcome::Durable
            } else {
                Outcome::Rejected(rejections)
            };
            let _nobody_waits = job.reply.send(outcome);
        }
    }
}
