//! Status updates: what the server is told, and when.

use std::time::Duration;

use headgate_sdk::lane::Progress;
use tokio::time::Instant;

use crate::{
    lsn::Lsn,
    position::StreamPosition,
    replication::{ReplicationError, ReplicationStream},
};

/// Nothing heard for this long although an answer was asked for: the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// Keeps the server's timeout away and the slot moving.
pub(crate) struct Feedback {
    progress: Progress,
    interval: Duration,
    next: Instant,
    heard: Instant,
    received: Lsn,
    /// What was durable when the session began.
    base: Lsn,
    told: Lsn,
}

impl Feedback {
    /// `timeout` is the server's `wal_sender_timeout` in milliseconds, 0 for never.
    pub(crate) fn new(progress: Progress, base: Lsn, timeout: u64) -> Self {
        let third = if timeout == 0 { 10_000 } else { timeout / 3 };
        let interval = Duration::from_millis(third.clamp(50, 1_000));
        let now = Instant::now();
        Self {
            progress,
            interval,
            next: now + interval,
            heard: now,
            received: base,
            base,
            told: base,
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
        if silent > SILENCE {
            return Err(ReplicationError::Silent(silent));
        }
        self.told = self.durable();
        self.next = Instant::now() + self.interval;
        let ask = silent > SILENCE / 3;
        stream
            .status(self.received.max(self.told), self.told, ask)
            .await
    }
}
