//! The topic of dead letters: `{group}.dead-letters`, compacted, keyed by what names a letter.
//!
//! A letter is one record, always a structured CloudEvent, because in a compacted topic a record without a value takes its key away; a
//! resolved one is such a record.

use std::{sync::Arc, time::Duration};

use headgate_sdk::{Data, Str};
use parking_lot::Mutex;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Mode, client,
    encode::Encoder,
    error::{Failure, Meaning, explain},
    producer::Producer,
    sink::Shared,
};
use crate::sink::{Record, SinkError};

const PATIENCE: Duration = Duration::from_secs(10);
/// Says that a letter's data was too large for the topic.
const LEFT_OUT: (Str, Str) = (
    Str::new_static("headgate-error-data"),
    Str::new_static("left out: too large for the topic"),
);

/// A way into the topic. It is made when first written to.
pub struct LetterTopic {
    shared: Arc<Shared>,
    topic: Str,
    letters: Arc<Mutex<Encoder>>,
    resolved: Arc<Mutex<Encoder>>,
    is_there: Mutex<bool>,
}

/// What goes into the topic; the record's topic is this one.
#[derive(Debug)]
pub enum Letter {
    /// One that waits for somebody.
    Waiting(Record),
    /// One that is resolved: its key is taken away.
    Resolved(Record),
}

impl LetterTopic {
    pub(super) fn new(shared: Arc<Shared>, group: &str) -> Self {
        Self {
            shared,
            topic: format!("{group}.dead-letters").into(),
            letters: Arc::new(Mutex::new(Encoder::new(Mode::Structured))),
            resolved: Arc::new(Mutex::new(Encoder::new(Mode::Binary))),
            is_there: Mutex::new(false),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Str {
        &self.topic
    }

    /// Writes `letters` in order; on return they are durable. What failed is to be written again from the first on, which changes
    /// nothing: the last of a key counts.
    ///
    /// # Errors
    /// [`SinkError`] if the cluster does not take them now.
    pub async fn write(&self, letters: &[Letter]) -> Result<(), SinkError> {
        if !*self.is_there.lock() {
            self.make().await?;
            *self.is_there.lock() = true;
        }
        let is_waiting = |letter: &Letter| matches!(letter, Letter::Waiting(_));
        for alike in letters.chunk_by(|a, b| is_waiting(a) == is_waiting(b)) {
            let encoder = match is_waiting(&alike[0]) {
                true => &self.letters,
                false => &self.resolved,
            };
            let mut records: Vec<Record> = alike
                .iter()
                .map(|letter| match letter {
                    Letter::Waiting(record) => record.clone(),
                    Letter::Resolved(record) => {
                        let mut record = record.clone();
                        record.envelope.data = Data::default();
                        record
                    }
                })
                .collect();
            let producer = self.shared.producer()?;
            let indices: Vec<usize> = (0..records.len()).collect();
            for failure in self.send(&producer, &records, &indices, encoder).await? {
                self.send_alone(&mut records[failure.index], encoder)
                    .await?;
            }
        }
        Ok(())
    }

    /// Sends them; returns those that may be refused for what they are.
    async fn send(
        &self,
        producer: &Arc<Producer>,
        records: &[Record],
        indices: &[usize],
        encoder: &Arc<Mutex<Encoder>>,
    ) -> Result<Vec<Failure>, SinkError> {
        let of_batch = indices.iter().map(|index| &records[*index]);
        let room = self.shared.room.take(of_batch).await;
        let report = producer.send(records, indices, encoder, room).await;
        let ended = |_| SinkError::new("the producer ended before the broker answered");
        let failures = report.map_err(ended)?.failures;
        for failure in &failures {
            match Meaning::of(failure.code) {
                Meaning::TooLarge | Meaning::Refused | Meaning::Innocent => {}
                meaning => {
                    if meaning == Meaning::UnknownTopic {
                        *self.is_there.lock() = false;
                    }
                    if meaning == Meaning::Fatal || producer.is_fatal() {
                        self.shared.replace(producer);
                    }
                    return Err(SinkError::new(explain(failure.code, &self.topic)));
                }
            }
        }
        Ok(failures)
    }

    /// Sends one by itself; without its data, if it is that.
    async fn send_alone(
        &self,
        record: &mut Record,
        encoder: &Arc<Mutex<Encoder>>,
    ) -> Result<(), SinkError> {
        let solo = self.shared.solo()?;
        for _ in 0..2 {
            let one = std::slice::from_ref(record);
            if self.send(&solo, one, &[0], encoder).await?.is_empty() {
                return Ok(());
            }
            record.envelope.data = Data::default();
            record.headers.push(LEFT_OUT);
        }
        tracing::error!(topic = %self.topic, key = ?record.key, "the broker refuses a dead letter for good; it stays in data_dir");
        Ok(())
    }

    async fn make(&self) -> Result<(), SinkError> {
        let failed = |error: &KafkaError| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            SinkError::new(explain(code, &self.topic))
        };
        let config = &self.shared.config;
        let admin: AdminClient<DefaultClientContext> = client::connection(config)
            .create()
            .map_err(|error| failed(&error))?;
        let partitions = config.topics.partitions.unwrap_or(-1);
        let replication = config.topics.replication.unwrap_or(-1);
        let new = NewTopic::new(
            &self.topic,
            partitions,
            TopicReplication::Fixed(replication),
        )
        .set("cleanup.policy", "compact")
        // Whoever reads it from the start must not miss that a letter was resolved, even if reading takes days.
        .set("delete.retention.ms", "604800000");
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let results = admin.create_topics([&new], &options).await;
        match results.map_err(|error| failed(&error))?.into_iter().next() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                Err(SinkError::new(explain(code, &self.topic)))
            }
            _ => Ok(()),
        }
    }
}
