//! Reading a request (or a response) in any of the three modes.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::decode_header_value;
use crate::envelope::cloudevent::{CloudEvent, Draft, Value};
use crate::envelope::error::Problem;
use crate::envelope::media_type::Mode;
use crate::envelope::{Data, InvalidEvent, json};

const PREFIX: &str = "ce-";

/// Whether a message claims to be a CloudEvent: its `content-type` says so, or it has a `ce-specversion` header.
#[must_use]
pub fn is_event(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion") || mode(headers) != Mode::Binary
}

/// The events of a message: one in binary and structured mode, any number (also none) in batched mode.
///
/// An empty body in binary mode is an event without data. In the other modes `ce-` headers are copies and are not looked at.
///
/// # Errors
/// The first broken rule, with its attribute; `datacontenttype` stands for the `content-type` header.
pub fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<CloudEvent>, InvalidEvent> {
    match mode(headers) {
        Mode::Structured => Ok(vec![json::read(body)?]),
        Mode::Batched => json::read_batch(body),
        Mode::Unsupported => Err(InvalidEvent::document(Problem::UnsupportedFormat)),
        Mode::Binary => Ok(vec![read_binary(headers, body)?]),
    }
}

fn mode(headers: &HeaderMap) -> Mode {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map_or(Mode::Binary, Mode::of_content_type)
}

fn read_binary(headers: &HeaderMap, body: &Bytes) -> Result<CloudEvent, InvalidEvent> {
    let mut draft = Draft::default();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if attribute == "datacontenttype" {
            return Err(InvalidEvent::rule(
                attribute,
                "is the `content-type` header in HTTP, never `ce-datacontenttype`",
            ));
        }
        let value = decode_header_value(value.as_bytes())
            .map_err(|problem| InvalidEvent::rule(attribute, problem))?;
        draft.attribute(attribute, &Value::String(&value))?;
    }
    for value in headers.get_all(CONTENT_TYPE) {
        let value = value
            .to_str()
            .map_err(|_| InvalidEvent::rule("datacontenttype", "must be printable ASCII"))?;
        draft.attribute("datacontenttype", &Value::String(value))?;
    }
    if !body.is_empty() {
        draft.data = Data::opaque(body.clone());
    }
    draft.finish()
}
