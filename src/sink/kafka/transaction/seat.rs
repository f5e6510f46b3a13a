//! Taking a seat: fence whoever had it, read where its lanes are, claim it, and only then begin.

use std::{sync::mpsc, thread, time::Instant};

use super::{
    client::Client,
    member::CLAIM_PATIENCE,
    reconcile::reconcile,
    record::claim_key,
    restore::{self, ReadError, Restored},
    topic::{self, TopicError},
    worker::{AGAIN, Stop, Worker},
};
use crate::{
    runtime::{CheckpointError, Commit},
    sink::{Checkpoint, SinkError, kafka::tls},
};

/// The pause before taking a seat is tried again, in steps of [`AGAIN`].
const PAUSES: u32 = 10;

impl Worker {
    /// Takes the seat, however long that takes. `lost` says that it was taken before, and whether it was then fenced.
    pub(super) fn take_seat(&mut self, mut lost: Option<bool>) -> Result<Client, Stop> {
        loop {
            match self.try_to_take_seat(lost) {
                Ok(client) => {
                    self.shared.health.seated();
                    return Ok(client);
                }
                Err(Stop::Aborted(error)) => {
                    self.shared.health.unseated(error.to_string());
                    self.pause()?;
                }
                Err(Stop::Lost { message, fenced }) => {
                    tracing::warn!(id = %self.id, message, fenced, "lost while taking a shard");
                    let shard = self.seat.shard;
                    let reason = format!("shard {shard} cannot be taken: {message}");
                    self.shared.health.unseated(reason);
                    lost = Some(fenced);
                    self.pause()?;
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    fn try_to_take_seat(&mut self, lost: Option<bool>) -> Result<Client, Stop> {
        let topic = self.member.checkpoints_topic();
        let shards = self.member.identity.shards.get();
        topic::ensure(&self.shared.config, &topic, shards, &self.runtime).map_err(|error| {
            match error {
                TopicError::Retriable(error) => Stop::Aborted(error),
                TopicError::OtherShards(reason) => Stop::Held(reason),
            }
        })?;
        if let Some(fenced) = lost {
            self.look_for_another(fenced)?;
        }
        let health = self.shared.health.clone();
        let config = &self.shared.config;
        let client = Client::new(config, &self.id, health)
            .map_err(|error| Stop::Held(tls::unmade(config, error).to_string()))?;
        self.until_done(|| client.init())?;
        crate::failpoint::reach("shard-fenced");
        let mark = self.stored_mark()?;
        let restored = self.read(mark)?;
        if let Some((transaction, offset)) = self.unknown.take() {
            if restored.has(offset) {
                transaction.settle(&self.shared.health);
            } else {
                let error = SinkError::new("the transaction was not committed");
                self.fail(transaction, &error);
            }
        }
        self.claim(&client, restored, mark)?;
        Ok(client)
    }

    /// Ends it here if somebody else has claimed the seat since. Whoever was fenced gives the other time to do so; without a
    /// claim of another, it was our own transaction that took too long.
    fn look_for_another(&self, fenced: bool) -> Result<(), Stop> {
        let until = Instant::now() + CLAIM_PATIENCE;
        loop {
            // Claims are all that matters.
            let restored = self.read(Some(i64::MAX))?;
            if let Some(last) = restored.claims.get(&self.id)
                && last.run != self.claim.run
            {
                return Err(Stop::Taken(format!(
                    "shard {} is held by instance {} on host {}, started {}: stop that gateway or this one, then restart \
                     this one (they share the transactional id `{}`)",
                    self.seat.shard, last.instance, last.host, last.started, self.id
                )));
            }
            if !fenced || Instant::now() >= until {
                return Ok(());
            }
            self.pause()?;
        }
    }

    /// The offset up to which the index has seen the topic.
    fn stored_mark(&self) -> Result<Option<i64>, Stop> {
        let mark = self.member.checkpoints.mark(&self.mark_name());
        let mark = mark.map_err(|error| unreadable(&error))?;
        Ok(mark.and_then(|mark| Some(i64::from_le_bytes(mark.as_ref().try_into().ok()?))))
    }

    /// Reads the topic; what lies after `known` is new.
    fn read(&self, known: Option<i64>) -> Result<Restored, Stop> {
        let waiting = || {
            self.shared.health.unseated(format!(
                "shard {} waits for another producer's open transaction in the topic of checkpoints; it ends by itself",
                self.seat.shard
            ));
        };
        let topic = self.member.checkpoints_topic();
        let partition = i32::try_from(self.seat.shard).expect("shards are 16 bits");
        let (config, owner) = (&self.shared.config, &self.seat.owner);
        restore::read(
            config,
            &topic,
            partition,
            owner,
            known,
            &self.closing,
            waiting,
        )
        .map_err(|error| match error {
            ReadError::Closing => Stop::Closing,
            ReadError::Stalled => Stop::Aborted(SinkError::new(format!(
                "reading topic `{topic}` gets no answer; check that this user may READ it"
            ))),
            ReadError::Kafka(error) => Stop::Aborted(SinkError::caused(
                format!("topic `{topic}` cannot be read: {error}"),
                error,
            )),
        })
    }

    /// Says in the topic who has the seat, and brings index and topic to one state.
    fn claim(
        &mut self,
        client: &Client,
        mut restored: Restored,
        mark: Option<i64>,
    ) -> Result<(), Stop> {
        let compare = |restored: &mut Restored| {
            reconcile(&self.member, &self.seat, restored, mark).map_err(|error| unreadable(&error))
        };
        let plan = match compare(&mut restored)? {
            Some(plan) => plan,
            // Another sink moved the index on meanwhile: with all that the topic says.
            None => compare(&mut self.read(None)?)?.unwrap_or_default(),
        };
        self.begin(client)?;
        let claim = serde_json::to_vec(&self.claim).expect("a claim is plain data");
        self.write_ours(client, &claim_key(&self.id), Some(&claim))?;
        for (key, value) in &plan.topic {
            self.write_ours(client, key, value.as_deref())?;
        }
        self.drain(client)?;
        if client.ledger().has_failed() {
            let unwritten = client.ledger().take_unwritten();
            let why = match (self.denied(client), unwritten.first()) {
                (Some(denied), _) => denied.to_string(),
                (None, Some(first)) => first.code.to_string(),
                (None, None) => "Kafka asks to abort".to_owned(),
            };
            let error = SinkError::new(format!(
                "the claim of shard {} was not written: {why}",
                self.seat.shard
            ));
            self.abort(client)?;
            return Err(Stop::Aborted(error));
        }
        if let Err(stop) = self.until_done(|| client.commit()) {
            if matches!(stop, Stop::Aborted(_)) {
                self.abort(client)?;
            }
            return Err(stop);
        }
        crate::failpoint::reach("shard-claimed");
        let offset = client.ledger().last_of_ours();
        self.committed_at(offset);
        let changed = plan.index.len();
        for (lane, checkpoint) in plan.index {
            self.member.checkpoints.commit_blocking(Commit {
                lane,
                checkpoint,
                mark: None,
                done: None,
            });
        }
        let (done, stored) = mpsc::sync_channel(1);
        self.member.checkpoints.commit_blocking(Commit {
            lane: headgate_sdk::LaneId::from_stored(""),
            checkpoint: Checkpoint::default(),
            mark: offset.map(|offset| self.mark(offset)),
            done: Some(Box::new(move || {
                let _nobody_waits = done.try_send(());
            })),
        });
        // An error means that the index is closed, and with it the gateway.
        stored.recv().map_err(|_| Stop::Closing)?;
        tracing::info!(id = %self.id, lanes = changed, "took the shard; lanes whose checkpoints came from Kafka are counted");
        Ok(())
    }

    fn pause(&self) -> Result<(), Stop> {
        for _ in 0..PAUSES {
            if self.closing.is_cancelled() {
                return Err(Stop::Closing);
            }
            thread::sleep(AGAIN);
        }
        Ok(())
    }
}

fn unreadable(error: &CheckpointError) -> Stop {
    Stop::Aborted(SinkError::new(error.to_string()))
}
