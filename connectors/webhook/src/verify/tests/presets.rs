//! Published vectors, round trips with our own signer, and mutations, for every preset.

use std::collections::BTreeMap;

use headgate_sdk::config::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::*;
use crate::presets;

#[derive(Deserialize)]
struct Row {
    scheme: String,
    method: String,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
    secrets: Vec<String>,
    public_key: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    timestamp_now: Option<i64>,
    valid: bool,
    source: String,
    note: Option<String>,
}

fn rows() -> Vec<Row> {
    include_str!("../../../../../fixtures/webhooks/vectors.jsonl")
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn check(row: &Row) -> Result<Verified, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body = match (&row.body, &row.body_base64) {
        (_, Some(encoded)) => STANDARD.decode(encoded).unwrap(),
        (Some(text), None) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &row.headers {
        headers.append(
            HeaderName::try_from(name.as_str()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let keys = Keys {
        secrets: row
            .secrets
            .iter()
            .map(|s| Secret::new(s.as_str()))
            .collect(),
        public_keys: row.public_key.iter().cloned().collect(),
        params: row.params.clone(),
    };
    let preset = presets::find(&row.scheme).unwrap_or_else(|| panic!("no preset {}", row.scheme));
    let request = Incoming {
        method: &row.method,
        url: row.url.as_deref(),
        path_and_query: "/",
        headers: &headers,
        body: &body,
    };
    let now = row
        .timestamp_now
        .map_or_else(Timestamp::now, |now| Timestamp::from_second(now).unwrap());
    let verifier = Verifier::new(preset.verify.clone(), &keys).map_err(|problems| {
        problems
            .into_iter()
            .map(|p| p.message)
            .collect::<Vec<_>>()
            .join("; ")
    })?;
    verifier
        .verify(&request, now, &NoLookup)
        .map_err(|failure| match failure {
            Failure::Refused(reason) => reason.to_string(),
            Failure::KeyNeeded(key) => format!("undecided: {}", key.url),
        })
}

#[test]
fn every_published_vector_is_decided_as_published() {
    let rows = rows();
    assert!(rows.len() >= 219, "vectors are missing");
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let outcome = check(row);
        if outcome.is_ok() != row.valid {
            wrong.push(format!(
                "line {}: {} should be {}: {outcome:?} [{} {}]",
                number + 1,
                row.scheme,
                row.valid,
                row.source,
                row.note.as_deref().unwrap_or_default()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_valid_vector_is_refused_with_every_other_secret_and_any_changed_body() {
    for row in rows().iter_mut().filter(|row| row.valid) {
        let keep = std::mem::replace(
            &mut row.secrets,
            vec!["wrongwrongwrongwrongwrongwrongww".into()],
        );
        if !keep.is_empty() {
            assert!(
                check(row).is_err(),
                "{} accepts a wrong secret ({})",
                row.scheme,
                row.source
            );
        }
        row.secrets = keep;
        let preset = presets::find(&row.scheme).unwrap();
        let partly = preset
            .not_covered
            .iter()
            .any(|what| what.contains("body") || what.contains("anything"));
        if let Some(body) = row.body.as_mut().filter(|body| !partly && !body.is_empty()) {
            body.push('x');
            assert!(
                check(row).is_err(),
                "{} accepts a longer body ({})",
                row.scheme,
                row.source
            );
        }
    }
}

pub(super) const URL: &str = "https://hooks.example.com/in/one?b=2&a=1";
pub(super) const NOW: i64 = 1_790_000_000;

/// A key of our own for every kind that presets use.
pub(super) struct Own {
    pub(super) keys: Keys,
    private: Option<&'static str>,
}

pub(super) fn own_keys(name: &str) -> Own {
    let scheme = &presets::find(name).unwrap().verify;
    let rules = scheme.jwt.as_ref();
    let mut params = BTreeMap::new();
    for param in presets::find(name).unwrap().params.keys() {
        let value = match param.as_str() {
            "hash" => "sha256",
            "environment" => "sandbox",
            _ => "WH-1",
        };
        params.insert(param.clone(), value.to_owned());
    }
    let pair = |private: &'static str, public: &'static str| Own {
        keys: Keys {
            public_keys: vec![public.to_owned()],
            params: BTreeMap::new(),
            secrets: Vec::new(),
        },
        private: Some(private),
    };
    let mut own = match scheme.alg {
        Algorithm::Ed25519 => pair(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        Algorithm::EcdsaP256Der | Algorithm::EcdsaP256Raw => pair(
            include_str!("../../../../../fixtures/webhooks/keys/p256.pem"),
            include_str!("../../../../../fixtures/webhooks/keys/p256.pub.pem"),
        ),
        Algorithm::EcdsaP521Raw => pair(
            include_str!("../../../../../fixtures/webhooks/keys/p521.pem"),
            include_str!("../../../../../fixtures/webhooks/keys/p521.pub.pem"),
        ),
        Algorithm::RsaSha1 | Algorithm::RsaSha256 => pair(
            include_str!("../../../../../fixtures/webhooks/keys/rsa.pem"),
            include_str!("../../../../../fixtures/webhooks/keys/rsa.cert.pem"),
        ),
        Algorithm::Jwt if rules.unwrap().algorithms[0].asymmetric().is_some() => pair(
            include_str!("../../../../../fixtures/webhooks/keys/p256.pem"),
            include_str!("../../../../../fixtures/webhooks/keys/p256.pub.pem"),
        ),
        _ => Own {
            keys: Keys {
                secrets: vec![Secret::new(match scheme.key_encoding {
                    KeyEncoding::Base64 => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                    KeyEncoding::Hex => {
                        "44782def547aaa06c910c43932b1eb0c71fc68d9d0c057550c48ec2acf6ba056"
                    }
                    _ => "a secret of our own",
                })],
                ..Keys::default()
            },
            private: None,
        },
    };
    own.keys.params = params;
    own
}

pub(super) fn draft(name: &str) -> Draft {
    let body: &[u8] = match name {
        "adyen-notification" => br#"{"notificationItems":[{"NotificationRequestItem":{"pspReference":"A1","merchantAccountCode":"M","merchantReference":"R","amount":{"value":1130,"currency":"EUR"},"eventCode":"AUTHORISATION","success":"true"}}]}"#,
        "twilio-form" | "mandrill" => b"To=%2B1555&From=%2B1666&Body=a+b",
        "linear" => br#"{"webhookTimestamp":1790000000000,"id":"a"}"#,
        _ => br#"{"type":"a.b","id":"evt_1","data":{"n":1}}"#,
    };
    Draft {
        method: "POST".into(),
        url: Some(URL.into()),
        headers: HeaderMap::new(),
        body: body.to_vec(),
    }
}

pub(super) fn signed(name: &str) -> (Verifier, Draft) {
    let preset = presets::find(name).unwrap();
    let own = own_keys(name);
    let private = own.private.map(|text| PrivateKey::parse(text).unwrap());
    let signer = Signer::new(preset.verify.clone(), &own.keys, private)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let now = Timestamp::from_second(NOW).unwrap();
    let draft = signer
        .sign(draft(name), now)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (
        Verifier::new(preset.verify.clone(), &own.keys).unwrap(),
        draft,
    )
}

pub(super) fn verify(verifier: &Verifier, draft: &Draft, now: i64) -> Result<Verified, Failure> {
    verifier.verify(
        &draft.as_incoming(),
        Timestamp::from_second(now).unwrap(),
        &NoLookup,
    )
}

#[test]
fn every_preset_verifies_what_our_signer_signs() {
    for name in presets::all().keys() {
        let (verifier, draft) = signed(name);
        let outcome = verify(&verifier, &draft, NOW);
        assert!(outcome.is_ok(), "{name}: {outcome:?} {draft:?}");
    }
}

#[test]
fn every_preset_with_a_window_refuses_both_ends_of_it() {
    for (name, preset) in presets::all() {
        let Some(rule) = &preset.verify.timestamp else {
            continue;
        };
        let (verifier, draft) = signed(name);
        let seconds =
            |d: headgate_sdk::config::HumanDuration| i64::try_from(d.get().as_secs()).unwrap();
        let (past, future) = (seconds(rule.past), seconds(rule.future));
        for inside in [NOW + past, NOW - future] {
            assert!(
                verify(&verifier, &draft, inside).is_ok(),
                "{name} at {inside}"
            );
        }
        let code = |now| match verify(&verifier, &draft, now) {
            Err(Failure::Refused(reason)) => reason.code(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(code(NOW + past + 1), "stale", "{name}");
        assert_eq!(code(NOW - future - 1), "future", "{name}");
    }
}

#[test]
fn every_preset_refuses_a_request_without_its_signature() {
    for (name, preset) in presets::all() {
        let (verifier, mut draft) = signed(name);
        match preset.verify.signature.as_ref().map(|rule| &rule.from) {
            Some(place) if place.header().is_some() => {
                draft.headers.remove(place.header().unwrap());
            }
            Some(place) if place.to_string().starts_with("query") => draft.url = Some(URL.into()),
            _ => draft.body = b"{}".to_vec(),
        }
        assert!(verify(&verifier, &draft, NOW).is_err(), "{name}");
    }
}

#[test]
fn no_preset_builds_with_an_empty_secret() {
    for (name, preset) in presets::all() {
        let mut keys = own_keys(name).keys;
        if keys.secrets.is_empty() {
            keys.public_keys = vec![String::new()];
        } else {
            keys.secrets.push(Secret::new(""));
        }
        assert!(
            Verifier::new(preset.verify.clone(), &keys).is_err(),
            "{name}"
        );
    }
}

#[test]
fn what_a_preset_does_not_cover_is_named() {
    for (name, preset) in presets::all() {
        let template = preset.verify.message.as_ref();
        let declarative = preset.verify.special.is_none() && template.is_some();
        if declarative && !template.unwrap().covers_body() {
            assert!(
                preset.not_covered.iter().any(|what| what.contains("body")),
                "{name}"
            );
        }
        let timed = preset.verify.timestamp.is_some() || preset.verify.jwt.is_some();
        let token = preset.verify.alg == Algorithm::Token;
        if !timed && !token {
            assert!(
                preset.not_covered.iter().any(|what| what.contains("time")),
                "{name}"
            );
        }
    }
}
