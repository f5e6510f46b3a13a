//! The figures of what a sink has sent.

use super::{Rejection, SinkBatch};

/// Counts events and the bytes of their data. A clone counts the same.
#[derive(Clone)]
pub struct Sent {
    events: metrics::Counter,
    bytes: metrics::Counter,
}

impl Sent {
    /// Those of the sink of this name.
    #[must_use]
    pub fn new(sink: &str) -> Self {
        let labels = [("sink", sink.to_owned())];
        Self {
            events: metrics::counter!("headgate_sink_sent_events_total", &labels),
            bytes: metrics::counter!("headgate_sink_sent_bytes_total", &labels),
        }
    }

    /// Those of the buffer in front of it, which has not yet sent anything.
    #[must_use]
    pub fn buffered(sink: &str) -> Self {
        let labels = [("sink", sink.to_owned())];
        Self {
            events: metrics::counter!("headgate_sink_buffered_events_total", &labels),
            bytes: metrics::counter!("headgate_sink_buffered_bytes_total", &labels),
        }
    }

    /// Counts a batch, without what was rejected of it.
    pub fn add(&self, batch: &SinkBatch, rejections: &[Rejection]) {
        let bytes = |index: usize| batch.records[index].envelope.data.len() as u64;
        let all: u64 = (0..batch.records.len()).map(bytes).sum();
        let rejected: u64 = rejections.iter().map(|one| bytes(one.index)).sum();
        let events = batch.records.len() - rejections.len();
        self.events.increment(events as u64);
        self.bytes.increment(all - rejected);
    }
}
