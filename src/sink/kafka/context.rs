//! What librdkafka calls back: reports of delivery, errors, statistics, log lines.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use headgate_sdk::Str;
use rdkafka::{
    ClientContext, Message, Statistics,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode as Code,
};

use super::health::{Health, Stall};

/// How often librdkafka tells its figures, in seconds.
pub(super) const FIGURES_EVERY: u32 = 2;

/// The context of one producer. Its callbacks run on that producer's polling thread.
pub(super) struct Context<R> {
    /// Which of the sink's producers it is.
    producer: Str,
    pub(super) reports: R,
    health: Arc<Health>,
    written: AtomicU64,
    stall: Stall,
}

impl<R> Context<R> {
    /// That of `producer`.
    pub(super) fn new(producer: impl Into<Str>, reports: R, health: Arc<Health>) -> Self {
        let producer = producer.into();
        Self {
            stall: Stall::new(&producer, Arc::clone(&health)),
            producer,
            reports,
            health,
            written: AtomicU64::new(0),
        }
    }

    /// Counts an error that belongs to no record.
    pub(super) fn count(&self, code: Code) {
        self.health.count(code);
    }

    /// Looks whether brokers take what they are sent.
    fn look(&self, statistics: &Statistics, connected: bool) {
        let waits = statistics.msg_cnt > 0 && connected;
        let looks = self.stall.look(self.written.load(Ordering::Relaxed), waits);
        let labels = [
            ("sink", self.health.name().to_string()),
            ("producer", self.producer.to_string()),
        ];
        metrics::gauge!("headgate_kafka_stalled_seconds", &labels)
            .set(f64::from(looks * FIGURES_EVERY));
        if Stall::is_one(looks) {
            // For which of its topics records wait does not show while they are to be sent again.
            self.stall.show(
                "brokers are connected, but take nothing; check that the topics' replicas are in sync, and the brokers' disks and load"
                    .to_owned(),
            );
        }
    }
}

/// Takes the report of each record, by the number that went with it.
pub(super) trait Reports: Send + Sync + 'static {
    fn written(&self, opaque: usize, at: At<'_>);
    fn unwritten(&self, opaque: usize, code: Code);
    /// The transaction under way can only be aborted; this is said even where no record has its report yet.
    fn must_abort(&self) {}
    /// A topic could not become part of the transaction, because this user may not write to it.
    fn denied(&self, _topic: &str) {}
}

/// Where a record was written.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl<R: Reports> ClientContext for Context<R> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka has no other way to tell: records that it then keeps back are reported after minutes.
        if facility == "TXNERR" {
            self.reports.must_abort();
        }
        // Nor this; what waits for the partition is not sent, and reported as if the producer had been closed.
        if facility == "ADDPARTS"
            && message.contains("Topic authorization failed")
            && let Some(topic) = message.split('"').nth(1)
        {
            self.reports.denied(topic);
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(sink = %self.health.name(), facility, "{message}");
            }
            _ => tracing::debug!(sink = %self.health.name(), facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(sink = %self.health.name(), %error, reason, "librdkafka reports an error");
        if let Some(code) = error.rdkafka_error_code() {
            self.health.met(code);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let sink = self.health.name().as_str();
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
            self.health.connected();
        }
        self.look(&statistics, connected > 0);
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
                self.written.fetch_add(1, Ordering::Relaxed);
                let topic = record.topic();
                self.health.wrote(topic);
                let at = At {
                    topic,
                    partition: record.partition(),
                    offset: record.offset(),
                };
                self.reports.written(opaque, at);
            }
            Err((error, record)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                tracing::debug!(sink = %self.health.name(), topic = record.topic(), %code, "a record was not written");
                self.health.count(code);
                self.reports.unwritten(opaque, code);
            }
        }
    }
}
