//! What vendors ask before they send events.

use headgate_webhook::{
    presets,
    verify::{Keys, PrivateKey, Signer},
};
use http::StatusCode;
use serde_json::{Value, json};

use super::support::{Answer, Gate, SECRET, header, post, signed};

async fn gate(scheme: &str) -> Gate {
    Gate::open(
        json!({ "scheme": scheme, "secrets": [SECRET], "params": { "verify_token": "tok" } }),
    )
    .await
}

async fn get(gate: &Gate, query: &str) -> Answer {
    let mut draft = post("");
    draft.method = "GET".into();
    draft.url = Some(format!("/webhook/subject?{query}"));
    gate.send(draft).await
}

fn ok_text(answer: &Answer, text: &str) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, text)
    );
}

#[tokio::test]
async fn slack_twitch_and_zoom_get_their_challenges_back_when_signed() {
    let slack = gate("slack").await;
    let question = r#"{"type":"url_verification","challenge":"c-1"}"#;
    ok_text(&slack.send(signed("slack", post(question))).await, "c-1");
    assert_eq!(slack.send(post(question)).await.status, 401);

    let twitch = gate("twitch").await;
    let draft = header(
        post(r#"{"challenge":"c-2"}"#),
        "twitch-eventsub-message-type",
        "webhook_callback_verification",
    );
    ok_text(&twitch.send(signed("twitch", draft)).await, "c-2");

    let zoom = gate("zoom").await;
    let question =
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let answer = zoom.send(signed("zoom", post(question))).await.json();
    assert_eq!(answer["plainToken"], "qgg8vlvZRS6UYooatFL8Aw");
    assert_eq!(answer["encryptedToken"].as_str().unwrap().len(), 64);
    for gate in [slack, twitch, zoom] {
        assert!(gate.events().is_empty());
    }
}

#[tokio::test]
async fn questions_in_the_url_are_answered() {
    let meta = gate("meta").await;
    ok_text(
        &get(
            &meta,
            "hub.mode=subscribe&hub.verify_token=tok&hub.challenge=42",
        )
        .await,
        "42",
    );
    let wrong = get(
        &meta,
        "hub.mode=subscribe&hub.verify_token=no&hub.challenge=42",
    )
    .await;
    assert_eq!(wrong.status, 403);

    let twitter = gate("twitter").await;
    let answer = get(&twitter, "crc_token=challenge").await.json();
    let token = answer["response_token"].as_str().unwrap();
    assert!(token.starts_with("sha256=") && token.len() == 51, "{token}");

    let dropbox = gate("dropbox").await;
    let answer = get(&dropbox, "challenge=%3Cb%3E").await;
    ok_text(&answer, "<b>");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");

    let graph = gate("microsoft-graph").await;
    let mut draft = post("");
    draft.url = Some("/webhook/subject?validationToken=a%20b".into());
    ok_text(&graph.send(draft).await, "a b");

    let okta = gate("okta").await;
    let mut draft = header(post(""), "x-okta-verification-challenge", "okta-1");
    draft.method = "GET".into();
    assert_eq!(
        okta.send(draft).await.json(),
        json!({ "verification": "okta-1" })
    );

    let trello =
        Gate::open(json!({ "scheme": "trello", "secrets": [SECRET], "public_url": "https://h" }))
            .await;
    let mut draft = post("");
    draft.method = "HEAD".into();
    assert_eq!(trello.send(draft).await.status, 200);
}

#[tokio::test]
async fn discord_gets_its_ping_back_and_its_events_through() {
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let private = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let gate = Gate::open(json!({ "scheme": "discord", "public_keys": [key] })).await;
    let signed = |body: &str| {
        let keys = Keys {
            public_keys: vec![key.into()],
            ..Keys::default()
        };
        let scheme = presets::find("discord").unwrap().verify.clone();
        let signer = Signer::new(scheme, &keys, Some(PrivateKey::parse(private).unwrap())).unwrap();
        signer.sign(post(body), jiff::Timestamp::now()).unwrap()
    };
    let interaction = r#"{"version":1,"id":"1","type":1,"token":"t"}"#;
    let answer = gate.send(signed(interaction)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({ "type": 1 }));
    let ping = r#"{"version":1,"application_id":"1","type":0}"#;
    let answer = gate.send(signed(ping)).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
    // Discord sends forged ones on purpose.
    assert_eq!(
        gate.send(header(signed(ping), "x-signature-timestamp", "1"))
            .await
            .status,
        401
    );
    assert!(gate.events().is_empty());
    let event = r#"{"version":1,"application_id":"1","type":1,"event":{"type":"ENTITLEMENT_CREATE","data":{}}}"#;
    assert_eq!(gate.send(signed(event)).await.status, 202);
    assert_eq!(gate.event().event_type, "discord.entitlement_create.v1");
}

#[tokio::test]
async fn first_requests_without_a_signature_are_answered_and_are_no_events() {
    let shop = gate("woocommerce").await;
    assert_eq!(shop.send(post("webhook_id=12")).await.status, 200);
    for other in ["webhook_id=", "webhook_id=1&order=2", "webhook_id=x"] {
        assert_eq!(shop.send(post(other)).await.status, 401, "{other}");
    }
    let intercom = gate("intercom").await;
    let mut draft = post("");
    draft.method = "HEAD".into();
    assert_eq!(intercom.send(draft).await.status, 200);
    assert!(shop.events().is_empty() && intercom.events().is_empty());
}

#[tokio::test]
async fn xero_learns_from_401_and_200_whether_the_key_is_right() {
    let xero = gate("xero").await;
    let question = r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}"#;
    assert_eq!(xero.send(signed("xero", post(question))).await.status, 200);
    assert_eq!(
        xero.send(header(post(question), "x-xero-signature", "AAAA"))
            .await
            .status,
        401
    );
    assert!(xero.events().is_empty());
}

