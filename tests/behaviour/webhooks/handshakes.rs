//! What vendors ask before they send events, over real connections.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::signing::{PUBLIC, SECRET, plain, signed};
use crate::support::{gateway::Place, http::Client};

/// A source for each scheme, of the scheme's name.
fn sections(schemes: &[&str]) -> String {
    let mut text = String::from("public_url: https://hooks.example.com\nsources:\n");
    for scheme in schemes {
        let keys = match *scheme {
            "discord" => format!("public_keys: [{PUBLIC}]"),
            "aws-sns" => String::from("confirm_subscriptions: false"),
            "meta" => format!("secrets: [\"{SECRET}\"], params: {{ verify_token: tok }}"),
            "asana" | "notion" => String::from("learn_secrets: true"),
            _ => format!("secrets: [\"{SECRET}\"]"),
        };
        text.push_str(&format!(
            "  {scheme}: {{ type: webhook, scheme: {scheme}, {keys} }}\n"
        ));
    }
    text
}

fn text(answer: &Response<Bytes>) -> (u16, &str) {
    (
        answer.status().as_u16(),
        std::str::from_utf8(answer.body()).unwrap(),
    )
}

fn json_of(answer: &Response<Bytes>) -> Value {
    assert_eq!(answer.status(), 200, "{answer:?}");
    serde_json::from_slice(answer.body()).unwrap()
}

#[tokio::test]
async fn every_vendors_question_is_answered_and_none_becomes_an_event() {
    let schemes = [
        "slack",
        "meta",
        "twitter",
        "zoom",
        "microsoft-graph",
        "dropbox",
        "okta",
        "twitch",
        "notion",
        "asana",
        "xero",
        "aws-sns",
        "discord",
        "trello",
        "woocommerce",
        "github",
    ];
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections(&schemes));
    let running = place.start().await;
    let mut client = Client::connect(running.http).await.unwrap();
    macro_rules! ask {
        ($request:expr) => {
            client.exchange($request).await.unwrap()
        };
    }

    let body = r#"{"type":"url_verification","challenge":"c-1"}"#;
    assert_eq!(text(&ask!(signed("slack", &[], body))), (200, "c-1"));
    assert_eq!(
        ask!(plain("POST", "/webhook/slack", &[], body)).status(),
        401
    );

    let target = "/webhook/meta?hub.mode=subscribe&hub.verify_token=tok&hub.challenge=42";
    assert_eq!(text(&ask!(plain("GET", target, &[], ""))), (200, "42"));
    let wrong = target.replace("tok", "no");
    assert_eq!(ask!(plain("GET", &wrong, &[], "")).status(), 403);

    let answer = ask!(plain("GET", "/webhook/twitter?crc_token=x", &[], ""));
    let token = json_of(&answer)["response_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(token.starts_with("sha256=") && token.len() == 51, "{token}");

    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}"#;
    let answer = json_of(&ask!(signed("zoom", &[], body)));
    assert_eq!(answer["plainToken"], "p");
    assert_eq!(answer["encryptedToken"].as_str().unwrap().len(), 64);

    let target = "/webhook/microsoft-graph?validationToken=a%20b%3C";
    let answer = ask!(plain("POST", target, &[], ""));
    assert_eq!(text(&answer), (200, "a b<"));
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );

    let answer = ask!(plain("GET", "/webhook/dropbox?challenge=d", &[], ""));
    assert_eq!(text(&answer), (200, "d"));

    let headers = [("x-okta-verification-challenge", "o")];
    let answer = ask!(plain("GET", "/webhook/okta", &headers, ""));
    assert_eq!(json_of(&answer), json!({ "verification": "o" }));

    let headers = [(
        "twitch-eventsub-message-type",
        "webhook_callback_verification",
    )];
    let answer = ask!(signed("twitch", &headers, r#"{"challenge":"t"}"#));
    assert_eq!(text(&answer), (200, "t"));

    let question = json!({ "verification_token": SECRET }).to_string();
    assert_eq!(
        ask!(plain("POST", "/webhook/notion", &[], &question)).status(),
        200
    );
    let answer = ask!(plain(
        "POST",
        "/webhook/asana",
        &[("x-hook-secret", SECRET)],
        ""
    ));
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["x-hook-secret"].to_str().unwrap()
        ),
        (200, SECRET)
    );

    let intent = r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"e"}"#;
    assert_eq!(ask!(signed("xero", &[], intent)).status(), 200);
    let wrong = [("x-xero-signature", "AAAA")];
    assert_eq!(
        ask!(plain("POST", "/webhook/xero", &wrong, intent)).status(),
        401
    );

    let foreign = r#"{"Type":"SubscriptionConfirmation","MessageId":"1","Token":"t","Message":"m","TopicArn":"a","Timestamp":"2026-01-01T00:00:00Z",
        "SubscribeURL":"https://example.com/","SignatureVersion":"2","Signature":"AAAA","SigningCertURL":"https://example.com/x.pem"}"#;
    assert_eq!(
        ask!(plain("POST", "/webhook/aws-sns", &[], foreign)).status(),
        401
    );

    let answer = ask!(signed(
        "discord",
        &[],
        r#"{"version":1,"type":1,"token":"t"}"#
    ));
    assert_eq!(json_of(&answer), json!({ "type": 1 }));
    assert_eq!(
        ask!(signed("discord", &[], r#"{"version":1,"type":0}"#)).status(),
        204
    );

    assert_eq!(
        ask!(plain("HEAD", "/webhook/trello", &[], "")).status(),
        200
    );
    assert_eq!(
        ask!(plain("POST", "/webhook/woocommerce", &[], "webhook_id=1")).status(),
        200
    );

    let answer = ask!(plain(
        "OPTIONS",
        "/webhook/github",
        &[("webhook-request-origin", "events.example.com")],
        ""
    ));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["webhook-allowed-origin"],
        "events.example.com"
    );
    assert_eq!(answer.headers()["webhook-allowed-rate"], "*");

    // The secrets that were handed out are in use.
    for scheme in ["asana", "notion"] {
        assert_eq!(ask!(signed(scheme, &[], "{}")).status(), 202, "{scheme}");
    }
    drop(client);
    place.logged(2).await;
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 2);
}
