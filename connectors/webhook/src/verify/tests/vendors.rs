//! Requests as vendors build them, signed here by hand and not by our own signer.

use base64::{Engine, engine::general_purpose::STANDARD};
use headgate_sdk::config::Secret;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::super::{Failure, Incoming, Keys, NoLookup, Scheme, Verified, Verifier};
use crate::presets;

const SECRET: &str = "s3cret";
const NOW: i64 = 1_790_000_000;

fn hmac(message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(message: &str) -> String {
    hex::encode(hmac(message))
}

fn base64(message: &str) -> String {
    STANDARD.encode(hmac(message))
}

struct Sent<'a> {
    scheme: &'a Scheme,
    secrets: &'a [&'a str],
    url: &'a str,
    headers: Vec<(&'a str, String)>,
    body: &'a str,
}

fn sent<'a>(scheme: &'a str, headers: Vec<(&'a str, String)>, body: &'a str) -> Sent<'a> {
    Sent {
        scheme: &presets::find(scheme).unwrap().verify,
        secrets: &[SECRET],
        url: "https://hooks.example.com/in",
        headers,
        body,
    }
}

impl Sent<'_> {
    fn decided(&self) -> Result<Verified, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let keys = Keys {
            secrets: self.secrets.iter().map(|s| Secret::new(*s)).collect(),
            ..Keys::default()
        };
        let request = Incoming {
            method: "POST",
            url: Some(self.url),
            path_and_query: "/in",
            headers: &headers,
            body: self.body.as_bytes(),
        };
        let now = Timestamp::from_second(NOW).unwrap();
        Verifier::new(self.scheme.clone(), &keys)
            .unwrap()
            .verify(&request, now, &NoLookup)
    }

    fn passes(&self) {
        let outcome = self.decided();
        assert!(outcome.is_ok(), "{outcome:?}: {:?}", self.headers);
    }

    fn is_refused(&self, code: &str) {
        match self.decided() {
            Err(Failure::Refused(reason)) => assert_eq!(reason.code(), code, "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn signatures_are_read_however_they_are_cased_padded_and_listed() {
    let (good, other) = (hex("{}"), hex("other"));
    let github = |value: String| sent("github", vec![("x-hub-signature-256", value)], "{}");
    github(format!("sha256={}", good.to_uppercase())).passes();
    github(good.clone()).is_refused("unusable_signature");
    github(format!("sha1={good}")).is_refused("unusable_signature");
    let shopify = |value: &str| {
        sent(
            "shopify",
            vec![("x-shopify-hmac-sha256", value.to_owned())],
            "{}",
        )
    };
    let encoded = base64("{}");
    shopify(&encoded).passes();
    shopify(encoded.trim_end_matches('=')).passes();
    let pagerduty =
        |value: String, body| sent("pagerduty", vec![("x-pagerduty-signature", value)], body);
    pagerduty(format!("v1={other}, v0={good},v1={good}"), "{}").passes();
    pagerduty(format!("v0={good},v2={good}"), "{}").is_refused("unusable_signature");
    pagerduty(format!("v1={}", hex("")), "").is_refused("empty_body");
    let stripe = |value: String| sent("stripe", vec![("stripe-signature", value)], "{}");
    let timed = hex(&format!("{NOW}.{{}}"));
    stripe(format!("t={NOW},v1=zz,v1={other},v1={timed},v0={other}")).passes();
    stripe(format!(" v1={timed} , t={NOW} ")).passes();
    stripe(format!("t={NOW},v0={timed}")).is_refused("unusable_signature");
    stripe(format!("v1={timed}")).is_refused("missing_timestamp");
    // A repeated header is one list.
    let twice = vec![
        ("x-pagerduty-signature", format!("v1={other}")),
        ("x-pagerduty-signature", format!("v1={good}")),
    ];
    sent("pagerduty", twice, "{}").passes();
}

#[test]
fn times_come_in_seconds_milliseconds_and_words() {
    let milliseconds = NOW * 1000 + 123;
    let workos = format!(
        "t={milliseconds}, v1={}",
        hex(&format!("{milliseconds}.{{}}"))
    );
    sent("workos", vec![("workos-signature", workos)], "{}").passes();
    let in_seconds = format!("t={NOW}, v1={}", hex(&format!("{NOW}.{{}}")));
    sent("workos", vec![("workos-signature", in_seconds)], "{}").is_refused("stale");
    let twitch = |stamp: &str| {
        let signature = format!("sha256={}", hex(&format!("id{stamp}{{}}")));
        sent(
            "twitch",
            vec![
                ("twitch-eventsub-message-id", "id".into()),
                ("twitch-eventsub-message-timestamp", stamp.to_owned()),
                ("twitch-eventsub-message-signature", signature),
            ],
            "{}",
        )
        .decided()
    };
    assert!(twitch("2026-09-21T14:13:20.634234626Z").is_ok());
    assert!(twitch("2026-09-21T07:13:20-07:00").is_ok());
    assert!(twitch("2026-09-21 14:13").is_err());
    assert!(
        twitch("2026-09-21T14:33:20Z").is_err(),
        "twenty minutes ahead"
    );
}

#[test]
fn hubspot_signs_the_url_with_some_escapes_undone() {
    let stamp = (NOW * 1000).to_string();
    let url = "https://hooks.example.com/in?at=a%40b%2Fc&space=%20%zz%";
    let meant = "https://hooks.example.com/in?at=a@b/c&space=%20%zz%";
    for signed in [url, meant] {
        let headers = vec![
            ("x-hubspot-request-timestamp", stamp.clone()),
            (
                "x-hubspot-signature-v3",
                base64(&format!("POST{signed}{{}}{stamp}")),
            ),
        ];
        let mut request = sent("hubspot-v3", headers, "{}");
        request.url = url;
        request.passes();
        request.url = "https://hooks.example.com/in?at=other";
        request.is_refused("mismatch");
    }
}

#[test]
fn svix_is_heard_under_its_own_headers_and_the_standards() {
    let key = STANDARD.encode(SECRET);
    let stamp = NOW.to_string();
    for prefix in ["svix", "webhook"] {
        let names = ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}"));
        let headers = vec![
            (names[0].as_str(), "msg_1".to_owned()),
            (names[1].as_str(), stamp.clone()),
            (
                names[2].as_str(),
                format!("v1a,AAAA v1,{}", base64(&format!("msg_1.{stamp}.{{}}"))),
            ),
        ];
        let mut request = sent("svix", headers, "{}");
        let secrets = [key.as_str()];
        request.secrets = &secrets;
        request.passes();
    }
}

#[test]
fn docusign_signs_once_for_each_of_its_keys() {
    let headers = vec![
        ("x-docusign-signature-1", base64("another key")),
        ("x-docusign-signature-2", base64("{}")),
    ];
    sent("docusign", headers, "{}").passes();
}

#[test]
fn a_canonical_request_of_ones_own_can_be_written_down() {
    let scheme: Scheme = serde_json::from_value(serde_json::json!({
        "alg": "hmac-sha256",
        "signature": { "from": "header:authorization", "item_prefix": "HMAC ", "encoding": "base64" },
        "message": "{method}\n{path}\n{sha256hex:body}\n{sha256base64:body}"
    }))
    .unwrap();
    let digest = Sha256::digest("{}");
    let message = format!(
        "POST\n/in\n{}\n{}",
        hex::encode(digest),
        STANDARD.encode(digest)
    );
    let mut request = sent(
        "github",
        vec![("authorization", format!("HMAC {}", base64(&message)))],
        "{}",
    );
    request.scheme = &scheme;
    request.passes();
    request.body = "{ }";
    request.is_refused("mismatch");
}
