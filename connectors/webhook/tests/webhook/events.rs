//! What becomes of a request's attributes.

use serde_json::json;

use super::support::{Gate, SECRET, header, post, signed};

#[tokio::test]
async fn a_delivery_becomes_an_envelope() {
    let config = json!({
        "scheme": "github", "secrets": [SECRET],
        "subject": "json:/repository/full_name", "partition_key": "json:/repository/id"
    });
    let gate = Gate::open(config).await;
    let body = r#"{"repository":{"id":42,"full_name":"acme/shop"}}"#;
    let mut draft = header(post(body), "x-github-delivery", "d-1");
    for (name, value) in [
        ("x-github-event", "pull_request"),
        ("content-type", "application/json"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ] {
        draft = header(draft, name, value);
    }
    gate.send(signed("github", draft)).await;
    let event = gate.event();
    assert_eq!(event.event_type, "github.pull_request.v1");
    assert_eq!(event.source, "urn:headgate:default:webhook:subject");
    assert_eq!(event.subject.as_deref(), Some("acme/shop"));
    assert_eq!(event.partitionkey.as_deref(), Some("42"));
    assert_eq!(event.datacontenttype, "application/json");
    assert_eq!(event.correlationid, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(event.authid.as_deref(), Some("github"));
    assert_eq!(event.data.bytes().unwrap(), body.as_bytes());
}

#[tokio::test]
async fn the_type_may_be_constant_or_from_a_place() {
    for (configured, wanted) in [
        (json!("orders.received.v1"), "orders.received.v1"),
        (json!("json:/kind"), "subject.order_created.v1"),
        (json!("header:x-missing"), "subject.received.v1"),
    ] {
        let config = json!({
            "verify": { "alg": "hmac-sha256", "signature": { "from": "header:X-Hub-Signature-256", "item_prefix": "sha256=" } },
            "secrets": [SECRET], "event_type": configured
        });
        let gate = Gate::open(config).await;
        let answer = gate
            .send(signed("github", post(r#"{"kind":"Order Created"}"#)))
            .await;
        assert_eq!(answer.status, 202);
        assert_eq!(gate.event().event_type, wanted);
    }
}

#[tokio::test]
async fn cloudevents_keep_what_they_say_in_all_three_modes() {
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/orders", "type": "com.acme.order.v2", "subject": "o-7",
        "datacontenttype": "application/json", "data": { "n": 1 }, "tenantid": "mallory"
    });
    let structured = header(
        post(event.to_string()),
        "content-type",
        "application/cloudevents+json",
    );
    let mut second = event.clone();
    second["id"] = "e-2".into();
    let batched = header(
        post(json!([event, second, event]).to_string()),
        "content-type",
        "application/cloudevents-batch+json",
    );
    let mut binary = header(post(r#"{"n":1}"#), "content-type", "application/json");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/orders"),
        ("ce-type", "com.acme.order.v2"),
        ("ce-subject", "o-7"),
    ] {
        binary = header(binary, name, value);
    }
    for (draft, ids) in [
        (structured, vec!["e-1"]),
        (binary, vec!["e-1"]),
        (batched, vec!["e-1", "e-2"]),
    ] {
        let gate = Gate::open(json!({ "scheme": "github", "secrets": [SECRET] })).await;
        let draft = signed("github", draft);
        let mut without_vendor_id = draft.clone();
        without_vendor_id.headers.remove("x-github-delivery");
        assert_eq!(gate.send(without_vendor_id.clone()).await.status, 202);
        assert_eq!(
            gate.send(without_vendor_id).await.status,
            200,
            "the same ids again"
        );
        let events = gate.events();
        assert_eq!(
            events
                .iter()
                .map(|event| event.id.as_str())
                .collect::<Vec<_>>(),
            ids
        );
        let first = &events[0];
        assert_eq!(first.event_type, "com.acme.order.v2");
        assert_eq!(first.subject.as_deref(), Some("o-7"));
        assert_eq!(first.originsource.as_deref(), Some("/orders"));
        assert_eq!(first.tenantid, "default", "never from outside");
    }
}

#[tokio::test]
async fn an_invalid_cloudevent_is_400_and_names_the_attribute() {
    let gate = Gate::open(json!({ "scheme": "github", "secrets": [SECRET] })).await;
    let event = json!({ "specversion": "1.0", "id": "", "source": "/orders", "type": "t" });
    let draft = header(
        post(event.to_string()),
        "content-type",
        "application/cloudevents+json",
    );
    let answer = gate.send(signed("github", draft)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("id"),
        "{answer:?}"
    );
    assert!(gate.events().is_empty());
}

#[tokio::test]
async fn a_delivery_by_get_carries_its_query() {
    let gate = Gate::open(json!({
        "scheme": "vonage-sms", "secrets": [SECRET], "params": { "hash": "sha256" }
    }))
    .await;
    let keys = headgate_webhook::verify::Keys {
        secrets: vec![headgate_sdk::config::Secret::new(SECRET)],
        params: [("hash".to_owned(), "sha256".to_owned())].into(),
        ..Default::default()
    };
    let scheme = headgate_webhook::presets::find("vonage-sms")
        .unwrap()
        .verify
        .clone();
    let mut draft = post("");
    draft.method = "GET".into();
    draft.url = Some("http://h/webhook/subject?msisdn=447700900001&text=a%26b".into());
    let signer = headgate_webhook::verify::Signer::new(scheme, &keys, None).unwrap();
    let draft = signer.sign(draft, jiff::Timestamp::now()).unwrap();
    let answer = gate.send(draft).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let event = gate.event();
    let data = String::from_utf8(event.data.bytes().unwrap().to_vec()).unwrap();
    assert!(data.starts_with("msisdn=447700900001&text=a%26b"), "{data}");
    assert_eq!(event.datacontenttype, "application/x-www-form-urlencoded");
}
