//! What somebody whose signatures fail is told.

use headgate_sdk::config::Secret;
use http::HeaderMap;
use jiff::Timestamp;

use super::{
    super::{Draft, Explanation, Incoming, Keys, NoLookup, Signer, explain},
    presets::NOW,
};
use crate::presets;

const SECRET: &str = "whsec_of_our_own";
const COMPACT: &str = r#"{"id":"evt_1","list":[1,2]}"#;

fn keys(secrets: &[&str]) -> Keys {
    Keys {
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        ..Keys::default()
    }
}

/// As a sender with [`SECRET`] signs it.
fn sent(scheme: &str, url: &str, body: &str) -> Draft {
    let verify = presets::find(scheme).unwrap().verify.clone();
    let signer = Signer::new(verify, &keys(&[SECRET]), None).unwrap();
    let draft = Draft {
        method: "POST".into(),
        url: Some(url.into()),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    };
    signer
        .sign(draft, Timestamp::from_second(NOW).unwrap())
        .unwrap()
}

fn explained(scheme: &str, request: &Incoming<'_>, secrets: &[&str], now: i64) -> Explanation {
    let explanation = explain(
        &presets::find(scheme).unwrap().verify,
        &keys(secrets),
        request,
        Timestamp::from_second(now).unwrap(),
        &NoLookup,
    );
    let all = format!("{explanation:?}");
    for secret in secrets.iter().map(|secret| secret.trim()) {
        assert!(!all.contains(secret), "a secret is shown: {all}");
    }
    explanation
}

fn step<'e>(explanation: &'e Explanation, label: &str) -> Vec<&'e str> {
    explanation
        .steps
        .iter()
        .filter(|(one, _)| *one == label)
        .map(|(_, text)| text.as_str())
        .collect()
}

fn hint(explanation: &Explanation, wanted: &str) {
    assert!(explanation.outcome.is_err(), "{explanation:?}");
    assert!(
        explanation.hints.iter().any(|hint| hint.contains(wanted)),
        "`{wanted}` is not in {:?}",
        explanation.hints
    );
}

#[test]
fn it_is_said_what_was_read_signed_and_tried() {
    let draft = sent("stripe", "https://h/in", COMPACT);
    let request = draft.as_incoming();
    let fine = explained("stripe", &request, &["another one", SECRET], NOW + 7);
    assert!(fine.outcome.is_ok(), "{fine:?}");
    assert!(step(&fine, "read")[0].starts_with("header:Stripe-Signature: t=1790000000,v1="));
    assert_eq!(
        step(&fine, "signatures"),
        ["1 usable item(s) that start with `v1=`"]
    );
    let signed = step(&fine, "signed")[0];
    assert_eq!(signed, format!("38 bytes: {NOW}.{COMPACT}"));
    let tried = step(&fine, "secret");
    assert!(tried[0].starts_with("1 of 2: computed ") && tried[0].ends_with("does not match"));
    assert!(tried[1].starts_with("2 of 2: computed ") && tried[1].ends_with(", matches"));
    // The computed signature would be a forgery's: it is never shown whole.
    let computed = tried[0].split([' ', ',']).find(|word| word.contains('…'));
    assert!(
        computed.is_some_and(|text| text.chars().count() < 20),
        "{tried:?}"
    );
    assert!(step(&fine, "clock")[0].contains("(7 s ago); allowed: 300 s ago to 300 s ahead"));

    let nothing = Draft {
        headers: [(
            "x-hub-signature".parse().unwrap(),
            "sha1=00".parse().unwrap(),
        )]
        .into_iter()
        .collect(),
        ..draft
    };
    let missing = explained("stripe", &nothing.as_incoming(), &[SECRET], NOW);
    assert_eq!(
        missing.outcome.as_ref().unwrap_err(),
        "no signature: `header:Stripe-Signature` is missing from the request"
    );
    assert!(step(&missing, "read")[0].contains("the request has x-hub-signature"));
    hint(&missing, "configured with a secret at the vendor");
}

#[test]
fn a_body_that_was_changed_on_its_way_is_recognised() {
    let draft = sent("github", "https://h/in", COMPACT);
    for (body, wanted) in [
        (
            r#"{"id": "evt_1", "list": [1, 2]}"#,
            "written again with spaces",
        ),
        (
            "{\n  \"id\": \"evt_1\",\n  \"list\": [1, 2]\n}",
            "written again with spaces",
        ),
        (
            "{\"id\":\"evt_1\",\"list\":[1,2]}\n",
            "ends in a line break",
        ),
        (
            r#"{"id":"evt_2","list":[1,2]}"#,
            "test mode while the request is live",
        ),
    ] {
        let request = Incoming {
            body: body.as_bytes(),
            ..draft.as_incoming()
        };
        hint(&explained("github", &request, &[SECRET], NOW), wanted);
    }
    let spaced = sent("github", "https://h/in", r#"{"a": 1, "b": 2}"#);
    let compact = Incoming {
        body: br#"{"a":1,"b":2}"#,
        ..spaced.as_incoming()
    };
    hint(
        &explained("github", &compact, &[SECRET], NOW),
        "with a space after",
    );
}

#[test]
fn wrong_secrets_clocks_and_urls_are_told_apart() {
    let draft = sent("stripe", "https://h/in", COMPACT);
    let request = draft.as_incoming();
    let padded = format!("{SECRET}\n");
    hint(
        &explained("stripe", &request, &[&padded], NOW),
        "secret 1 has blanks or a line break around it",
    );
    hint(
        &explained("stripe", &request, &["s3cret"], NOW),
        "the secret is of another endpoint",
    );
    let old = explained("stripe", &request, &[SECRET], NOW + 3600);
    assert_eq!(
        old.outcome.as_ref().unwrap_err(),
        "too old: sent 3600 s ago, at most 300 s are allowed"
    );
    hint(&old, "--now UNIX");
    hint(
        &explained("stripe", &request, &[SECRET], NOW - 3600),
        "this machine's clock is behind",
    );
    let square = sent("square", "https://h/in", COMPACT);
    let inside = Incoming {
        url: Some("http://h/in"),
        ..square.as_incoming()
    };
    hint(
        &explained("square", &inside, &[SECRET], NOW),
        "the sender signed the URL https://h/in",
    );
}
