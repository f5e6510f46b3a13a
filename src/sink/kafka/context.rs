//! What librdkafka calls back: reports of delivery, errors, statistics, log lines.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
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

use super::{error, pending::Pending};

/// The context of one producer. Its callbacks run on that producer's polling thread.
pub(super) struct Context {
    pub(super) pending: Pending,
    pub(super) health: Arc<Health>,
}

/// How the sink is, as far as librdkafka tells.
pub(super) struct Health {
    name: Str,
    status: Status,
    /// Whether the status shows a trouble; spares the hot path the lock.
    troubled: AtomicBool,
    /// The last cause, because "all brokers are down" tells none.
    cause: Mutex<Option<Code>>,
}

impl Health {
    pub(super) fn new(name: Str, status: Status) -> Self {
        Self {
            name,
            status,
            troubled: AtomicBool::new(true),
            cause: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Something was answered.
    pub(super) fn well(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            *self.cause.lock() = None;
            self.status.set(State::Ready);
        }
    }

    /// Works again by itself once `reason` ends.
    pub(super) fn troubled(&self, reason: String) {
        self.troubled.store(true, Ordering::Relaxed);
        self.status.set(State::Waiting(reason));
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

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
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
        let gauge = |name: &'static str, value: f64| {
            metrics::gauge!(name, "sink" => sink.to_owned()).set(value);
        };
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
                    ("broker", broker.nodeid.to_string()),
                ];
                #[expect(clippy::cast_precision_loss, reason = "figures for people")]
                metrics::gauge!("headgate_kafka_request_p99_seconds", &labels)
                    .set(rtt.p99 as f64 / 1e6);
            }
        }
        let total =
            |count: fn(&rdkafka::statistics::Broker) -> u64| brokers().map(count).sum::<u64>();
        let counter = |name: &'static str, value: u64| {
            metrics::counter!(name, "sink" => sink.to_owned()).absolute(value);
        };
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

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(_) => {
                self.health.well();
                self.pending.report(opaque, None);
            }
            Err((error, record)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                tracing::debug!(sink = %self.health.name, topic = record.topic(), %code, "a record was not written");
                self.pending.report(opaque, Some(code));
            }
        }
    }
}
