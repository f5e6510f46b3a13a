//! A shard's own thread: takes its seat, then writes one transaction after the other.
//!
//! Invariant: after a batch failed, nothing behind it on its lane is written before it is sent again (go-back-N). So a lane's
//! checkpoint never runs ahead of its events.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use headgate_sdk::Str;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    barriers::Barriers,
    burial::Burials,
    client::{Client, Trouble},
    contents::{Job, Transaction},
    gathering::{Gathering, Limits, Next},
    idle::LOOK_EVERY,
    ledger::Place,
    member::{Claim, Member, Owner, Seat},
    shard::ShardState,
};
use crate::{
    runtime::Commit,
    sink::{
        SinkError,
        kafka::{
            encode::Encoder,
            error::{Meaning, explain},
            sink::Shared,
        },
    },
};

/// The pause before a call is made again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) member: Member,
    pub(super) seat: Seat,
    /// The transactional id.
    pub(super) id: Str,
    pub(super) claim: Claim,
    /// Nothing before this offset of the topic of checkpoints is a claim of somebody else that is later than ours.
    pub(super) seen: i64,
    pub(super) state: watch::Sender<ShardState>,
    /// Gives up what is under way.
    pub(super) closing: CancellationToken,
    pub(super) runtime: Handle,
    pub(super) encoder: Encoder,
    pub(super) limits: Limits,
    /// `None` is the last that comes.
    pub(super) inbox: Receiver<Option<Job>>,
    pub(super) ended: bool,
    /// Taken from the inbox for a later transaction; before everything in the inbox.
    pub(super) deferred: VecDeque<Job>,
    pub(super) barriers: Barriers,
    pub(super) burials: Burials,
    /// A transaction of which nobody knows whether it was committed, with the offset of its last checkpoint.
    pub(super) unknown: Option<(Transaction, i64)>,
}

/// Why something was not done.
pub(super) enum Stop {
    /// The transaction has to be aborted.
    Aborted(SinkError),
    /// The same, because dead letters cannot be stored: their lanes wait, all others go on.
    Unburied(SinkError),
    /// The producer is of no more use.
    Lost { message: String, fenced: bool },
    /// Nobody can have the seat until a person acts.
    Held(String),
    /// Somebody else has it.
    Taken(String),
    /// The sink is closed.
    Closing,
}

/// What comes from the lanes.
enum Taken {
    Job(Job),
    Nothing,
    Closed,
}

impl Worker {
    /// Runs until the lanes are gone, or the sink is closed.
    pub(super) fn run(mut self) {
        let mut lost = None;
        loop {
            let client = match self.take_seat(lost.take()) {
                Ok(client) => client,
                Err(Stop::Held(reason)) => return self.hold(&reason, false),
                Err(Stop::Taken(reason)) => return self.hold(&reason, true),
                Err(_) => break,
            };
            self.state.send_replace(ShardState::Ready);
            match self.serve(&client) {
                Err(Stop::Lost { message, fenced }) => {
                    tracing::warn!(id = %self.id, message, fenced, "the transactional producer is of no more use");
                    self.state.send_replace(ShardState::Taking);
                    lost = Some(fenced);
                }
                Ok(()) | Err(_) => break,
            }
        }
        self.state.send_replace(ShardState::Closed);
    }

    /// Writes transactions until no more batches can come.
    fn serve(&mut self, client: &Client) -> Result<(), Stop> {
        loop {
            match self.take(Some(Instant::now() + LOOK_EVERY)) {
                Taken::Job(first) => self.transact(client, first)?,
                Taken::Nothing => self.look_for_claims(client)?,
                Taken::Closed => return Ok(()),
            }
        }
    }

    /// Writes one transaction that begins with `first`, and tells everybody in it.
    fn transact(&mut self, client: &Client, first: Job) -> Result<(), Stop> {
        let mut transaction = Transaction::default();
        let done = self
            .fill(client, &mut transaction, first)
            .and_then(|()| self.finish(client, &mut transaction));
        match done {
            Ok(offset) => {
                self.committed_at(offset);
                self.index(&transaction, offset);
                self.figures("committed", &transaction);
                if transaction.has_rejected() {
                    self.shared.health.status().clear(&self.unburied());
                }
                transaction.settle(&self.shared.health);
                self.shared.health.well();
                Ok(())
            }
            Err(Stop::Aborted(error)) => {
                let error = self.denied(client).unwrap_or(error);
                let aborted = self.abort(client);
                self.shared.health.troubled(error.to_string());
                self.figures("aborted", &transaction);
                self.fail(transaction, &error);
                aborted
            }
            Err(Stop::Unburied(error)) => {
                let aborted = self.abort(client);
                let status = self.shared.health.status();
                status.warn(self.unburied(), error.to_string());
                self.figures("aborted", &transaction);
                self.give_back(transaction, &error);
                aborted
            }
            Err(stop) => {
                let offset = client.ledger().last_of_ours();
                match (&stop, offset) {
                    (Stop::Lost { .. }, Some(offset)) if transaction.committing => {
                        self.unknown = Some((transaction, offset));
                    }
                    (Stop::Lost { message, .. }, _) => {
                        let error = SinkError::new(format!("the producer was lost: {message}"));
                        self.fail(transaction, &error);
                    }
                    _ => self.fail(transaction, &SinkError::new("the sink is closed")),
                }
                Err(stop)
            }
        }
    }

