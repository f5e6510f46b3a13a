//! The end of a transaction: checkpoints, draining, sifting, commit or abort.

use std::{sync::Arc, thread, time::Instant};

use headgate_sdk::Str;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{
    client::{Client, Trouble},
    contents::{Transaction, Verdict},
    ledger::{Place, Unwritten},
    record::{entry_key, position_key},
    worker::{AGAIN, Stop, Worker},
};
use crate::sink::{
    SinkError,
    kafka::error::{Meaning, explain},
};

/// How often a transaction with suspects is tried again after a failure that is not theirs.
const SIFTINGS: u32 = 3;

const UNBURIED: &str = "dead letters cannot be stored, and the lane of these waits: retry or discard some \
                        (`headgate dead-letters`), raise `limits.dead_letters`, or make room on the disk of data_dir";

impl Worker {
    /// Commits what was handed over, with the lanes' checkpoints. Returns the offset of the last of those.
    pub(super) fn finish(
        &mut self,
        client: &Client,
        transaction: &mut Transaction,
    ) -> Result<Option<i64>, Stop> {
        crate::failpoint::reach("transaction-filled");
        let mut failures = 0;
        loop {
            if !client.ledger().has_failed()
                && let Err(stop) = self.write_checkpoints(client, transaction)
            {
                // Nothing is taken any more once a record was not written: then that one's report says why.
                self.drain(client)?;
                if !client.ledger().has_failed() {
                    return Err(stop);
                }
            }
            self.drain(client)?;
            if !client.ledger().has_failed() {
                break;
            }
            // Whatever is to be reported at once.
            client.drain();
            let unwritten = client.ledger().take_unwritten();
            if let Some(stop) = lost(client) {
                return Err(stop);
            }
            match transaction.judge(unwritten) {
                Verdict::Failed {
                    error,
                    forget,
                    refused,
                } => {
                    if let Some(topic) = forget {
                        self.shared.topics.forget(&topic);
                    }
                    if let Some(topic) = refused {
                        self.shared.health.refused(&topic, &error.to_string());
                    }
                    failures += 1;
                    if !transaction.has_suspects() || failures > SIFTINGS {
                        return Err(Stop::Aborted(error));
                    }
                    self.sift(client, transaction)?;
                }
                Verdict::Sift => self.sift(client, transaction)?,
            }
        }
        self.bury(transaction)?;
        transaction.landed = client.ledger().take_landed();
        transaction.committing = true;
        crate::failpoint::reach("transaction-written");
        let began = Instant::now();
        self.until_done(|| client.commit())?;
        crate::failpoint::reach("transaction-committed");
        let labels = [("sink", self.shared.health.name().to_string())];
        metrics::histogram!("headgate_kafka_commit_seconds", &labels).record(began.elapsed());
        Ok(client.ledger().last_of_ours())
    }

    /// Begins a transaction; nothing is on its way.
    pub(super) fn begin(&self, client: &Client) -> Result<(), Stop> {
        client.ledger().clear();
        self.until_done(|| client.begin())
    }

    /// Aborts the transaction; on return nothing is on its way.
    pub(super) fn abort(&self, client: &Client) -> Result<(), Stop> {
        match self.until_done(|| client.abort()) {
            Err(Stop::Aborted(error)) => Err(Stop::Lost {
                message: error.to_string(),
                fenced: false,
            }),
            other => other,
        }?;
        while !client.drain() {
            if self.closing.is_cancelled() {
                return Err(Stop::Closing);
            }
        }
        Ok(())
    }

    fn write_checkpoints(&self, client: &Client, transaction: &Transaction) -> Result<(), Stop> {
        let owner = self.seat.owner.text();
        for (lane, checkpoint) in transaction.checkpoints() {
            for entry in &checkpoint.entries {
                let key = entry_key(owner, &lane, &entry.key);
                self.write_ours(client, &key, entry.value.as_deref())?;
            }
            if let Some(position) = &checkpoint.position {
                let key = position_key(owner, &lane);
                self.write_ours(client, &key, Some(position.as_json().as_bytes()))?;
            }
        }
        Ok(())
    }

