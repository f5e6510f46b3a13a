//! The conformance suite of the JSON format; see `fixtures/cloudevents/README.md`.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::envelope::{CloudEvent, ExtensionValue, InvalidEvent, json};

#[derive(serde::Deserialize)]
struct Case {
    id: String,
    attribute: Option<String>,
    event: Option<Box<RawValue>>,
    batch: Option<Box<RawValue>>,
}

fn cases(text: &'static str) -> Vec<Case> {
    serde_json::from_str(text).expect("the fixture is JSON")
}

fn read(case: &Case) -> Result<CloudEvent, InvalidEvent> {
    let event = case.event.as_ref().expect("an event");
    json::read(&Bytes::copy_from_slice(event.get().as_bytes()))
}

fn read_batch(case: &Case) -> Result<Vec<CloudEvent>, InvalidEvent> {
    let batch = case.batch.as_ref().expect("a batch");
    json::read_batch(&Bytes::copy_from_slice(batch.get().as_bytes()))
}

#[test]
fn the_10_valid_events_are_read() {
    let cases = cases(include_str!(
        "../../../../../fixtures/cloudevents/valid-events.json"
    ));
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let event = read(case).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        assert_eq!(event.event_type, "io.cloudevents.test");
        match case.id.as_str() {
            "validAllCoreAttributes" => {
                assert_eq!(event.datacontenttype.as_deref(), Some("text/plain"));
                assert_eq!(
                    event.dataschema.as_deref(),
                    Some("https://cloudevents.io/dataschema")
                );
                assert_eq!(event.subject.as_deref(), Some("tests"));
            }
            id if id.starts_with("validMinimalWithTime") => {
                assert_eq!(
                    event.time,
                    Some("2018-04-05T17:31:00Z".parse().expect("an instant")),
                    "{id}"
                );
            }
            "validSimpleTextData" => assert_eq!(
                event.data.bytes().map(|b| &b[..]),
                Some(&b"Simple text"[..])
            ),
            "validAllExtensionTypes" => {
                assert_eq!(
                    event.extensions.get("extinteger"),
                    Some(&ExtensionValue::Integer(10))
                );
                assert_eq!(
                    event.extensions.get("extboolean"),
                    Some(&ExtensionValue::Boolean(true))
                );
                assert_eq!(
                    event.extensions.get("extbinary"),
                    Some(&ExtensionValue::String("TWE=".into()))
                );
                assert_eq!(event.extensions.iter().len(), 7);
            }
            _ => {}
        }
    }
}

#[test]
fn the_25_invalid_events_are_refused_and_the_attribute_is_named() {
    let cases = cases(include_str!(
        "../../../../../fixtures/cloudevents/invalid-events.json"
    ));
    assert_eq!(cases.len(), 25);
    for case in &cases {
        let error = read(case).expect_err(&case.id);
        assert_eq!(
            error.attribute(),
            case.attribute.as_deref(),
            "{}: {error}",
            case.id
        );
    }
}

#[test]
fn valid_batches_are_read() {
    let cases = cases(include_str!(
        "../../../../../fixtures/cloudevents/valid-batches.json"
    ));
    let sizes: Vec<usize> = cases
        .iter()
        .map(|case| read_batch(case).expect(&case.id).len())
        .collect();
    assert_eq!(sizes, [0, 1, 2, 2, 2]);
}

#[test]
fn invalid_batches_are_refused_and_the_event_is_named() {
    let cases = cases(include_str!(
        "../../../../../fixtures/cloudevents/invalid-batches.json"
    ));
    let errors: Vec<String> = cases
        .iter()
        .map(|case| read_batch(case).expect_err(&case.id).to_string())
        .collect();
    assert_eq!(
        errors,
        [
            "event 1 of the batch: `specversion` must be `1.0`",
            "event 0 of the batch: `id` is missing",
            "event 0 of the batch: must be a JSON object",
        ]
    );
}
