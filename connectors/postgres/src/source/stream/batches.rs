//! Batches out, and the position of an idle slot.

use headgate_sdk::{Batch, SourceError};
use tokio::time::Instant;

use super::{super::End, session::Stream};

/// When an idle position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Once in a heartbeat.
    Routine,
    /// Now: the server waits for it.
    AtOnce,
}

/// How a session with a server ends that shuts down while a sink holds back what it waits for.
pub(super) fn leaving() -> End {
    End::Source(SourceError::retriable(
        "the server is shutting down and waits for events that are not durable yet: it is let go, and they come again",
    ))
}

impl Stream {
    /// Sends what was written so far; answers the server while there is no room.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        self.note_moved();
        if self.publisher.outgoing.is_empty() {
            return Ok(());
        }
        let position = self.publisher.position().encode();
        let mut batch = self.publisher.outgoing.take(Some(position));
        batch.unfinished = !self.publisher.between_transactions();
        self.send(batch).await
    }

    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), End> {
        metrics::counter!("headgate_postgres_events_total", &self.labels)
            .increment(batch.events.len() as u64);
        let weight = batch.weight();
        let room = tokio::select! {
            biased;
            room = self.link.tend(self.lane.reserve(weight)) => room?,
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.leaving.cancelled() => return Err(leaving()),
        };
        let committed = batch.events.first().map(|first| first.time);
        self.last_sent = room?.send(batch).number();
        if let Some(committed) = committed {
            self.link.feedback.sent(self.last_sent, committed);
        }
        self.publisher.stamp();
        self.idle_since = Instant::now();
        Ok(())
    }

    /// An idle slot moves on: first its position is stored, then it is confirmed.
    pub(super) async fn store_idle_position(&mut self, urgency: Urgency) -> Result<(), End> {
        let position = self.publisher.position();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        metrics::gauge!("headgate_postgres_spool_bytes", &self.labels)
            .set(self.spool.bytes() as f64);
        let idle = self.publisher.between_transactions()
            && self.publisher.outgoing.is_empty()
            && self.lane.progress().now().durable >= self.last_sent
            && position.confirm > self.link.feedback.durable()
            && (urgency == Urgency::AtOnce
                || self.idle_since.elapsed() >= self.checked.config.heartbeat.get());
        if !idle {
            return Ok(());
        }
        self.send(Batch {
            position: Some(position.encode()),
            ..Batch::default()
        })
        .await
    }
}
