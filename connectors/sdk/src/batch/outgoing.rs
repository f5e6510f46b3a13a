//! A batch being filled.

use bytes::Bytes;

use super::{Batch, DeadLetter, Entry};
use crate::{Data, Envelope, Position};

/// Events and the one buffer that all their data is written into, until they are taken as a [`Batch`].
///
/// An event's data is what was appended to [`data`](Self::data) since [`start`](Self::start); it is cut out of the buffer without
/// being copied.
#[derive(Debug)]
pub struct Outgoing {
    /// Where the data of the next event is appended.
    pub data: Vec<u8>,
    /// Records that are no events.
    pub rejected: Vec<DeadLetter>,
    /// Changes of the checkpoint's entries.
    pub entries: Vec<Entry>,
    events: Vec<Envelope>,
    /// Where each event's data starts, and what it is; its end is the next one's start.
    payloads: Vec<(usize, Payload)>,
    max_events: usize,
    max_bytes: usize,
}

/// What an event's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// One JSON value.
    Json,
    /// Bytes that nobody looks into.
    Opaque,
    /// Nothing.
    None,
}

/// Room for data that is made at once.
const CAPACITY: usize = 64 << 10;

impl Outgoing {
    /// An empty batch, [full](Self::is_full) at so many events or bytes of data.
    #[must_use]
    pub const fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            data: Vec::new(),
            rejected: Vec::new(),
            entries: Vec::new(),
            events: Vec::new(),
            payloads: Vec::new(),
            max_events,
            max_bytes,
        }
    }

    /// Where the data of the next event starts. An event that is given up truncates the data to here.
    #[inline]
    pub fn start(&mut self) -> usize {
        if self.data.capacity() == 0 {
            self.data.reserve(CAPACITY);
        }
        self.data.len()
    }

    /// Adds an event whose data was written from `start` on. Its own `data` is replaced.
    #[inline]
    pub fn push(&mut self, event: Envelope, start: usize, payload: Payload) {
        self.events.push(event);
        self.payloads.push((start, payload));
    }

    /// Adds an event without data.
    pub fn push_empty(&mut self, event: Envelope) {
        let start = self.start();
        self.push(event, start, Payload::None);
    }

    /// Whether it should be sent.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.len() >= self.max_events || self.data.len() >= self.max_bytes
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_empty() && self.entries.is_empty()
    }

    /// Takes all of it as a batch.
    pub fn take(&mut self, position: Option<Position>) -> Batch {
        let mut data = std::mem::take(&mut self.data);
        // Small batches that wait for a sink would hold far more than they weigh.
        if data.len() < data.capacity() / 2 {
            data.shrink_to_fit();
        }
        let data = Bytes::from(data);
        let mut events = std::mem::take(&mut self.events);
        self.events.reserve(events.len());
        let mut end = data.len();
        for (event, (start, payload)) in events.iter_mut().zip(self.payloads.drain(..)).rev() {
            event.data = match payload {
                Payload::Json => Data::json(data.slice(start..end)),
                Payload::Opaque => Data::opaque(data.slice(start..end)),
                Payload::None => Data::none(),
            };
            end = start;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn event(id: &str) -> Envelope {
        Envelope::new(
            id.to_owned(),
            "urn:x",
            "a.b.v1",
            Timestamp::UNIX_EPOCH,
            Data::none(),
        )
    }

    fn add(outgoing: &mut Outgoing, id: &str, data: &[u8], payload: Payload) {
        let start = outgoing.start();
        outgoing.data.extend_from_slice(data);
        outgoing.push(event(id), start, payload);
    }

    #[test]
    fn each_event_gets_what_was_written_for_it() {
        let mut outgoing = Outgoing::new(10, 1000);
        add(&mut outgoing, "1", b"{\"a\":1}", Payload::Json);
        outgoing.push_empty(event("2"));
        let given_up = outgoing.start();
        outgoing.data.extend_from_slice(b"half");
        outgoing.data.truncate(given_up);
        add(&mut outgoing, "3", &[0xff, 0], Payload::Opaque);
        let batch = outgoing.take(None);
        let data: Vec<_> = batch.events.iter().map(|e| e.data.clone()).collect();
        assert_eq!(data[0], Data::json(&b"{\"a\":1}"[..]));
        assert!(data[1].is_empty());
        assert_eq!(data[2], Data::opaque(&[0xff, 0][..]));
        assert!(outgoing.is_empty());
        add(&mut outgoing, "4", b"[]", Payload::Json);
        assert_eq!(outgoing.take(None).events[0].data, Data::json(&b"[]"[..]));
    }

    #[test]
    fn is_full_at_the_first_of_its_bounds() {
        let mut outgoing = Outgoing::new(2, 10);
        add(&mut outgoing, "1", b"[]", Payload::Json);
        assert!(!outgoing.is_full());
        add(&mut outgoing, "2", b"[]", Payload::Json);
        assert!(outgoing.is_full());
        drop(outgoing.take(None));
        add(&mut outgoing, "3", b"[1,2,3,4,5]", Payload::Json);
        assert!(outgoing.is_full());
    }
}