    /// Begins, and hands over batches until it is time to commit.
    fn fill(
        &mut self,
        client: &Client,
        transaction: &mut Transaction,
        first: Job,
    ) -> Result<(), Stop> {
        let mut gathering = Gathering::new(self.limits.clone(), Instant::now());
        if let Err(stop) = self.begin(client) {
            transaction.push(first);
            return Err(stop);
        }
        let mut next = Some(first);
        loop {
            if let Some(job) = next.take() {
                let unfinished = self.is_unfinished(&job);
                gathering.add(&job.batch.lane, job.batch.weight(), unfinished);
                let index = transaction.push(job);
                self.write(client, transaction, index)?;
            }
            if client.ledger().has_failed() {
                return Ok(());
            }
            let taken = match gathering.next(Instant::now()) {
                Next::Commit => return Ok(()),
                Next::Any(until) => self.take(Some(until)),
                Next::OfOpen(until) => match self.take_open(&mut gathering, until) {
                    Taken::Job(job) => Taken::Job(job),
                    Taken::Nothing | Taken::Closed => return Ok(()),
                },
            };
            match taken {
                Taken::Job(job) => next = Some(job),
                Taken::Nothing => {}
                Taken::Closed => return Ok(()),
            }
        }
    }

    /// Whether a restart must not resume behind the batch, or the source would rather have it together with what follows.
    fn is_unfinished(&self, job: &Job) -> bool {
        let Some(checkpoint) = &job.batch.checkpoint else {
            return false;
        };
        let no_place = checkpoint.position.is_none() && checkpoint.entries.is_empty();
        checkpoint.unfinished || (no_place && self.seat.owner == Owner::Group)
    }

    /// Hands over the events of a batch.
    pub(super) fn write(
        &mut self,
        client: &Client,
        transaction: &mut Transaction,
        index: usize,
    ) -> Result<(), Stop> {
        let batch = Arc::clone(&transaction.jobs[index].batch);
        for record in 0..batch.records.len() {
            let place = Place { job: index, record };
            if !transaction.is_rejected(place) && !transaction.is_suspect(place) {
                self.write_one(client, transaction, place)?;
            }
        }
        Ok(())
    }

    /// Hands over one event. What librdkafka refuses to take for what it is becomes a dead letter.
    pub(super) fn write_one(
        &mut self,
        client: &Client,
        transaction: &mut Transaction,
        place: Place,
    ) -> Result<(), Stop> {
        let batch = Arc::clone(&transaction.jobs[place.job].batch);
        let record = &batch.records[place.record];
        let Err(code) = client.send(record, place, &mut self.encoder) else {
            return Ok(());
        };
        match Meaning::of(code) {
            meaning if meaning.is_its_own() => {
                transaction.reject(place, code);
                Ok(())
            }
            meaning => {
                if meaning == Meaning::UnknownTopic {
                    self.shared.topics.forget(&record.topic);
                }
                if let Some(Trouble::Fatal { message, fenced }) = client.fatal() {
                    return Err(Stop::Lost { message, fenced });
                }
                // Nothing is taken any more once a record was not written: then that one's report says why.
                self.drain(client)?;
                if client.ledger().has_failed() {
                    return Ok(());
                }
                Err(Stop::Aborted(SinkError::new(explain(code, &record.topic))))
            }
        }
    }

    /// The index follows what is committed.
    fn index(&self, transaction: &Transaction, offset: Option<i64>) {
        let mut lanes = transaction.checkpoints().into_iter().peekable();
        while let Some((lane, checkpoint)) = lanes.next() {
            let is_last = lanes.peek().is_none();
            let mark = offset.filter(|_| is_last).map(|offset| self.mark(offset));
            self.member.checkpoints.commit_blocking(Commit {
                lane,
                checkpoint,
                mark,
                done: None,
            });
        }
    }

