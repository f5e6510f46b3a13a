//! How the sink is, as far as Kafka and librdkafka tell: its state and warnings in `/readyz`, and the figures that go with them.
//!
//! Invariant: what one answer says is taken away only by an answer that contradicts it. That brokers are connected ends "no broker
//! answers", not "not authorised"; that a record was written ends both, but the warning of a topic only if it is in that topic.

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
use rdkafka::types::RDKafkaErrorCode as Code;

use super::error;
use crate::sink::{Rejection, Sent, SinkBatch, SinkError};

/// How the sink is.
pub(super) struct Health {
    name: Str,
    status: Status,
    sent: Sent,
    shown: Mutex<Shown>,
    /// Whether the status shows a trouble; spares the hot path the lock.
    troubled: AtomicBool,
    /// Whether a topic has a warning; likewise.
    refused: AtomicBool,
}

#[derive(Default)]
struct Shown {
    /// Shards that are stopped until a person acts, with the reason. They show for as long as the process runs.
    held: BTreeMap<Str, String>,
    /// The last cause, because "all brokers are down" tells none.
    cause: Option<Code>,
    /// What ends as soon as brokers are connected.
    unreachable: Option<String>,
    /// What ends as soon as a shard is taken, or a coordinator answers.
    unseated: Option<String>,
    /// Topics that take nothing, with the keys of their warnings.
    topics: BTreeMap<Str, String>,
}

impl Health {
    pub(super) fn new(name: Str, status: Status) -> Self {
        Self {
            sent: Sent::new(&name),
            name,
            status,
            shown: Mutex::default(),
            troubled: AtomicBool::new(true),
            refused: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &Str {
        &self.name
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Counts what Kafka has of a batch.
    pub(super) fn sent(&self, batch: &SinkBatch, rejections: &[Rejection]) {
        self.sent.add(batch, rejections);
    }

    /// Counts an error: of a connection, or of a record that was not written.
    pub(super) fn count(&self, code: Code) {
        let labels = [
            ("sink", self.name.to_string()),
            ("error", format!("{code:?}")),
        ];
        metrics::counter!("headgate_kafka_errors_total", &labels).increment(1);
    }

    /// Something was done.
    pub(super) fn well(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            let mut shown = self.shown.lock();
            shown.cause = None;
            shown.unreachable = None;
            shown.unseated = None;
            let reasons: Vec<String> = shown.held.values().cloned().collect();
            drop(shown);
            self.status.set(if reasons.is_empty() {
                State::Ready
            } else {
                State::Failed(reasons.join("; "))
            });
        }
    }

    /// A record was written.
    pub(super) fn wrote(&self, topic: &str) {
        self.well();
        if self.refused.load(Ordering::Relaxed) {
            let mut shown = self.shown.lock();
            if let Some(key) = shown.topics.remove(topic) {
                self.status.clear(&key);
            }
            self.refused
                .store(!shown.topics.is_empty(), Ordering::Relaxed);
        }
    }

    /// Brokers are connected, which says nothing about whether they take anything.
    pub(super) fn connected(&self) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        self.is_over(|shown| &shown.unreachable);
    }

    /// A shard is taken, or its coordinator answers: likewise.
    pub(super) fn seated(&self) {
        self.is_over(|shown| &shown.unseated);
    }

    /// Takes a reason away, if it is the one that is shown.
    fn is_over(&self, which: impl Fn(&Shown) -> &Option<String>) {
        let state = self.status.get();
        let is_over = match state.reason() {
            None => state == State::Starting,
            Some(reason) => which(&self.shown.lock()).as_deref() == Some(reason),
        };
        if is_over {
            self.well();
        }
    }

    /// Works again by itself once `reason` ends.
    pub(super) fn troubled(&self, reason: String) {
        self.troubled.store(true, Ordering::Relaxed);
        self.status.set(State::Waiting(reason));
    }

    /// The same for what ends as soon as brokers are connected.
    pub(super) fn unreachable(&self, reason: String) {
        self.shown.lock().unreachable = Some(reason.clone());
        self.troubled(reason);
    }

    /// The same for what ends as soon as a shard is taken, or its coordinator answers.
    pub(super) fn unseated(&self, reason: String) {
        self.shown.lock().unseated = Some(reason.clone());
        self.troubled(reason);
    }

    /// What keeps brokers from answering, if librdkafka said more than `error` does.
    pub(super) fn because(&self, error: SinkError) -> SinkError {
        match self.shown.lock().cause {
            Some(code) if error::is_of_the_connection(code) => {
                SinkError::caused(error::explain(code, ""), error)
            }
            _ => error,
        }
    }

    /// A topic takes nothing, until something is written to it.
    pub(super) fn refused(&self, topic: &Str, reason: &str) {
        let key = format!("topic {topic}");
        self.status.warn(key.as_str(), reason);
        self.shown.lock().topics.insert(topic.clone(), key);
        self.refused.store(true, Ordering::Relaxed);
    }

    /// A part of it is stopped until a person acts.
    pub(super) fn held(&self, part: &Str, reason: &str) {
        let mut shown = self.shown.lock();
        shown.held.insert(part.clone(), reason.to_owned());
        let held = shown.held.len();
        drop(shown);
        let labels = [("sink", self.name.to_string())];
        metrics::gauge!("headgate_kafka_shards_held", &labels).set(held as f64);
        self.status.warn(part.as_str(), reason);
        self.status.set(State::Failed(reason.to_owned()));
    }

    /// librdkafka met an error that belongs to no record.
    pub(super) fn met(&self, code: Code) {
        self.count(code);
        match code {
            Code::AllBrokersDown => {
                let cause = self.shown.lock().cause.unwrap_or(code);
                self.unreachable(error::explain(cause, ""));
            }
            code if error::is_of_the_connection(code) => {
                self.shown.lock().cause = Some(code);
                self.unreachable(error::explain(code, ""));
            }
            Code::BrokerTransportFailure | Code::Resolve => {
                self.shown.lock().cause.get_or_insert(code);
            }
            _ => {}
        }
    }
}

/// Notices that brokers are connected and records wait, but nothing is written: librdkafka sends again what a broker refuses for the
/// moment (too few replicas in sync, a full disk, no leader), or waits for a slow one, and tells nobody.
pub(super) struct Stall {
    /// Under which key it is shown.
    key: String,
    health: Arc<Health>,
    shown: AtomicBool,
    pace: Mutex<Pace>,
}

#[derive(Default)]
struct Pace {
    written: u64,
    looks: u32,
}

impl Stall {
    /// How many looks in a row without anything written are a stall.
    const LOOKS: u32 = 2;

