//! What becomes of an event from outside.

use bytes::Bytes;

use crate::envelope::{Envelope, ExtensionValue, InvalidEvent, Op, Receipt, Timestamp, json};

fn receive(members: &str) -> Result<Envelope, InvalidEvent> {
    let document = format!(
        r#"{{"specversion":"1.0","id":"their-id","source":"/their/source","type":"their.type"{members}}}"#
    );
    json::read(&Bytes::from(document))
        .expect("a CloudEvent")
        .received(Receipt {
            source: "urn:headgate:acme:webhook:agents".into(),
            tenantid: "acme".into(),
            recordedtime: at("2026-01-31T12:00:00Z"),
        })
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[test]
fn identity_stays_and_the_source_moves() {
    let envelope =
        receive(r#","subject":"s","time":"2026-01-30T00:00:00Z","custom":7,"data":{"a":1}"#)
            .expect("received");
    assert_eq!(envelope.id, "their-id");
    assert_eq!(envelope.event_type, "their.type");
    assert_eq!(envelope.subject.as_deref(), Some("s"));
    assert_eq!(envelope.time, at("2026-01-30T00:00:00Z"));
    assert_eq!(envelope.recordedtime, at("2026-01-31T12:00:00Z"));
    assert_eq!(envelope.source, "urn:headgate:acme:webhook:agents");
    assert_eq!(envelope.originsource.as_deref(), Some("/their/source"));
    assert_eq!(
        envelope.extensions.get("custom"),
        Some(&ExtensionValue::Integer(7))
    );
    assert_eq!(
        envelope.data.bytes().map(|b| &b[..]),
        Some(&br#"{"a":1}"#[..])
    );
    assert_eq!(envelope.datacontenttype, "application/json");
}

#[test]
fn what_is_ours_is_never_taken() {
    let envelope = receive(
        r#","tenantid":"victim","recordedtime":"2000-01-01T00:00:00Z","envelopeversion":9,"authtype":"hmac","authid":"admin",
        "dataref":"file:///etc/passwd","originsource":"/forged""#,
    )
    .expect("received");
    assert_eq!(envelope.tenantid, "acme");
    assert_eq!(envelope.recordedtime, at("2026-01-31T12:00:00Z"));
    assert_eq!(
        (envelope.authtype, envelope.authid, envelope.dataref),
        (None, None, None)
    );
    assert_eq!(envelope.originsource.as_deref(), Some("/their/source"));
    assert!(envelope.extensions.is_empty());
}

#[test]
fn an_event_without_time_happened_when_it_was_received() {
    assert_eq!(
        receive("").expect("received").time,
        at("2026-01-31T12:00:00Z")
    );
}

#[test]
fn correlation_is_the_senders_else_the_trace_else_the_id() {
    let trace = r#","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b""#;
    assert_eq!(
        receive(&format!(r#"{trace},"correlationid":"c""#))
            .expect("received")
            .correlationid,
        "c"
    );
    let traced = receive(trace).expect("received");
    assert_eq!(traced.correlationid, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(traced.tracestate.as_deref(), Some("a=b"));
    assert_eq!(receive("").expect("received").correlationid, "their-id");
}

#[test]
fn a_traceparent_that_is_not_one_is_ignored() {
    for traceparent in [
        "garbage",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c8031éé-b7ad6b7169203331-01",
    ] {
        let envelope = receive(&format!(
            r#","traceparent":"{traceparent}","tracestate":"a=b""#
        ))
        .expect("received");
        assert_eq!(
            (envelope.traceparent, envelope.tracestate),
            (None, None),
            "{traceparent}"
        );
    }
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings";
    assert!(
        receive(&format!(r#","traceparent":"{later}""#))
            .expect("received")
            .traceparent
            .is_some()
    );
}

#[test]
fn a_chain_grows_by_one_gateway() {
    for (members, hop) in [
        ("", None),
        (r#","causationid":"p""#, Some(1)),
        (r#","envelopeversion":1"#, Some(1)),
        (r#","envelopeversion":1,"hop":2"#, Some(3)),
        (r#","hop":2"#, Some(3)),
        (r#","hop":"2""#, Some(3)),
        (r#","hop":-5"#, Some(1)),
        (r#","hop":2147483647"#, Some(i32::MAX)),
    ] {
        assert_eq!(receive(members).expect("received").hop, hop, "{members}");
    }
}

#[test]
fn attributes_of_the_profile_keep_their_type() {
    for (members, attribute) in [
        (r#","hop":"two""#, "hop"),
        (r#","hop":"+2""#, "hop"),
        (r#","hop":true"#, "hop"),
        (r#","expirytime":"soon""#, "expirytime"),
        (r#","op":"create""#, "op"),
        (r#","partitionkey":5"#, "partitionkey"),
    ] {
        let error = receive(members).expect_err(members);
        assert_eq!(error.attribute(), Some(attribute), "{members}: {error}");
    }
    let envelope = receive(r#","op":"u","expirytime":"9999-12-31T23:59:59Z","partitionkey":"""#)
        .expect("received");
    assert_eq!(envelope.op, Some(Op::Update));
    assert_eq!(envelope.expirytime, Some(Timestamp::MAX));
    assert_eq!(envelope.partitionkey, None);
}
