//! From a verified request to its events.

use bytes::Bytes;
use headgate_sdk::{
    Data, Envelope, Str, Timestamp,
    envelope::{self, InvalidEvent, Receipt, legal_string},
};

use super::{DedupFrom, EventType, intake::Endpoint};
use crate::verify::{Incoming, Place, Verified};

/// A request, verified and inflated.
pub(super) struct Delivery<'a> {
    pub(super) incoming: Incoming<'a>,
    pub(super) body: &'a Bytes,
    pub(super) received: Timestamp,
    pub(super) verified: &'a Verified,
}

/// Events, each with the id by which its repetitions are recognised, if there is one.
pub(super) type Identified = Vec<(Envelope, Option<String>)>;

/// The events of a CloudEvents request: attributes are kept, ours are added.
pub(super) fn cloudevents(
    endpoint: &Endpoint,
    delivery: &Delivery<'_>,
) -> Result<Identified, InvalidEvent> {
    let events = envelope::http::read(delivery.incoming.headers, delivery.body)?;
    events
        .into_iter()
        .map(|event| {
            let receipt = Receipt {
                source: endpoint.urn.clone(),
                tenantid: endpoint.tenant.clone(),
                recordedtime: delivery.received,
            };
            let mut envelope = event.received(receipt)?;
            authenticated(endpoint, delivery, &mut envelope);
            if let Some(key) = read(endpoint.config.partition_key.as_ref(), &delivery.incoming) {
                envelope.partitionkey = Some(key);
            }
            let key = match endpoint.dedup {
                DedupFrom::None => None,
                _ => envelope
                    .originsource
                    .as_ref()
                    .map(|origin| format!("{origin}\n{}", envelope.id)),
            };
            Ok((envelope, key))
        })
        .collect()
}

/// The one event of any other request.
pub(super) fn plain(endpoint: &Endpoint, delivery: &Delivery<'_>) -> (Envelope, Option<String>) {
    let incoming = &delivery.incoming;
    let vendor_id = match &endpoint.dedup {
        DedupFrom::Place(place) => place
            .read(incoming)
            .filter(|id| !id.is_empty())
            .map(|id| id.into_owned()),
        DedupFrom::Body => Some(blake3::hash(delivery.body).to_hex()[..32].to_owned()),
        DedupFrom::None => None,
    };
    let id = match &vendor_id {
        Some(id) => Str::from(legal_string(id)),
        None => endpoint.unique_id(delivery.body),
    };
    let data = match delivery.body.is_empty() {
        // A delivery by GET has its parameters in the URL.
        true => match incoming.query() {
            Some(query) if incoming.method == "GET" => Data::opaque(query.as_bytes().to_vec()),
            _ => Data::none(),
        },
        false => Data::opaque(delivery.body.clone()),
    };
    let time = delivery.verified.sent_at.unwrap_or(delivery.received);
    let mut envelope = Envelope::new(
        id,
        endpoint.urn.clone(),
        event_type(endpoint, incoming),
        time,
        data,
    );
    envelope.recordedtime = delivery.received;
    envelope.tenantid = endpoint.tenant.clone();
    envelope.datacontenttype = content_type(delivery);
    envelope.subject = read(endpoint.config.subject.as_ref(), incoming);
    envelope.partitionkey = read(endpoint.config.partition_key.as_ref(), incoming);
    trace(delivery, &mut envelope);
    authenticated(endpoint, delivery, &mut envelope);
    (envelope, vendor_id)
}

fn read(place: Option<&Place>, incoming: &Incoming<'_>) -> Option<Str> {
    place?
        .read(incoming)
        .filter(|text| !text.is_empty())
        .map(|text| Str::from(legal_string(&text)))
}

fn content_type(delivery: &Delivery<'_>) -> Str {
    let given = delivery
        .incoming
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|value| envelope::media_type::is_legal(value));
    match given {
        Some(given) => Str::from(given),
        None if delivery.body.is_empty() => Str::new_static("application/x-www-form-urlencoded"),
        None => Str::new_static("application/octet-stream"),
    }
}

/// `{scheme}.{vendor's event}.v1`, or what the configuration says.
fn event_type(endpoint: &Endpoint, incoming: &Incoming<'_>) -> Str {
    let place = match &endpoint.config.event_type {
        Some(EventType::Constant(constant)) => return Str::from(constant.as_str()),
        Some(EventType::Place(place)) => Some(place),
        None => endpoint
            .preset
            .and_then(|preset| preset.event_type.as_ref()),
    };
    let named = place.and_then(|place| place.read(incoming));
    let scheme = &endpoint.scheme_name;
    match named.filter(|name| !name.is_empty()) {
        Some(name) => Str::from(format!("{scheme}.{}.v1", typed(&name))),
        None => Str::from(format!("{scheme}.received.v1")),
    }
}

/// Lower case, and `_` for everything that is not usual in a type's name.
fn typed(name: &str) -> String {
    name.chars()
        .take(200)
        .map(|character| match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => kept,
            _ => '_',
        })
        .collect()
}

fn trace(delivery: &Delivery<'_>, envelope: &mut Envelope) {
    let header = |name: &str| {
        delivery
            .incoming
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
    };
    if let Some(traceparent) = header("traceparent").filter(|text| envelope::is_traceparent(text)) {
        envelope.correlationid = Str::new(&traceparent[3..35]);
        envelope.traceparent = Some(Str::from(traceparent));
        envelope.tracestate = header("tracestate").map(Str::from);
    }
    if let Some(given) = header("x-correlation-id") {
        envelope.correlationid = Str::from(legal_string(given));
    }
}

/// What was verified about the sender.
fn authenticated(endpoint: &Endpoint, delivery: &Delivery<'_>, envelope: &mut Envelope) {
    envelope.authtype = Some(Str::new_static("system"));
    envelope.authid = Some(match &delivery.verified.subject {
        Some(subject) => Str::from(legal_string(&format!("{}:{subject}", endpoint.scheme_name))),
        None => endpoint.scheme_name.clone(),
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_vendors_event_name_becomes_part_of_a_type() {
        assert_eq!(super::typed("Push Hook"), "push_hook");
        assert_eq!(super::typed("orders/create"), "orders_create");
        assert_eq!(super::typed("invoice.paid"), "invoice.paid");
    }
}
