//! The Kafka binding: binary and structured mode.
//!
//! Source: CloudEvents 1.0.2, "Kafka Protocol Binding for CloudEvents". This module knows header names and values, not a
//! client: a sink hands the pairs to its producer, a source hands over what its consumer got.

use bytes::Bytes;

use super::cloudevent::{CloudEvent, Draft, Value};
use super::error::Problem;
use super::media_type::Mode;
use super::{AttributeValue, Data, Envelope, InvalidEvent, json, time};

/// The header that declares the media type, in both modes.
pub const CONTENT_TYPE: &str = "content-type";

/// `content-type` of structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = json::CONTENT_TYPE;

const PREFIX: &str = "ce_";

/// Calls `header(name, value)` for each header of binary mode: the attributes, then `content-type`. The record's value is
/// [`Envelope::data`] (no data: a null value), its key `partitionkey`. Nothing is allocated, except for a long extension name.
pub fn for_each_header(envelope: &Envelope, mut header: impl FnMut(&str, &[u8])) {
    envelope.for_each_attribute(|attribute| {
        let name = match attribute.name {
            "datacontenttype" => return,
            known => Name::of(known),
        };
        match attribute.value {
            AttributeValue::String(text) => header(name.as_str(), text.as_bytes()),
            AttributeValue::Integer(number) => {
                header(name.as_str(), itoa::Buffer::new().format(number).as_bytes())
            }
            AttributeValue::Boolean(truth) => {
                header(name.as_str(), if truth { b"true" } else { b"false" })
            }
            AttributeValue::Timestamp(at) => {
                let mut text = [0_u8; time::MAX_LEN];
                let mut rest = &mut text[..];
                time::write(at, &mut rest);
                let written = time::MAX_LEN - rest.len();
                header(name.as_str(), &text[..written]);
            }
        }
    });
    header(CONTENT_TYPE, envelope.datacontenttype.as_bytes());
}

/// The name of a header: static for the profile's attributes, put together for an extension's.
enum Name {
    Known(&'static str),
    Extension(smol_str::SmolStr),
}

macro_rules! known_names {
    ($($name:literal),* $(,)?) => {
        impl Name {
            fn of(attribute: &str) -> Self {
                match attribute {
                    $($name => Self::Known(concat!("ce_", $name)),)*
                    extension => Self::Extension(smol_str::format_smolstr!("{PREFIX}{extension}")),
                }
            }

            fn as_str(&self) -> &str {
                match self {
                    Self::Known(name) => name,
                    Self::Extension(name) => name,
                }
            }
        }
    };
}

known_names!(
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "recordedtime",
    "tenantid",
    "envelopeversion",
    "correlationid",
    "subject",
    "partitionkey",
    "dataschema",
    "causationid",
    "sequence",
    "traceparent",
    "tracestate",
    "idempotencykey",
    "dataref",
    "authtype",
    "authid",
    "replayid",
    "originsource",
    "expirytime",
    "hop",
    "op",
);

/// Whether a record claims to be a CloudEvent: its `content-type` says so, or it has a `ce_specversion` header.
pub fn is_event<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> bool {
    headers.into_iter().any(|(name, value)| {
        name == "ce_specversion" || (name == CONTENT_TYPE && mode(value) != Mode::Binary)
    })
}

/// The event of a record. `value` is `None` for a record without one (an event without data in binary mode).
///
/// In structured mode `ce_` headers are copies and are not looked at.
///
/// # Errors
/// The first broken rule, with its attribute; `datacontenttype` stands for the `content-type` header.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    value: Option<&Bytes>,
) -> Result<CloudEvent, InvalidEvent> {
    let content_type = headers
        .clone()
        .into_iter()
        .find(|(name, _)| *name == CONTENT_TYPE);
    match mode(content_type.and_then(|(_, value)| value)) {
        Mode::Structured => {
            json::read(value.ok_or_else(|| InvalidEvent::document(Problem::Shape("has no value")))?)
        }
        Mode::Batched => Err(InvalidEvent::document(Problem::Shape(
            "is a batch, which the Kafka binding does not know: one event to a record",
        ))),
        Mode::Unsupported => Err(InvalidEvent::document(Problem::UnsupportedFormat)),
        Mode::Binary => read_binary(headers, value),
    }
}

fn mode(content_type: Option<&[u8]>) -> Mode {
    content_type
        .and_then(|value| std::str::from_utf8(value).ok())
        .map_or(Mode::Binary, Mode::of_content_type)
}

fn read_binary<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: Option<&Bytes>,
) -> Result<CloudEvent, InvalidEvent> {
    let mut draft = Draft::default();
    let mut doubled_type = None;
    for (name, value) in headers {
        let attribute = match name.strip_prefix(PREFIX) {
            Some(attribute) => attribute,
            None if name == CONTENT_TYPE => "datacontenttype",
            None => continue,
        };
        let text = value
            .ok_or_else(|| InvalidEvent::rule(attribute, "has no value"))
            .and_then(|value| {
                std::str::from_utf8(value)
                    .map_err(|_| InvalidEvent::rule(attribute, "must be UTF-8"))
            })?;
        // Some producers repeat the media type as an attribute, which the binding does not forbid.
        if name == "ce_datacontenttype" {
            doubled_type = Some(text);
        } else {
            draft.attribute(attribute, &Value::String(text))?;
        }
    }
    match (&draft.datacontenttype, doubled_type) {
        (None, Some(text)) => draft.attribute("datacontenttype", &Value::String(text))?,
        (Some(declared), Some(text)) if declared != text => {
            return Err(InvalidEvent::rule(
                "datacontenttype",
                "differs from the `content-type` header",
            ));
        }
        _ => {}
    }
    if let Some(value) = value {
        draft.data = Data::opaque(value.clone());
    }
    draft.finish()
}
