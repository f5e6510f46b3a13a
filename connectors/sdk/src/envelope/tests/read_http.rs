//! The HTTP binding; the first two cases are those of `features/http-protocol-binding.feature` in
//! <https://github.com/cloudevents/conformance>.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::envelope::{CloudEvent, ExtensionValue, InvalidEvent, http};

const HELLO: &str = "{\n    \"message\": \"Hello World!\"\n}";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            )
        })
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

fn binary(more: &[(&str, &str)], body: &str) -> Result<CloudEvent, InvalidEvent> {
    let mut pairs = vec![
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.someevent"),
        ("ce-id", "1234-1234-1234"),
        ("ce-source", "/mycontext/subcontext"),
    ];
    pairs.extend_from_slice(more);
    http::read(&headers(&pairs), &Bytes::copy_from_slice(body.as_bytes()))
        .map(|mut events| events.remove(0))
}

#[test]
fn binary_mode_of_the_conformance_suite() {
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let event = binary(
            &[
                ("ce-time", "2018-04-05T03:56:24Z"),
                ("Content-Type", content_type),
            ],
            HELLO,
        )
        .expect("valid");
        assert_eq!(event.id, "1234-1234-1234");
        assert_eq!(event.source, "/mycontext/subcontext");
        assert_eq!(event.event_type, "com.example.someevent");
        assert_eq!(
            event.time,
            Some("2018-04-05T03:56:24Z".parse().expect("an instant"))
        );
        assert_eq!(event.datacontenttype.as_deref(), Some(content_type));
        assert_eq!(event.data.bytes().map(|b| &b[..]), Some(HELLO.as_bytes()));
    }
}

#[test]
fn structured_mode_of_the_conformance_suite() {
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
    ] {
        let body = format!(
            r#"{{"specversion":"1.0","type":"com.example.someevent","time":"2018-04-05T03:56:24Z","id":"1234-1234-1234",
            "source":"/mycontext/subcontext","datacontenttype":"application/json","data":{HELLO}}}"#
        );
        let events = http::read(
            &headers(&[("content-type", content_type), ("ce-id", "a copy")]),
            &Bytes::from(body),
        )
        .expect("valid");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].id, "1234-1234-1234");
        assert_eq!(
            events[0].data.bytes().map(|b| &b[..]),
            Some(HELLO.as_bytes())
        );
    }
}

#[test]
fn batched_mode_reads_all_or_nothing() {
    let batch = headers(&[(
        "content-type",
        "application/cloudevents-batch+json; charset=UTF-8",
    )]);
    let event = r#"{"specversion":"1.0","type":"t","id":"1","source":"/"}"#;
    let read = |body: String| http::read(&batch, &Bytes::from(body)).map(|events| events.len());
    assert_eq!(read("[]".to_owned()), Ok(0));
    assert_eq!(read(format!(" [{event},{event}]")), Ok(2));
    assert_eq!(
        read(format!("[{event},{{}}]"))
            .expect_err("an empty event")
            .index(),
        Some(1)
    );
}

#[test]
fn attribute_values_are_decoded() {
    let event = binary(
        &[
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-x1", "\"a \\\" b\""),
            ("CE-Flag", "true"),
        ],
        "",
    )
    .expect("valid");
    assert_eq!(event.subject.as_deref(), Some("Euro € 😀"));
    assert_eq!(
        event.extensions.get("x1"),
        Some(&ExtensionValue::String("a \" b".into()))
    );
    assert_eq!(
        event.extensions.get("flag"),
        Some(&ExtensionValue::String("true".into()))
    );
    assert_eq!(event.data.bytes(), None);
}

#[test]
fn broken_rules_name_their_attribute() {
    for (name, value, attribute) in [
        ("ce-datacontenttype", "text/plain", "datacontenttype"),
        ("ce-id", "again", "id"),
        ("ce-x", "%C0%A0", "x"),
        ("ce-x", "%0A", "x"),
        ("ce-x", "é", "x"),
        ("ce-my-ext", "1", "my-ext"),
        ("ce-", "1", ""),
        ("ce-data", "1", "data"),
        ("ce-time", "now", "time"),
        ("ce-subject", "", "subject"),
        ("content-type", "nonsense", "datacontenttype"),
        ("content-type", "text/plain; charset", "datacontenttype"),
    ] {
        let error = binary(&[(name, value)], "").expect_err(name);
        assert_eq!(
            error.attribute(),
            Some(attribute),
            "{name}: {value}: {error}"
        );
    }
    let error = binary(
        &[("content-type", "text/plain"), ("content-type", "text/csv")],
        "",
    )
    .expect_err("two types");
    assert_eq!(error.attribute(), Some("datacontenttype"));
}

#[test]
fn a_message_is_an_event_if_it_says_so() {
    for (pairs, is_event) in [
        (&[("ce-specversion", "1.0")][..], true),
        (&[("content-type", "application/cloudevents+json")], true),
        (&[("content-type", "application/cloudevents+avro")], true),
        (
            &[("content-type", "application/json"), ("ce-id", "1")],
            false,
        ),
        (&[], false),
    ] {
        assert_eq!(http::is_event(&headers(pairs)), is_event, "{pairs:?}");
    }
    let error = http::read(
        &headers(&[("content-type", "application/cloudevents+avro")]),
        &Bytes::new(),
    )
    .expect_err("avro");
    assert_eq!(
        error.problem(),
        &crate::envelope::Problem::UnsupportedFormat
    );
    let error = http::read(&HeaderMap::new(), &Bytes::new()).expect_err("nothing");
    assert_eq!(error.to_string(), "`specversion` is missing");
}
