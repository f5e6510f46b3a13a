//! From an event to a record's key, headers and value.
//!
//! Source: CloudEvents 1.0.2, "Kafka Protocol Binding for CloudEvents".

use headgate_sdk::envelope::{json, kafka};
use rdkafka::message::{Header, OwnedHeaders};

use super::Mode;
use crate::sink::Record;

/// Headers that a usual event has in binary mode.
const USUAL_HEADERS: usize = 14;

/// Writes records of one lane after the other, and remembers what does not change between them.
pub(super) struct Encoder {
    mode: Mode,
    writer: json::Writer,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            writer: json::Writer::new(),
            buffer: Vec::new(),
        }
    }

    /// Headers and value of a record; a value of `None` is Kafka's null.
    pub(super) fn encode<'a>(&'a mut self, record: &'a Record) -> (OwnedHeaders, Option<&'a [u8]>) {
        let mut headers = Headers::with_capacity(match self.mode {
            Mode::Binary => USUAL_HEADERS + record.headers.len(),
            Mode::Structured => 2 + record.headers.len(),
        });
        let value = match self.mode {
            Mode::Binary => {
                kafka::for_each_header(&record.envelope, |name, value| headers.add(name, value));
                record.envelope.data.bytes().map(|data| &data[..])
            }
            Mode::Structured => {
                headers.add(
                    kafka::CONTENT_TYPE,
                    kafka::STRUCTURED_CONTENT_TYPE.as_bytes(),
                );
                self.buffer.clear();
                self.writer.write(&record.envelope, &mut self.buffer);
                Some(&self.buffer[..])
            }
        };
        // The hop's own context, for tools that know W3C tracing but not CloudEvents.
        if let Some(context) = &record.envelope.traceparent {
            headers.add("traceparent", context.as_bytes());
        }
        for (name, value) in &record.headers {
            headers.add(name, value.as_bytes());
        }
        (headers.finish(), value)
    }
}

/// The list under construction; librdkafka's binding takes and returns it by value.
struct Headers(Option<OwnedHeaders>);

impl Headers {
    fn with_capacity(count: usize) -> Self {
        Self(Some(OwnedHeaders::new_with_capacity(count)))
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        let header = Header {
            key,
            value: Some(value),
        };
        self.0 = self.0.take().map(|headers| headers.insert(header));
    }

    fn finish(self) -> OwnedHeaders {
        self.0.expect("only taken to be put back")
    }
}
