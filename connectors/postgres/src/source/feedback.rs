//! Status updates: what the server is told, and when.

use std::time::Duration;

use headgate_sdk::lane::Progress;
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
}

impl Feedback {
    /// `timeout` is the server's `wal_sender_timeout` in milliseconds, 0 for never.
    pub(crate) fn new(progress: Progress, base: Lsn, timeout: u64) -> Self {
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
