//! A lane's way to Kafka.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use headgate_sdk::Str;
use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode as Code;
use tower::Service;

use super::{
    encode::Encoder,
    error::{Failure, Meaning, explain},
    pending::Report,
    producer::Producer,
    sink::Shared,
};
use crate::sink::{Accepted, Outcome, Rejection, SinkBatch, SinkError};

/// One lane's service.
pub(super) struct LaneToKafka {
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
}

impl LaneToKafka {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let encoder = Arc::new(Mutex::new(Encoder::new(shared.config.mode)));
        Self { shared, encoder }
    }
}

impl Service<Arc<SinkBatch>> for LaneToKafka {
    type Response = Accepted;
    type Error = SinkError;
    type Future = BoxFuture<'static, Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        let delivery = Delivery {
            shared: Arc::clone(&self.shared),
            encoder: Arc::clone(&self.encoder),
            batch,
        };
        Box::pin(delivery.accept())
    }
}

/// A batch on its way.
struct Delivery {
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
    batch: Arc<SinkBatch>,
}

impl Delivery {
    /// Hands the batch to librdkafka; the outcome follows.
    async fn accept(self) -> Result<Accepted, SinkError> {
        let producer = self.shared.producer()?;
        let records = &self.batch.records;
        let topics = records.iter().map(|record| &record.topic);
        let refused = match self.shared.topics.ensure(&producer, topics).await {
            Ok(refused) => refused,
            Err(error) => {
                let error = self.shared.health.because(error);
                self.shared.health.troubled(error.to_string());
                return Ok(Accepted::known(Outcome::Retriable(error)));
            }
        };
        let mut rejections = Vec::new();
        let mut indices = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match refused.get(&record.topic) {
                None => indices.push(index),
                Some(refusal) => rejections.push(Rejection {
                    index,
                    reason: Str::new_static(refusal.reason),
                    message: Str::from(refusal.message.as_str()),
                }),
            }
        }
        if indices.is_empty() {
            return Ok(Accepted::known(settled(rejections)));
        }
        let room = self
            .shared
            .room
            .take(indices.iter().map(|index| &records[*index]))
            .await;
        let report = producer.send(records, &indices, &self.encoder, room);
        Ok(Accepted::future(async move {
            match report.await {
                Ok(Report { failures, landed }) => {
                    self.batch.landed.add(&landed);
                    match failures.is_empty() {
                        true => self.sent(rejections),
                        false => self.judge(&producer, failures, rejections).await,
                    }
                }
                Err(_) => Outcome::Retriable(SinkError::new(
                    "the producer ended before the broker answered",
                )),
            }
        }))
    }

    /// What becomes of a batch of which some records were not written.
    async fn judge(
        self,
        producer: &Arc<Producer>,
        mut failures: Vec<Failure>,
        mut rejections: Vec<Rejection>,
    ) -> Outcome {
        failures.sort_unstable_by_key(|failure| failure.index);
        let mut retry: Option<Failure> = None;
        for failure in failures {
            let topic = &self.batch.records[failure.index].topic;
            match Meaning::of(failure.code) {
                Meaning::Rejected(reason) => rejections.push(Rejection {
                    index: failure.index,
                    reason: Str::new_static(reason),
                    message: explain(failure.code, topic).into(),
                }),
                Meaning::TooLarge | Meaning::Refused | Meaning::Innocent if retry.is_some() => {}
                Meaning::TooLarge | Meaning::Refused | Meaning::Innocent => {
                    match self.send_alone(failure.index).await {
                        Ok(None) => {}
                        Ok(Some(rejection)) => rejections.push(rejection),
                        Err(failed) => retry = Some(failed),
                    }
                }
                Meaning::UnknownTopic => {
                    self.shared.topics.forget(topic);
                    retry.get_or_insert(failure);
                }
                Meaning::Retriable | Meaning::Fatal => drop(retry.get_or_insert(failure)),
            }
        }
        let Some(Failure { index, code }) = retry else {
            return self.sent(rejections);
        };
        if Meaning::of(code) == Meaning::Fatal || producer.is_fatal() {
            self.shared.replace(producer);
        }
        let topic = &self.batch.records[index].topic;
        let message = explain(code, topic);
        if code == Code::TopicAuthorizationFailed {
            self.shared.health.refused(topic, &message);
        }
        self.shared.health.troubled(message.clone());
        Outcome::Retriable(SinkError::new(message))
    }

    fn sent(&self, rejections: Vec<Rejection>) -> Outcome {
        self.shared.health.sent(&self.batch, &rejections);
        settled(rejections)
    }

    /// Sends a record of a request that was refused for its size, or for another record in it, again, in a request of its own.
    async fn send_alone(&self, index: usize) -> Result<Option<Rejection>, Failure> {
        let records = &self.batch.records;
        let room = self
            .shared
            .room
            .take(std::iter::once(&records[index]))
            .await;
        let gone = Failure {
            index,
            code: Code::PurgeQueue,
        };
        let solo = self.shared.solo().map_err(|_| gone)?;
        let report = solo.send(records, &[index], &self.encoder, room).await;
        let report = report.map_err(|_| gone)?;
        self.batch.landed.add(&report.landed);
        let Some(failure) = report.failures.first().copied() else {
            return Ok(None);
        };
        let meaning = Meaning::of(failure.code);
        if !meaning.is_its_own() {
            return Err(failure);
        }
        let reason = Str::new_static(meaning.reason());
        let message = explain(failure.code, &records[index].topic).into();
        Ok(Some(Rejection {
            index,
            reason,
            message,
        }))
    }
}

fn settled(mut rejections: Vec<Rejection>) -> Outcome {
    if rejections.is_empty() {
        return Outcome::Durable;
    }
    rejections.sort_unstable_by_key(|rejection| rejection.index);
    Outcome::Rejected(rejections)
}