#[tokio::test]
async fn secrets_that_come_by_request_are_learned_when_allowed() {
    let config = json!({ "scheme": "asana", "learn_secrets": true });
    let asana = Gate::open(config.clone()).await;
    assert_eq!(
        asana.send(signed("asana", post("{}"))).await.status,
        503,
        "no secret yet"
    );
    let answer = asana.send(header(post(""), "x-hook-secret", SECRET)).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.headers["x-hook-secret"].to_str().unwrap()
        ),
        (200, SECRET)
    );
    assert_eq!(asana.send(signed("asana", post("{}"))).await.status, 202);
    asana.run.stop(super::support::DEADLINE).await.unwrap();
    let asana = Gate::in_world(asana.world, config).await;
    assert_eq!(
        asana.send(signed("asana", post(r#"{"n":2}"#))).await.status,
        202,
        "kept across a restart"
    );

    let notion = Gate::open(json!({ "scheme": "notion", "secrets": ["other"] })).await;
    let question = json!({ "verification_token": SECRET }).to_string();
    assert_eq!(notion.send(post(question)).await.status, 200);
    assert_eq!(
        notion.send(signed("notion", post("{}"))).await.status,
        401,
        "not learned: not allowed to"
    );
}

#[tokio::test]
async fn cloudevents_senders_ask_with_options() {
    let config = |origins: Value| json!({ "scheme": "github", "secrets": [SECRET], "webhook_origins": origins });
    let mut draft = header(post(""), "webhook-request-origin", "events.example.com");
    draft.method = "OPTIONS".into();
    let open = Gate::open(config(json!(["*"])))
        .await
        .send(draft.clone())
        .await;
    assert_eq!(open.status, 200);
    assert_eq!(open.headers["webhook-allowed-origin"], "events.example.com");
    assert_eq!(open.headers["webhook-allowed-rate"], "*");
    let closed = Gate::open(config(json!(["other.example.com"])))
        .await
        .send(draft)
        .await;
    assert_eq!(closed.status, 403);
}
