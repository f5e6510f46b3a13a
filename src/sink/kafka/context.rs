//! What librdkafka calls back: reports of delivery, errors, statistics, log lines.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headgate_sdk::{
    Str,
    status::{State, Status},
};
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message, Statistics,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode as Code,
};

use super::error;
use crate::sink::{Rejection, Sent, SinkBatch};

/// The context of one producer. Its callbacks run on that producer's polling thread.
pub(super) struct Context<R> {
    /// Which of the sink's producers it is.
    pub(super) producer: Str,
    pub(super) reports: R,
    pub(super) health: Arc<Health>,
}

/// Takes the report of each record, by the number that went with it.
pub(super) trait Reports: Send + Sync + 'static {
    fn written(&self, opaque: usize, at: At<'_>);
    fn unwritten(&self, opaque: usize, code: Code);
    /// The transaction under way can only be aborted; this is said even where no record has its report yet.
    fn must_abort(&self) {}
}

/// Where a record was written.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// How the sink is, as far as librdkafka tells.
pub(super) struct Health {
    name: Str,
    status: Status,
    /// Whether the status shows a trouble; spares the hot path the lock.
    sent: Sent,
    troubled: AtomicBool,
    /// Shards that are stopped until a person acts, with the reason. They show for as long as the process runs.
    held: Mutex<BTreeMap<Str, String>>,
    /// The last cause, because "all brokers are down" tells none.
    cause: Mutex<Option<Code>>,
}

impl Health {
    pub(super) fn new(name: Str, status: Status) -> Self {
        Self {
            sent: Sent::new(&name),
            name,
            status,
            troubled: AtomicBool::new(true),
            held: Mutex::default(),
            cause: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &Str {
        &self.name
    }

    /// Counts what Kafka has of a batch.
    pub(super) fn sent(&self, batch: &SinkBatch, rejections: &[Rejection]) {
        self.sent.add(batch, rejections);
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Something was answered.
    pub(super) fn well(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            *self.cause.lock() = None;
            let reasons: Vec<String> = self.held.lock().values().cloned().collect();
            self.status.set(if reasons.is_empty() {
                State::Ready
            } else {
                State::Failed(reasons.join("; "))
            });
        }
    }

    /// Works again by itself once `reason` ends.
    pub(super) fn troubled(&self, reason: String) {
        self.troubled.store(true, Ordering::Relaxed);
        self.status.set(State::Waiting(reason));
    }

    /// A part of it is stopped until a person acts.
    pub(super) fn held(&self, part: &Str, reason: &str) {
        self.held.lock().insert(part.clone(), reason.to_owned());
        self.status.warn(part.as_str(), reason);
        self.status.set(State::Failed(reason.to_owned()));
    }

    fn met(&self, code: Code) {
        match code {
            Code::AllBrokersDown => {
                let cause = self.cause.lock().unwrap_or(code);
                self.troubled(error::explain(cause, ""));
            }
            Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed => {
                *self.cause.lock() = Some(code);
                self.troubled(error::explain(code, ""));
            }
            Code::BrokerTransportFailure | Code::Resolve => {
                self.cause.lock().get_or_insert(code);
            }
            _ => {}
        }
    }
}

impl<R: Reports> ClientContext for Context<R> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka has no other way to tell: records that it then keeps back are reported after minutes.
        if facility == "TXNERR" {
            self.reports.must_abort();
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(sink = %self.health.name, facility, "{message}");
            }
            _ => tracing::debug!(sink = %self.health.name, facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(sink = %self.health.name, %error, reason, "librdkafka reports an error");
        if let Some(code) = error.rdkafka_error_code() {
            self.health.met(code);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let sink = self.health.name.as_str();
        let labels = [
            ("sink", sink.to_owned()),
            ("producer", self.producer.to_string()),
        ];
        let gauge = |name: &'static str, value: f64| metrics::gauge!(name, &labels).set(value);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        {
            gauge("headgate_kafka_queue_records", statistics.msg_cnt as f64);
            gauge("headgate_kafka_queue_bytes", statistics.msg_size as f64);
        }
        let brokers = || statistics.brokers.values();
        let up = brokers().filter(|broker| broker.state == "UP");
        let connected = up.clone().count();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        gauge("headgate_kafka_brokers_connected", connected as f64);
        if connected > 0 {
            self.health.well();
        }
        for broker in up.filter(|broker| broker.nodeid >= 0) {
            if let Some(rtt) = &broker.rtt {
                let labels = [
                    ("sink", sink.to_owned()),
                    ("producer", self.producer.to_string()),
                    ("broker", broker.nodeid.to_string()),
                ];
                #[expect(clippy::cast_precision_loss, reason = "figures for people")]
                metrics::gauge!("headgate_kafka_request_p99_seconds", &labels)
                    .set(rtt.p99 as f64 / 1e6);
            }
        }
        let total =
            |count: fn(&rdkafka::statistics::Broker) -> u64| brokers().map(count).sum::<u64>();
        let counter =
            |name: &'static str, value: u64| metrics::counter!(name, &labels).absolute(value);
        counter(
            "headgate_kafka_request_retries_total",
            total(|b| b.txretries),
        );
        counter(
            "headgate_kafka_request_timeouts_total",
            total(|b| b.req_timeouts),
        );
        counter("headgate_kafka_bytes_sent_total", total(|b| b.txbytes));
    }
}

impl<R: Reports> ProducerContext for Context<R> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(record) => {
                self.health.well();
                let at = At {
                    topic: record.topic(),
                    partition: record.partition(),
                    offset: record.offset(),
                };
                self.reports.written(opaque, at);
            }
            Err((error, record)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                tracing::debug!(sink = %self.health.name, topic = record.topic(), %code, "a record was not written");
                self.reports.unwritten(opaque, code);
            }
        }
    }
}
