//! What the fuzz targets of the envelope do with their bytes: read, and hold what was read against what it promises.

use bytes::{Bytes, BytesMut};
use headgate_sdk::envelope::{self, CloudEvent, Envelope, Receipt, http, json, kafka, wire};

/// A JSON event.
pub(crate) fn event_json(input: &[u8]) {
    if let Ok(event) = json::read(&Bytes::copy_from_slice(input)) {
        accepted(event);
    }
}

/// A JSON batch.
pub(crate) fn event_batch(input: &[u8]) {
    if let Ok(events) = json::read_batch(&Bytes::copy_from_slice(input)) {
        events.into_iter().for_each(accepted);
    }
}

/// An HTTP message: header lines, an empty line, the body. Lines that no HTTP parser would pass on are left out.
pub(crate) fn event_http(input: &[u8]) {
    let (head, body) = split_head(input);
    let headers: ::http::HeaderMap = lines(head)
        .filter_map(|(name, value)| {
            let name = ::http::HeaderName::from_bytes(name).ok()?;
            Some((name, ::http::HeaderValue::from_bytes(value).ok()?))
        })
        .fold(::http::HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        });
    let _ = http::is_event(&headers);
    if let Ok(events) = http::read(&headers, &Bytes::copy_from_slice(body)) {
        events.into_iter().for_each(accepted);
    }
}

/// A Kafka record: header lines (`-` alone as the value: null), an empty line, the value.
pub(crate) fn event_kafka(input: &[u8]) {
    let (head, body) = split_head(input);
    let headers: Vec<(&str, Option<&[u8]>)> = lines(head)
        .filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                (value != b"-").then_some(value),
            ))
        })
        .collect();
    let _ = kafka::is_event(headers.iter().copied());
    for value in [None, Some(Bytes::copy_from_slice(body))] {
        if let Ok(event) = kafka::read(headers.iter().copied(), value.as_ref()) {
            accepted(event);
        }
    }
}

/// Records of our own stores, which a disk may have damaged.
pub(crate) fn event_wire(input: &[u8]) {
    let mut rest = Bytes::copy_from_slice(input);
    while let Ok(envelope) = wire::decode(&mut rest) {
        let mut again = BytesMut::new();
        wire::encode(&envelope, &mut again).expect("it was shorter than 4 GiB");
        assert_eq!(wire::decode(&mut again.freeze()), Ok(envelope));
    }
}

/// An accepted event keeps to the rules, and so does the envelope that it becomes, through every format.
fn accepted(event: CloudEvent) {
    assert!(!event.id.is_empty() && !event.source.is_empty() && !event.event_type.is_empty());
    let receipt = Receipt {
        source: "urn:headgate:acme:webhook:fuzz".into(),
        tenantid: "acme".into(),
        recordedtime: "2026-01-31T12:00:00Z".parse().expect("an instant"),
    };
    let Ok(envelope) = event.received(receipt) else {
        return;
    };
    assert_eq!(envelope.tenantid, "acme");
    envelope.for_each_attribute(|attribute| {
        assert!(
            envelope::is_legal_name(attribute.name),
            "{}",
            attribute.name
        );
        if let envelope::AttributeValue::String(text) = attribute.value {
            assert!(envelope::is_legal_string(text), "{text:?}");
        }
    });
    let mut line = Vec::new();
    json::write(&envelope, &mut line);
    assert!(
        !line.contains(&b'\n') && !line.contains(&b'\r'),
        "a raw line break"
    );
    same(
        &json::read(&Bytes::from(line)).expect("what we write is valid"),
        &envelope,
    );
    let (headers, body) = http::write_binary(&envelope);
    let read = http::read(&headers, &body.unwrap_or_default()).expect("what we write is valid");
    same(&read[0], &envelope);
    let mut record = BytesMut::new();
    wire::encode(&envelope, &mut record).expect("short");
    assert_eq!(wire::decode(&mut record.freeze()), Ok(envelope));
}

fn same(event: &CloudEvent, envelope: &Envelope) {
    assert_eq!(event.id, envelope.id);
    assert_eq!(event.time, Some(envelope.time));
    assert_eq!(event.subject, envelope.subject);
    assert_eq!(event.data.is_empty(), envelope.data.is_empty());
}

fn split_head(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, b""),
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|&byte| byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..at], line[at + 1..].trim_ascii()))
    })
}