    /// Hands over a record of the topic of checkpoints.
    pub(super) fn write_ours(
        &self,
        client: &Client,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Stop> {
        let topic = self.member.checkpoints_topic();
        let partition = i32::try_from(self.seat.shard).expect("shards are 16 bits");
        client
            .send_ours(&topic, partition, key, value)
            .map_err(|code| {
                lost(client).unwrap_or_else(|| {
                    Stop::Aborted(SinkError::new(format!(
                        "a checkpoint was not taken by librdkafka: {code}"
                    )))
                })
            })
    }

    /// Waits until every record has its report, or one was not written: then the others are not sent any more.
    pub(super) fn drain(&self, client: &Client) -> Result<(), Stop> {
        while !client.drain() && !client.ledger().has_failed() {
            if self.closing.is_cancelled() {
                return Err(Stop::Closing);
            }
        }
        Ok(())
    }

    /// Writes everything again in a new transaction, each suspect in a request of its own, until what cannot be written is
    /// known and left out.
    fn sift(&mut self, client: &Client, transaction: &mut Transaction) -> Result<(), Stop> {
        let mut failures = 0;
        loop {
            self.abort(client)?;
            self.begin(client)?;
            match self.write_sifting(client, transaction) {
                Ok(true) => return Ok(()),
                Ok(false) => failures = 0,
                // What was refused has left a gap in librdkafka's sequence numbers; aborting once more closes it.
                Err(Stop::Aborted(_)) if failures < SIFTINGS => failures += 1,
                Err(stop) => return Err(stop),
            }
        }
    }

    /// False: a culprit was found, and with it this transaction cannot be committed.
    fn write_sifting(
        &mut self,
        client: &Client,
        transaction: &mut Transaction,
    ) -> Result<bool, Stop> {
        for job in 0..transaction.jobs.len() {
            let batch = Arc::clone(&transaction.jobs[job].batch);
            for record in 0..batch.records.len() {
                let place = Place { job, record };
                if transaction.is_rejected(place) {
                    continue;
                }
                let alone = transaction.is_suspect(place);
                if alone {
                    self.drain(client)?;
                }
                if client.ledger().has_failed() {
                    // Others, in a request before this one: `finish` judges.
                    return Ok(true);
                }
                self.write_one(client, transaction, place)?;
                if alone && !self.is_written(client, transaction, place)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the only record on its way was written; if it never can be, it is rejected.
    fn is_written(
        &self,
        client: &Client,
        transaction: &mut Transaction,
        place: Place,
    ) -> Result<bool, Stop> {
        self.drain(client)?;
        if !client.ledger().has_failed() {
            return Ok(true);
        }
        client.drain();
        let unwritten = client.ledger().take_unwritten();
        let Some(first) = unwritten.first().copied() else {
            return Err(Stop::Aborted(must_abort()));
        };
        let of_its_own = |unwritten: &Unwritten| unwritten.place == Some(place);
        match Meaning::of(first.code) {
            meaning if meaning.is_its_own() && of_its_own(&first) => {
                transaction.reject(place, first.code);
                Ok(false)
            }
            _ => Err(match transaction.judge(unwritten) {
                Verdict::Failed { error, .. } => Stop::Aborted(error),
                Verdict::Sift => Stop::Aborted(SinkError::new("the broker changed its mind")),
            }),
        }
    }

    /// Makes the dead letters durable: once the transaction is committed, their events do not come again. The layer in front
    /// writes them too, in the place of these, and tells the others. Where nobody takes them, the transaction must not stay open
    /// until the broker ends it.
    fn bury(&mut self, transaction: &Transaction) -> Result<(), Stop> {
        let step = Str::from(format!("sink/{}", self.shared.health.name()));
        let letters = transaction.letters(&step);
        if letters.is_empty() {
            return Ok(());
        }
        let writer = &self.member.dead_letters;
        let (written, patience) = self.burials.begin(letters, writer, &self.runtime);
        let patience = patience.min(self.limits.max_time / 2);
        self.runtime.block_on(async {
            tokio::select! {
                () = written => Ok(()),
                () = self.closing.cancelled() => Err(Stop::Closing),
                () = tokio::time::sleep(patience) => Err(Stop::Unburied(SinkError::new(UNBURIED))),
            }
        })
    }

    /// What this user may not write to, if that is why the transaction has to be aborted: what waited for it was not even sent, and its
    /// reports say no more than that.
    pub(super) fn denied(&self, client: &Client) -> Option<SinkError> {
        let topic = client.ledger().denied()?;
        let message = explain(Code::TopicAuthorizationFailed, &topic);
        self.shared.health.count(Code::TopicAuthorizationFailed);
        self.shared.health.refused(&topic, &message);
        Some(SinkError::new(message))
    }

    /// Makes a call again for as long as that may help.
    pub(super) fn until_done(
        &self,
        mut call: impl FnMut() -> Result<(), Trouble>,
    ) -> Result<(), Stop> {
        let mut waited = false;
        loop {
            match call() {
                Ok(()) => {
                    if waited {
                        self.shared.health.seated();
                    }
                    return Ok(());
                }
                Err(Trouble::Abortable(message)) => {
                    return Err(Stop::Aborted(SinkError::new(format!(
                        "Kafka asks to abort the transaction: {message}"
                    ))));
                }
                Err(Trouble::Fatal { message, fenced }) => {
                    return Err(Stop::Lost { message, fenced });
                }
                Err(Trouble::Retriable(message)) => {
                    waited = true;
                    self.shared.health.unseated(format!(
                        "waiting for the transaction coordinator: {message}"
                    ));
                    if self.closing.is_cancelled() {
                        return Err(Stop::Closing);
                    }
                    thread::sleep(AGAIN);
                }
            }
        }
    }
}

fn must_abort() -> SinkError {
    SinkError::new("Kafka asks to abort the transaction; it is written again")
}

fn lost(client: &Client) -> Option<Stop> {
    match client.fatal()? {
        Trouble::Fatal { message, fenced } => Some(Stop::Lost { message, fenced }),
        Trouble::Retriable(_) | Trouble::Abortable(_) => None,
    }
}