    pub(super) fn new(producer: &str, health: Arc<Health>) -> Self {
        Self {
            key: format!("stalled {producer}"),
            health,
            shown: AtomicBool::new(false),
            pace: Mutex::default(),
        }
    }

    /// Looks whether something was written since the last look. Returns for how many looks nothing was, though something waits.
    pub(super) fn look(&self, written: u64, waits: bool) -> u32 {
        let mut pace = self.pace.lock();
        let moves = written != std::mem::replace(&mut pace.written, written) || !waits;
        pace.looks = if moves { 0 } else { pace.looks + 1 };
        let looks = pace.looks;
        drop(pace);
        if moves && self.shown.swap(false, Ordering::Relaxed) {
            self.health.status.clear(&self.key);
        }
        looks
    }

    /// Whether so many looks are a stall.
    pub(super) const fn is_one(looks: u32) -> bool {
        looks >= Self::LOOKS
    }

    /// Shows why, for as long as it lasts.
    pub(super) fn show(&self, reason: String) {
        if self.pace.lock().looks < Self::LOOKS {
            return;
        }
        self.shown.store(true, Ordering::Relaxed);
        self.health.status.warn(self.key.as_str(), reason.as_str());
        if self.health.status.get() == State::Ready {
            self.health.troubled(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Arc<Health> {
        Arc::new(Health::new("main".into(), Status::default()))
    }

    #[test]
    fn a_connection_ends_only_what_it_contradicts() {
        let health = health();
        health.connected();
        assert_eq!(health.status().get(), State::Ready);
        health.met(Code::SSL);
        health.met(Code::AllBrokersDown);
        let shown = health.status().get();
        assert!(shown.reason().is_some_and(|text| text.contains("tls.ca")));
        let late = health.because(SinkError::new("no broker answers"));
        assert!(late.to_string().contains("tls.ca"), "{late}");
        health.connected();
        assert_eq!(health.status().get(), State::Ready);

        health.unseated("not mine yet".into());
        health.connected();
        assert_eq!(health.status().get().reason(), Some("not mine yet"));
        health.seated();
        assert_eq!(health.status().get(), State::Ready);

        health.troubled("not authorised".into());
        health.connected();
        assert_eq!(
            health.status().get(),
            State::Waiting("not authorised".into())
        );
        // What the breaker shows is not ours to take away.
        health.met(Code::AllBrokersDown);
        health
            .status()
            .set(State::Waiting("circuit breaker open".into()));
        health.connected();
        assert_eq!(health.status().get().reason(), Some("circuit breaker open"));
        health.wrote("t");
        assert_eq!(health.status().get(), State::Ready);
    }

    #[test]
    fn a_topics_warning_stays_until_something_is_written_to_it() {
        let health = health();
        health.refused(&"a".into(), "grant it");
        health.wrote("b");
        assert_eq!(health.status().warnings()["topic a"], "grant it");
        health.wrote("a");
        assert!(health.status().warnings().is_empty());
    }

    #[test]
    fn records_that_wait_while_nothing_is_written_are_a_stall() {
        let health = health();
        health.well();
        let stall = Stall::new("main", Arc::clone(&health));
        assert_eq!(stall.look(5, true), 0);
        assert_eq!(stall.look(5, false), 0);
        assert!(!Stall::is_one(stall.look(5, true)));
        assert!(Stall::is_one(stall.look(5, true)));
        stall.show("too few replicas".into());
        assert_eq!(
            health.status().get(),
            State::Waiting("too few replicas".into())
        );
        assert_eq!(
            health.status().warnings()["stalled main"],
            "too few replicas"
        );
        health.wrote("t");
        assert_eq!(stall.look(6, true), 0);
        assert_eq!(health.status().get(), State::Ready);
        assert!(health.status().warnings().is_empty());
        // What was found out too late is not shown.
        stall.show("too few replicas".into());
        assert!(health.status().warnings().is_empty());
    }
}
