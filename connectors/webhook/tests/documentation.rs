//! The generated reference, and the page on vendors of one's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use headgate_sdk::{
    conformance::World,
    http::{Body, Request},
    status::State,
};
use headgate_webhook::{Webhook, presets};
use hmac::{Hmac, Mac};
use serde_json::Value;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

#[test]
fn the_table_of_schemes_is_fresh() {
    let (path, generated) = (docs("reference/webhook-schemes.md"), presets::reference());
    if std::env::var_os("HEADGATE_REFRESH").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "docs/reference/webhook-schemes.md is stale: \
        HEADGATE_REFRESH=1 cargo test -p headgate-webhook --test documentation"
    );
    assert!(
        presets::all()
            .keys()
            .all(|name| checked_in.contains(&format!("| `{name}` |")))
    );
}

/// The first YAML block of the page, with its secret put in.
fn example() -> (usize, Value) {
    let page = std::fs::read_to_string(docs("own-vendor.md")).unwrap();
    let block = page
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let lines = block.lines().count() - 2;
    let text = block.replace("${ACME_WEBHOOK_SECRET}", "acme's");
    let mut document: Value = serde_yaml_ng::from_str(&text).unwrap();
    let mut source = document["sources"]["acme"].take();
    source.as_object_mut().unwrap().remove("type").unwrap();
    (lines, source)
}

#[tokio::test]
async fn the_vendor_of_ten_lines_works_as_written() {
    let (lines, config) = example();
    assert!(lines <= 10, "{lines} lines");
    let world = World::new(1 << 20);
    let run = world.start::<Webhook>(config).unwrap();
    while run.status.get() != State::Ready {
        tokio::task::yield_now().await;
    }
    let body = r#"{"type":"order.paid","id":"o-1"}"#;
    // Signed by hand, as the page describes it.
    let now = jiff::Timestamp::now().as_second();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"acme's").unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let send = |header: String| {
        let request = Request::new(Body::from(body));
        let (mut head, body) = request.into_parts();
        head.method = http::Method::POST;
        head.uri = "/webhook/subject".parse().unwrap();
        head.headers
            .insert("acme-signature", header.parse().unwrap());
        world.request(Request::from_parts(head, body))
    };
    let stale = format!("t={},v1={signature}", now - 301);
    assert_eq!(send(stale).await.status(), 401);
    assert_eq!(
        send(format!("t={now},v0=00,v1={signature}")).await.status(),
        202
    );
    assert_eq!(send(format!("t={now},v1={signature}")).await.status(), 200);
    let sent = world.lanes.sent();
    let event = &sent.values().next().unwrap().durable[0];
    assert_eq!(
        (event.id.as_str(), event.event_type.as_str()),
        ("o-1", "subject.order.paid.v1")
    );
    run.stop(std::time::Duration::from_secs(20)).await.unwrap();
}
