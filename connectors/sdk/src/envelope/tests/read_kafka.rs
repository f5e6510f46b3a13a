//! The Kafka binding; the first two cases are those of `features/kafka-protocol-binding.feature` in
//! <https://github.com/cloudevents/conformance>.

use bytes::Bytes;

use crate::envelope::{CloudEvent, InvalidEvent, kafka};

const HELLO: &[u8] = br#"{"message": "Hello World!"}"#;

type Header = (&'static str, Option<&'static [u8]>);

fn binary(more: &[Header], value: Option<&'static [u8]>) -> Result<CloudEvent, InvalidEvent> {
    let mut headers: Vec<Header> = vec![
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(b"1234-1234-1234")),
        ("ce_type", Some(b"com.example.someevent")),
        ("ce_source", Some(b"/mycontext/subcontext")),
    ];
    headers.extend_from_slice(more);
    kafka::read(headers, value.map(Bytes::from_static).as_ref())
}

#[test]
fn binary_mode_of_the_conformance_suite() {
    let event = binary(
        &[
            ("ce_time", Some(b"2018-04-05T03:56:24Z")),
            ("content-type", Some(b"application/json")),
        ],
        Some(HELLO),
    )
    .expect("valid");
    assert_eq!(event.id, "1234-1234-1234");
    assert_eq!(
        event.time,
        Some("2018-04-05T03:56:24Z".parse().expect("an instant"))
    );
    assert_eq!(event.datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(event.data.bytes().map(|b| &b[..]), Some(HELLO));
}

#[test]
fn structured_mode_of_the_conformance_suite() {
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
    ] {
        let value = Bytes::from_static(
            br#"{"specversion":"1.0","type":"com.example.someevent","id":"1234-1234-1234","source":"/mycontext/subcontext",
            "datacontenttype":"application/json","data":{"message": "Hello World!"}}"#,
        );
        let event = kafka::read(
            [("content-type", Some(content_type.as_bytes()))],
            Some(&value),
        )
        .expect("valid");
        assert_eq!(event.event_type, "com.example.someevent");
        assert_eq!(event.data.bytes().map(|b| &b[..]), Some(HELLO));
    }
}

#[test]
fn no_value_is_no_data_and_an_empty_value_is_empty_data() {
    assert_eq!(binary(&[], None).expect("valid").data.bytes(), None);
    assert_eq!(
        binary(&[], Some(b""))
            .expect("valid")
            .data
            .bytes()
            .map(Bytes::len),
        Some(0)
    );
}

#[test]
fn broken_rules_name_their_attribute() {
    for (name, value, attribute) in [
        ("ce_id", Some(&b"again"[..]), Some("id")),
        ("ce_x", None, Some("x")),
        ("ce_x", Some(b"\xff"), Some("x")),
        ("ce_X", Some(b"1"), Some("X")),
        ("content-type", Some(b"nonsense"), Some("datacontenttype")),
        (
            "content-type",
            Some(b"application/cloudevents-batch+json"),
            None,
        ),
        ("content-type", Some(b"application/cloudevents+avro"), None),
        ("content-type", Some(b"application/cloudevents+json"), None),
    ] {
        let error = binary(&[(name, value)], None).expect_err(name);
        assert_eq!(error.attribute(), attribute, "{name}: {error}");
    }
    let two_types: [Header; 2] = [
        ("content-type", Some(b"text/plain")),
        ("ce_datacontenttype", Some(b"text/csv")),
    ];
    assert_eq!(
        binary(&two_types, None)
            .expect_err("they differ")
            .attribute(),
        Some("datacontenttype")
    );
}

#[test]
fn a_repeated_media_type_is_read_and_other_headers_are_not() {
    let event = binary(
        &[
            ("ce_datacontenttype", Some(b"text/csv")),
            ("traceparent", Some(b"x")),
            ("Ce_id", None),
        ],
        None,
    )
    .expect("valid");
    assert_eq!(event.datacontenttype.as_deref(), Some("text/csv"));
    assert!(event.extensions.is_empty());
}

#[test]
fn a_record_is_an_event_if_it_says_so() {
    assert!(kafka::is_event([("ce_specversion", None)]));
    assert!(kafka::is_event([(
        "content-type",
        Some(&b"application/cloudevents+json"[..])
    )]));
    assert!(!kafka::is_event([
        ("content-type", Some(&b"application/json"[..])),
        ("ce_id", None)
    ]));
}
