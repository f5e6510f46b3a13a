//! The batch being filled.

use bytes::Bytes;
use headgate_sdk::{Batch, Data, DeadLetter, Entry, Envelope, Position};

/// Events and the one buffer that all their data lies in.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(super) data: Vec<u8>,
    events: Vec<Envelope>,
    /// Where each event's data starts; its end is the next one's start.
    starts: Vec<usize>,
    payloads: Vec<Payload>,
    pub(super) rejected: Vec<DeadLetter>,
    pub(crate) entries: Vec<Entry>,
}

/// What an event's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Json,
    Opaque,
    None,
}

/// Data is written in steps of this size.
const CAPACITY: usize = 64 << 10;

impl Outgoing {
    /// Where the data of the next event starts; what was left behind by an event that was given up is dropped.
    pub(super) fn start(&mut self) -> usize {
        if self.data.capacity() == 0 {
            self.data.reserve(CAPACITY);
        }
        self.data.len()
    }

    /// Adds an event whose data was written from `start` on.
    #[inline]
    pub(super) fn push(&mut self, event: Envelope, start: usize, payload: Payload) {
        self.events.push(event);
        self.starts.push(start);
        self.payloads.push(payload);
    }

    /// How many events it has.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes of data so far.
    pub(crate) fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_empty() && self.entries.is_empty()
    }

    /// Takes all of it as a batch.
    pub(crate) fn take(&mut self, position: Option<Position>) -> Batch {
        let data = Bytes::from(std::mem::take(&mut self.data));
        let mut events = std::mem::take(&mut self.events);
        self.events.reserve(events.len());
        let mut end = data.len();
        for (i, event) in events.iter_mut().enumerate().rev() {
            let start = self.starts[i];
            match self.payloads[i] {
                Payload::Json => event.data = Data::json(data.slice(start..end)),
                Payload::Opaque => event.data = Data::opaque(data.slice(start..end)),
                Payload::None => {}
            }
            end = start;
        }
        self.starts.clear();
        self.payloads.clear();
        Batch {
            events,
            rejected: std::mem::take(&mut self.rejected),
            position,
            entries: std::mem::take(&mut self.entries),
            unfinished: false,
        }
    }
}
