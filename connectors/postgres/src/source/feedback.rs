//! Status updates: what the server is told, and when; and how far behind it the sinks are.

use std::{collections::VecDeque, time::Duration};

use headgate_sdk::{Timestamp, lane::Progress};
use metrics::Gauge;
use tokio::time::Instant;

use crate::{
    lsn::Lsn,
    position::StreamPosition,
    replication::{ReplicationError, ReplicationStream},
};

/// Nothing heard for this long although an answer was asked for: the connection is dead. With a shorter `wal_sender_timeout`, three
/// quarters of that.
const SILENCE: Duration = Duration::from_secs(45);
/// Never less: a busy machine is no dead one.
const SHORTEST_SILENCE: Duration = Duration::from_secs(3);

/// A batch on its way to the sinks.
struct Sent {
    number: u64,
    /// When its oldest change was committed.
    committed: Timestamp,
    at: Timestamp,
}

/// Keeps the server's timeout away and the slot moving.
pub(crate) struct Feedback {
    progress: Progress,
    interval: Duration,
    silence: Duration,
    next: Instant,
    heard: Instant,
    /// When the server was first asked for an answer since then.
    asked_since: Option<Instant>,
    received: Lsn,
    /// What was durable when the session began.
    base: Lsn,
    told: Lsn,
    /// What the server asked about last, and when.
    asked: Option<(Lsn, Instant)>,
    /// What is not durable yet, as far as it was looked after.
    sent: VecDeque<Sent>,
    /// Seconds from commit to durable.
    lag: Gauge,
}

impl Feedback {
    /// `timeout` is the server's `wal_sender_timeout` in milliseconds, 0 for never.
    pub(crate) fn new(progress: Progress, base: Lsn, timeout: u64, lag: Gauge) -> Self {
        let third = if timeout == 0 { 10_000 } else { timeout / 3 };
        let interval = Duration::from_millis(third.clamp(50, 1_000));
        let silence = match timeout {
            0 => SILENCE,
            timeout => Duration::from_millis(timeout / 4 * 3).clamp(SHORTEST_SILENCE, SILENCE),
        };
        let now = Instant::now();
        Self {
            progress,
            interval,
            silence,
            next: now + interval,
            heard: now,
            asked_since: None,
            received: base,
            base,
            told: base,
            asked: None,
            sent: VecDeque::new(),
            lag,
        }
    }

    /// Batch `number` is on its way, and nothing in it was committed before `committed`.
    pub(crate) fn sent(&mut self, number: u64, committed: Timestamp) {
        self.sent.push_back(Sent {
            number,
            committed,
            at: Timestamp::now(),
        });
    }

    /// Seconds since the oldest change that is not durable was committed; if all are, how old those were when they were read that
    /// have become durable since this was asked last, 0 if there were none.
    fn behind(&mut self, now: Timestamp) -> f64 {
        let durable = self.progress.now().durable;
        let mut read_late = 0.0_f64;
        while let Some(sent) = self.sent.front().filter(|sent| sent.number <= durable) {
            read_late = seconds(sent.committed, sent.at);
            self.sent.pop_front();
        }
        match self.sent.front() {
            Some(oldest) => seconds(oldest.committed, now),
            None => read_late,
        }
    }

    /// When the next update is due.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Whether it is due now.
    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Something came.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked_since = None;
    }

    /// The server asks for an answer about `lsn`. Whether it has just asked the same: it does so when it shuts down, without a
    /// pause, until everything is confirmed.
    pub(crate) fn is_asked_again(&mut self, lsn: Lsn) -> bool {
        let now = Instant::now();
        let before = self.asked.replace((lsn, now));
        before.is_some_and(|(asked, at)| asked == lsn && now - at < Duration::from_secs(1))
    }

    /// Everything before `lsn` was received.
    pub(crate) fn received(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// What the stored checkpoint allows to confirm.
    pub(crate) fn durable(&self) -> Lsn {
        self.progress
            .now()
            .position
            .and_then(|position| position.decode::<StreamPosition>().ok())
            .map_or(self.base, |position| position.confirm.max(self.base))
    }

    /// Tells the server.
    pub(crate) async fn send(
        &mut self,
        stream: &mut ReplicationStream,
    ) -> Result<(), ReplicationError> {
        let silent = self.heard.elapsed();
        // Time in which nobody asked, because this process stood still, says nothing about the server.
        let unanswered = self
            .asked_since
            .is_some_and(|at| at.elapsed() > self.silence / 2);
        if silent > self.silence && unanswered {
            return Err(ReplicationError::Silent(silent));
        }
        let behind = self.behind(Timestamp::now());
        self.lag.set(behind);
        self.told = self.durable();
        self.next = Instant::now() + self.interval;
        let ask = silent > self.silence / 3;
        if ask {
            self.asked_since.get_or_insert_with(Instant::now);
        }
        stream
            .status(self.received.max(self.told), self.told, ask)
            .await
    }
}

/// Clocks of two machines may differ: never less than nothing.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use headgate_sdk::lane::ProgressState;
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn says_how_far_the_sinks_are_behind() {
        let (state, progress) = watch::channel(ProgressState::default());
        let mut feedback = Feedback::new(Progress::new(progress), Lsn::ZERO, 0, Gauge::noop());
        let now = Timestamp::now();
        let ago = |seconds| now - Duration::from_secs(seconds);
        let about = |behind: f64, seconds: f64| {
            assert!((behind - seconds).abs() < 1.0, "{behind} for {seconds}");
        };
        about(feedback.behind(now), 0.0);
        feedback.sent(1, ago(300));
        feedback.sent(2, ago(200));
        about(feedback.behind(now), 300.0);
        state.send_modify(|state| state.durable = 1);
        about(feedback.behind(now), 200.0);
        state.send_modify(|state| state.durable = 2);
        // All that was read is durable, but it was read that late: there is more to come.
        about(feedback.behind(now), 200.0);
        about(feedback.behind(now), 0.0);
    }
}
