//! Whatever a source makes comes back from every format as it was.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{envelope, full};
use crate::envelope::{
    Data, Envelope, ExtensionValue, http, json, kafka, media_type, schema, wire,
};

/// JSON keeps the value of JSON data, not its white space; every other format keeps bytes. What is known of data is not
/// part of the event.
fn comparable(mut envelope: Envelope, json_by_value: bool) -> Envelope {
    if let Some(bytes) = envelope.data.bytes() {
        let value = serde_json::from_slice::<serde_json::Value>(bytes);
        envelope.data = match value {
            Ok(value) if json_by_value && media_type::is_json(&envelope.datacontenttype) => {
                Data::opaque(value.to_string())
            }
            _ => Data::opaque(bytes.clone()),
        };
    }
    envelope
}

/// Headers carry canonical strings, so that the type of an unknown extension is not known any more.
fn with_string_extensions(mut envelope: Envelope) -> Envelope {
    let strings: Vec<(String, String)> = envelope
        .extensions
        .iter()
        .map(|(name, value)| {
            let text = match value {
                ExtensionValue::Boolean(truth) => truth.to_string(),
                ExtensionValue::Integer(number) => number.to_string(),
                ExtensionValue::String(text) => text.to_string(),
            };
            (name.to_string(), text)
        })
        .collect();
    for (name, text) in strings {
        envelope
            .extensions
            .set(name, ExtensionValue::String(text.into()));
    }
    envelope
}

fn json_line(envelope: &Envelope) -> Bytes {
    let mut out = Vec::new();
    json::write(envelope, &mut out);
    Bytes::from(out)
}

proptest! {
    #[test]
    fn json(envelope in envelope()) {
        let line = json_line(&envelope);
        prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        let read = json::read(&line).expect("valid").into_envelope().expect("ours");
        prop_assert_eq!(comparable(read, true), comparable(envelope, true));
    }

    #[test]
    fn json_batch(envelopes in proptest::collection::vec(envelope(), 0..4)) {
        let mut out = Vec::new();
        json::write_batch(&envelopes, &mut out);
        let read: Vec<Envelope> = json::read_batch(&Bytes::from(out)).expect("valid").into_iter()
            .map(|event| comparable(event.into_envelope().expect("ours"), true)).collect();
        let written: Vec<Envelope> = envelopes.into_iter().map(|envelope| comparable(envelope, true)).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_writer_that_remembers_writes_the_same(envelopes in proptest::collection::vec(envelope(), 1..4)) {
        let mut writer = json::Writer::new();
        for envelope in envelopes.iter().chain(&envelopes).flat_map(|envelope| [envelope, envelope]) {
            let mut out = Vec::new();
            writer.write(envelope, &mut out);
            prop_assert_eq!(&json_line(envelope)[..], &out[..]);
        }
    }

    #[test]
    fn http_binary(envelope in envelope()) {
        let (headers, body) = http::write_binary(&envelope);
        let read = http::read(&headers, &body.unwrap_or_default()).expect("valid").remove(0).into_envelope().expect("ours");
        let mut expected = with_string_extensions(comparable(envelope, false));
        if expected.data.is_empty() {
            expected.data = Data::none();
        }
        prop_assert_eq!(comparable(read, false), expected);
    }

    #[test]
    fn http_structured(envelope in envelope()) {
        let (headers, body) = http::write_structured(&envelope);
        let read = http::read(&headers, &body).expect("valid").remove(0).into_envelope().expect("ours");
        prop_assert_eq!(comparable(read, true), comparable(envelope, true));
    }

    #[test]
    fn kafka_binary(envelope in envelope()) {
        let mut headers = Vec::new();
        kafka::for_each_header(&envelope, |name, value| headers.push((name.to_owned(), value.to_vec())));
        let borrowed: Vec<(&str, Option<&[u8]>)> = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect();
        let read = kafka::read(borrowed, envelope.data.bytes()).expect("valid").into_envelope().expect("ours");
        prop_assert_eq!(comparable(read, false), with_string_extensions(comparable(envelope, false)));
    }

    #[test]
    fn wire(envelopes in proptest::collection::vec(envelope(), 1..4)) {
        let mut out = BytesMut::new();
        for envelope in &envelopes {
            wire::encode(envelope, &mut out).expect("short enough");
        }
        let mut input = out.freeze();
        for envelope in envelopes {
            prop_assert_eq!(wire::decode(&mut input), Ok(envelope));
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn the_schema_accepts_what_is_written(envelope in envelope()) {
        thread_local! {
            static VALIDATOR: jsonschema::Validator = jsonschema::validator_for(&schema::schema()).expect("a schema");
        }
        let value: serde_json::Value = serde_json::from_slice(&json_line(&envelope)).expect("JSON");
        VALIDATOR.with(|validator| {
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            prop_assert!(errors.is_empty(), "{:?}", errors);
            Ok(())
        })?;
    }
}

#[test]
fn the_schema_lists_every_attribute_and_requires_what_is_always_there() {
    let schema = schema::schema();
    let mut written = BTreeSet::new();
    full().for_each_attribute(|attribute| {
        written.insert(attribute.name.to_owned());
    });
    let extensions: BTreeSet<String> = full()
        .extensions
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    let data = BTreeSet::from(["data".to_owned(), "data_base64".to_owned()]);
    let listed: BTreeSet<String> = schema["properties"]
        .as_object()
        .expect("properties")
        .keys()
        .cloned()
        .collect();
    assert_eq!(&listed - &data, &written - &extensions);

    let known: BTreeSet<String> = crate::envelope::NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(known, &written - &extensions);

    let mut always = BTreeSet::new();
    let minimal = Envelope::new("1", "/s", "t", full().time, Data::none());
    minimal.for_each_attribute(|attribute| {
        always.insert(attribute.name.to_owned());
    });
    let required: BTreeSet<String> = schema["required"]
        .as_array()
        .expect("required")
        .iter()
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(required, always);
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../config/envelope.schema.json"
    );
    let generated = format!("{:#}\n", schema::schema());
    if std::env::var_os("HEADGATE_REFRESH").is_some() {
        std::fs::write(path, &generated).expect("config/ is writable");
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "config/envelope.schema.json is stale: run this test with HEADGATE_REFRESH=1"
    );
}
