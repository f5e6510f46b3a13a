//! Writing an event as headers and a body.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::encode_header_value;
use crate::envelope::{AttributeValue, Envelope, json, time};

/// Binary mode: `ce-` headers, `content-type`, and the data as the body (`None`: no data).
///
/// # Panics
/// Never for names and types that are legal, as an envelope's are.
#[must_use]
pub fn write_binary(envelope: &Envelope) -> (HeaderMap, Option<Bytes>) {
    let mut headers = HeaderMap::with_capacity(24);
    envelope.for_each_attribute(|attribute| {
        if attribute.name == "datacontenttype" {
            return;
        }
        let text = match attribute.value {
            AttributeValue::String(text) => encode_header_value(text).into_owned(),
            AttributeValue::Integer(number) => number.to_string(),
            AttributeValue::Boolean(truth) => truth.to_string(),
            AttributeValue::Timestamp(at) => time::text(at),
        };
        let name = HeaderName::from_bytes(format!("ce-{}", attribute.name).as_bytes())
            .expect("attribute names are letters and digits");
        headers.insert(
            name,
            HeaderValue::try_from(text).expect("percent-encoded values are printable ASCII"),
        );
    });
    if let Ok(value) = HeaderValue::from_str(&envelope.datacontenttype) {
        headers.insert(CONTENT_TYPE, value);
    }
    (headers, envelope.data.bytes().cloned())
}

/// Structured mode: the event as JSON, under [`json::CONTENT_TYPE`].
#[must_use]
pub fn write_structured(envelope: &Envelope) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(json::CONTENT_TYPE));
    let mut body = Vec::new();
    json::write(envelope, &mut body);
    (headers, Bytes::from(body))
}
