//! Writing: one event, one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;

use super::write_string;
use crate::envelope::{Attribute, AttributeValue, Envelope, Str, media_type, time};

/// Writes events and remembers the attributes that a source does not change, so that a run of events of one source encodes
/// them once. One writer for each thread of work; it holds a few hundred bytes.
#[derive(Debug, Default)]
pub struct Writer {
    source: Str,
    event_type: Str,
    datacontenttype: Str,
    tenantid: Str,
    /// `{"specversion":"1.0", … ` of the attributes above, up to and including the name of `id`.
    prefix: Vec<u8>,
    /// How data of `datacontenttype` is written.
    form: Form,
}

/// How data of a content type appears in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Json,
    Text,
    Binary,
}

impl Writer {
    /// A writer that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `envelope` as one JSON object without raw line breaks and without a final one.
    ///
    /// Data of a JSON type is copied as it is, without the white space around its line breaks; where it is not JSON after
    /// all, it goes as `data_base64`. Textual data is a string if it is UTF-8; everything else is `data_base64`.
    pub fn write(&mut self, envelope: &Envelope, out: &mut Vec<u8>) {
        self.remember(envelope);
        out.reserve(self.prefix.len() + 320 + envelope.data.len());
        out.extend_from_slice(&self.prefix);
        write_string(&envelope.id, out);
        envelope.for_each_changing_attribute(|attribute| write_attribute(&attribute, out));
        self.write_data(envelope, out);
        out.push(b'}');
    }

    fn remember(&mut self, envelope: &Envelope) {
        if !self.prefix.is_empty()
            && self.source == envelope.source
            && self.event_type == envelope.event_type
            && self.datacontenttype == envelope.datacontenttype
            && self.tenantid == envelope.tenantid
        {
            return;
        }
        self.source = envelope.source.clone();
        self.event_type = envelope.event_type.clone();
        self.datacontenttype = envelope.datacontenttype.clone();
        self.tenantid = envelope.tenantid.clone();
        self.form = if media_type::is_json(&envelope.datacontenttype) {
            Form::Json
        } else if media_type::is_utf8_text(&envelope.datacontenttype) {
            Form::Text
        } else {
            Form::Binary
        };
        let prefix = &mut self.prefix;
        prefix.clear();
        prefix.extend_from_slice(b"{\"specversion\":\"1.0\",\"source\":");
        write_string(&self.source, prefix);
        prefix.extend_from_slice(b",\"type\":");
        write_string(&self.event_type, prefix);
        prefix.extend_from_slice(b",\"datacontenttype\":");
        write_string(&self.datacontenttype, prefix);
        prefix.extend_from_slice(b",\"tenantid\":");
        write_string(&self.tenantid, prefix);
        prefix.extend_from_slice(b",\"envelopeversion\":1,\"id\":");
    }

    fn write_data(&self, envelope: &Envelope, out: &mut Vec<u8>) {
        let Some(data) = envelope.data.bytes() else {
            return;
        };
        match self.form {
            Form::Json if envelope.data.is_known_json() || is_json(data) => {
                out.extend_from_slice(b",\"data\":");
                write_json_line_text(data, out);
            }
            Form::Text if let Ok(text) = std::str::from_utf8(data) => {
                out.extend_from_slice(b",\"data\":");
                write_string(text, out);
            }
            _ => {
                out.extend_from_slice(b",\"data_base64\":\"");
                let start = out.len();
                let room = base64::encoded_len(data.len(), true).unwrap_or(usize::MAX);
                out.resize(start + room, 0);
                let written = BASE64
                    .encode_slice(data, &mut out[start..])
                    .expect("the room is the encoded length");
                out.truncate(start + written);
                out.push(b'"');
            }
        }
    }
}

/// Appends one event; see [`Writer::write`], which is faster for many.
pub fn write(envelope: &Envelope, out: &mut Vec<u8>) {
    Writer::new().write(envelope, out);
}

/// Appends a JSON array of events, on one line.
pub fn write_batch<'a>(envelopes: impl IntoIterator<Item = &'a Envelope>, out: &mut Vec<u8>) {
    let mut writer = Writer::new();
    out.push(b'[');
    for (index, envelope) in envelopes.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        writer.write(envelope, out);
    }
    out.push(b']');
}

/// Appends `json`, one valid JSON text, without line breaks and the white space that follows them. Inside a valid text a raw
/// line break only ever stands between tokens, and no two tokens need white space to be told apart.
pub fn write_json_line_text(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        let blank = rest[at..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        rest = &rest[at + blank..];
    }
    out.extend_from_slice(rest);
}

fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn write_attribute(attribute: &Attribute<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(attribute.name.as_bytes());
    out.extend_from_slice(b"\":");
    match attribute.value {
        AttributeValue::String(text) => write_string(text, out),
        AttributeValue::Integer(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes())
        }
        AttributeValue::Boolean(true) => out.extend_from_slice(b"true"),
        AttributeValue::Boolean(false) => out.extend_from_slice(b"false"),
        AttributeValue::Timestamp(at) => {
            out.push(b'"');
            time::write(at, out);
            out.push(b'"');
        }
    }
}
