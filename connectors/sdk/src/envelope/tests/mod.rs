//! The envelope against published vectors, against itself, and against what senders get wrong.

mod conformance;
mod from_outside;
mod read_http;
mod read_json;
mod read_kafka;
mod round_trip;
mod snapshots;
mod wire_damage;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::{Data, Envelope, ExtensionValue, Op, Str, Timestamp, is_legal_name, is_legal_string};

/// Strings that CloudEvents allows, not empty.
fn legal_text() -> impl Strategy<Value = Str> {
    prop_oneof![
        "[ -~]{1,40}",
        any::<String>().prop_map(|text| text
            .chars()
            .filter(|c| is_legal_string(c.encode_utf8(&mut [0; 4])))
            .collect()),
    ]
    .prop_filter_map("not empty", |text: String| {
        (!text.is_empty()).then(|| Str::from(text))
    })
}

fn instant() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0_i64..4_102_444_800, -62_000_000_000_i64..253_402_000_000]
        .prop_flat_map(|seconds| (Just(seconds), prop_oneof![Just(0), 0..1_000_000_000_i32]))
        .prop_map(|(seconds, nanos)| {
            Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
                .expect("in range")
        })
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A payload and its media type.
fn payload() -> impl Strategy<Value = (&'static str, Data)> {
    let bytes = vec(any::<u8>(), 0..64);
    prop_oneof![
        Just(("application/json", Data::none())),
        json_value().prop_map(|value| ("application/json", Data::json(value.to_string()))),
        bytes
            .clone()
            .prop_map(|bytes| ("application/pdf", Data::opaque(bytes))),
        bytes.prop_map(|bytes| ("text/csv; charset=iso-8859-1", Data::opaque(bytes))),
        any::<String>().prop_map(|text| ("text/plain", Data::opaque(text))),
    ]
}

fn extensions() -> impl Strategy<Value = Vec<(String, ExtensionValue)>> {
    let value = prop_oneof![
        any::<bool>().prop_map(ExtensionValue::Boolean),
        any::<i32>().prop_map(ExtensionValue::Integer),
        legal_text().prop_map(ExtensionValue::String),
    ];
    let name = "x[a-z0-9]{0,19}".prop_filter("a legal name", |name| is_legal_name(name));
    vec((name, value), 0..4)
}

prop_compose! {
    /// Any envelope that a source may make.
    fn envelope()(
        (id, event_type, correlationid, same) in (legal_text(), legal_text(), legal_text(), any::<bool>()),
        (time, recordedtime, expirytime) in (instant(), instant(), option::of(instant())),
        (datacontenttype, data) in payload(),
        strings in vec(option::of(legal_text()), 12),
        (dataschema, tenant) in (option::of("https://[a-z]{1,9}\\.example/v[0-9]"), prop_oneof![Just("default".to_owned()), "[a-z]{1,12}"]),
        hop in option::of(0..i32::MAX),
        op in option::of(prop_oneof![Just(Op::Create), Just(Op::Update), Just(Op::Delete), Just(Op::Read), Just(Op::Truncate), Just(Op::Message)]),
        extensions in extensions(),
    ) -> Envelope {
        let mut envelope = Envelope::new(id, format!("urn:headgate:{tenant}:webhook:github"), event_type, time, data);
        envelope.recordedtime = recordedtime;
        if !same {
            envelope.correlationid = correlationid;
        }
        envelope.datacontenttype = datacontenttype.into();
        envelope.tenantid = tenant.into();
        envelope.expirytime = expirytime;
        envelope.dataschema = dataschema.map(Str::from);
        envelope.hop = hop;
        envelope.op = op;
        let mut strings = strings.into_iter();
        for field in [
            &mut envelope.subject, &mut envelope.partitionkey, &mut envelope.causationid, &mut envelope.sequence,
            &mut envelope.traceparent, &mut envelope.tracestate, &mut envelope.idempotencykey, &mut envelope.dataref,
            &mut envelope.authtype, &mut envelope.authid, &mut envelope.replayid, &mut envelope.originsource,
        ] {
            *field = strings.next().flatten();
        }
        for (name, value) in extensions {
            envelope.extensions.set(name, value);
        }
        envelope
    }
}

/// An envelope with every attribute, for snapshots.
fn full() -> Envelope {
    let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
    let mut envelope = Envelope::new(
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "urn:headgate:acme:webhook:github",
        "github.push.v1",
        at("2026-01-31T12:00:00Z"),
        Data::json(Bytes::from_static(
            b"{\n  \"ref\": \"refs/heads/main\",\r\n  \"size\": 1.50\n}\n",
        )),
    );
    envelope.recordedtime = at("2026-01-31T12:00:00.123456Z");
    envelope.tenantid = "acme".into();
    envelope.correlationid = "0af7651916cd43dd8448eb211c80319c".into();
    envelope.subject = Some("octo/\"hello\" wörld €".into());
    envelope.partitionkey = Some("octo/hello".into());
    envelope.expirytime = Some(at("2026-02-01T12:00:00Z"));
    envelope.dataschema = Some("https://schemas.example/github/push/v1.json".into());
    envelope.causationid = Some("parent".into());
    envelope.hop = Some(2);
    envelope.sequence = Some("00000000000000000042".into());
    envelope.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    envelope.tracestate = Some("congo=t61rcWkgMzE".into());
    envelope.op = Some(Op::Update);
    envelope.idempotencykey = Some("key-1".into());
    envelope.dataref = Some("file:///blobs/1".into());
    envelope.authtype = Some("hmac".into());
    envelope.authid = Some("github".into());
    envelope.replayid = Some("r1".into());
    envelope.originsource = Some("/octo".into());
    envelope
        .extensions
        .set("xflag", ExtensionValue::Boolean(true));
    envelope
        .extensions
        .set("xcount", ExtensionValue::Integer(-7));
    envelope
        .extensions
        .set("xnote", ExtensionValue::String("100% sure".into()));
    envelope
}
