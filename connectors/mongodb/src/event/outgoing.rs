//! The batch being filled.

use bytes::Bytes;
use headgate_sdk::{Batch, Data, DeadLetter, Entry, Envelope, Position};

/// Events and the one buffer that all their data lies in.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(super) data: Vec<u8>,
    events: Vec<Envelope>,
    /// Where each event's data starts (none: it has no data); its end is the next one's start.
    starts: Vec<Option<usize>>,
    rejected: Vec<DeadLetter>,
    entries: Vec<Entry>,
}

impl Outgoing {
    /// Events and bytes at which a batch is full.
    const FULL: (usize, usize) = (1000, 1 << 20);

    /// Adds an event whose data was written from `start` on.
    pub(super) fn push(&mut self, event: Envelope, start: usize) {
        self.events.push(event);
        self.starts.push(Some(start));
    }

    /// Adds an event without data.
    pub(super) fn push_empty(&mut self, event: Envelope) {
        self.events.push(event);
        self.starts.push(None);
    }

    /// Adds a record that is no event.
    pub(super) fn reject(&mut self, letter: DeadLetter) {
        self.rejected.push(letter);
    }

    /// Adds a change of the checkpoint's entries.
    pub(crate) fn entry(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Whether it should be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= Self::FULL.0 || self.data.len() >= Self::FULL.1
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_empty() && self.entries.is_empty()
    }

    /// Takes all of it as a batch.
    pub(crate) fn take(&mut self, position: Option<Position>) -> Batch {
        let capacity = self.data.len().min(2 * Self::FULL.1);
        let data = Bytes::from(std::mem::replace(
            &mut self.data,
            Vec::with_capacity(capacity),
        ));
        let mut events = std::mem::take(&mut self.events);
        let mut end = data.len();
        for (event, start) in events.iter_mut().zip(self.starts.drain(..)).rev() {
            if let Some(start) = start {
                event.data = Data::json(data.slice(start..end));
                end = start;
            }
        }
        Batch {
            events,
            rejected: std::mem::take(&mut self.rejected),
            position,
            entries: std::mem::take(&mut self.entries),
            unfinished: false,
        }
    }
}