    /// Under which name the index keeps how far it has followed the topic.
    pub(super) fn mark_name(&self) -> Str {
        format!("{}/{}", self.shared.health.name(), self.id).into()
    }

    pub(super) fn mark(&self, offset: i64) -> (Str, Bytes) {
        let bytes = Bytes::copy_from_slice(&offset.to_le_bytes());
        (self.mark_name(), bytes)
    }

    /// Gives everything back: it comes again from the first batch of each lane.
    pub(super) fn fail(&mut self, transaction: Transaction, error: &SinkError) {
        for job in transaction.jobs {
            self.barriers.raise(&job.batch.lane, job.batch.number);
            job.fail(error);
        }
    }

    /// Under which key the sink shows that lanes wait for their dead letters.
    fn unburied(&self) -> String {
        format!("{}: dead letters", self.id)
    }

    /// Gives back the lanes that have dead letters; what others had in the transaction begins the next one.
    fn give_back(&mut self, transaction: Transaction, error: &SinkError) {
        let lanes = transaction.lanes_of_rejected();
        for job in transaction.jobs.into_iter().rev() {
            if lanes.contains(&job.batch.lane) {
                self.barriers.raise(&job.batch.lane, job.batch.number);
                job.fail(error);
            } else {
                self.deferred.push_front(job);
            }
        }
    }

    /// The next batch: one that was put off, or a new one.
    fn take(&mut self, until: Option<Instant>) -> Taken {
        loop {
            let taken = match self.deferred.pop_front() {
                Some(job) => Taken::Job(job),
                None => self.receive(until),
            };
            match taken {
                Taken::Job(job) if self.admits(&job) => return Taken::Job(job),
                Taken::Job(job) => job.fail(&behind()),
                other => return other,
            }
        }
    }

    /// The next batch of a lane that is inside a transaction of its source; others are put off.
    fn take_open(&mut self, gathering: &mut Gathering, until: Instant) -> Taken {
        let waiting = |job: &Job| gathering.is_open(&job.batch.lane);
        if let Some(index) = self.deferred.iter().position(waiting)
            && let Some(job) = self.deferred.remove(index)
        {
            return Taken::Job(job);
        }
        loop {
            let job = match self.receive(Some(until)) {
                Taken::Job(job) => job,
                other => return other,
            };
            if !self.admits(&job) {
                job.fail(&behind());
            } else if gathering.is_open(&job.batch.lane) {
                return Taken::Job(job);
            } else {
                gathering.defer(job.batch.weight());
                self.deferred.push_back(job);
                if gathering.next(Instant::now()) == Next::Commit {
                    return Taken::Nothing;
                }
            }
        }
    }

    fn admits(&mut self, job: &Job) -> bool {
        self.barriers.admit(&job.batch.lane, job.batch.number)
    }

    fn receive(&mut self, until: Option<Instant>) -> Taken {
        if self.ended {
            return Taken::Closed;
        }
        let received = match until {
            None => self
                .inbox
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => match self.inbox.try_recv() {
                Err(TryRecvError::Empty) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.inbox.recv_timeout(left)
                }
                Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
                Ok(job) => Ok(job),
            },
        };
        match received {
            Ok(Some(job)) => Taken::Job(job),
            Err(RecvTimeoutError::Timeout) => Taken::Nothing,
            Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Taken::Closed
            }
        }
    }

    /// Answers that nothing goes on here, until the lanes are gone.
    fn hold(&mut self, reason: &str, by_another: bool) {
        tracing::error!(id = %self.id, reason, "a shard's lanes are stopped");
        let error = SinkError::new(reason);
        if let Some((transaction, _)) = self.unknown.take() {
            self.fail(transaction, &error);
        }
        self.shared.health.held(&self.id, reason);
        let reason = reason.into();
        self.state
            .send_replace(ShardState::Held { reason, by_another });
        for job in self.deferred.drain(..) {
            job.fail(&error);
        }
        while let Taken::Job(job) = self.receive(None) {
            job.fail(&error);
        }
        self.state.send_replace(ShardState::Closed);
    }

    fn figures(&self, end: &'static str, transaction: &Transaction) {
        let labels = [
            ("sink", self.shared.health.name().to_string()),
            ("result", end.to_owned()),
        ];
        metrics::counter!("headgate_kafka_transactions_total", &labels).increment(1);
        metrics::histogram!("headgate_kafka_transaction_events", &labels)
            .record(transaction.events() as f64);
    }
}

fn behind() -> SinkError {
    SinkError::new("an earlier batch of the lane was not written")
}
