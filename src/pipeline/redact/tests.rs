//! From the configuration to what others can read.

use std::sync::Arc;

use headgate_sdk::{Data, Envelope, LaneId, Replay, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Config;
use crate::pipeline::{LaneContext, PipelineBatch, Step, step::Chain};

const KEY: &str = "a key of enough characters";

fn event(data: &str) -> Envelope {
    let data = Data::opaque(data.to_owned());
    Envelope::new("e1", "urn:s", "a.v1", Timestamp::UNIX_EPOCH, data)
}

fn apply(config: &Value, event: Envelope) -> PipelineBatch {
    let step: Step = serde_json::from_value(json!({ "redact": config })).unwrap();
    let lane = LaneContext {
        id: LaneId::from_stored("lane"),
        source: "s".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    };
    let mut batch = PipelineBatch::new(Arc::new(lane), vec![event]);
    Chain::from(step.event_step(&"redact".into()).unwrap()).apply(&mut batch);
    batch
}

fn redacted(config: &Value, data: &str) -> String {
    let mut batch = apply(config, event(data));
    assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
    let bytes = batch.events.remove(0).data;
    String::from_utf8(bytes.bytes().unwrap().to_vec()).unwrap()
}

#[test]
fn masks_and_leaves_the_rest_byte_identical() {
    let config = json!({"fields": ["/card", "/lines/*/iban", "/pin", "/who"], "with": "mask", "keep_last": 4});
    assert_eq!(
        redacted(
            &config,
            r#" { "card" : "4111 1111 1111 1234", "n": 1.50, "lines":[ {"iban":"DE02é12345"}, {"iban":null} ,{"x":"\u00e9"}], "pin": 1234, "who":{"a":[1]} } "#
        ),
        r#" { "card" : "***************1234", "n": 1.50, "lines":[ {"iban":"******2345"}, {"iban":null} ,{"x":"\u00e9"}], "pin": "**34", "who":"***" } "#
    );
}

#[test]
fn never_more_than_half_stays_readable() {
    let config = |keep: usize| json!({"fields": ["/a"], "keep_last": keep});
    for (keep, text, left) in [
        (0, "secret", "******"),
        (4, "secret", "***ret"),
        (4, "ab", "*b"),
        (4, "a", "*"),
        (4, "", ""),
        (1000, "äöü€", "**ü€"),
    ] {
        let data = json!({ "a": text }).to_string();
        assert_eq!(
            redacted(&config(keep), &data),
            json!({ "a": left }).to_string()
        );
    }
}

#[test]
fn takes_away_with_the_name() {
    let config = json!({"fields": ["/a", "/l/*/b", "/z"], "with": "remove"});
    assert_eq!(
        redacted(&config, r#"{"a":1, "l":[{"b":1},{"b":2,"c":3}],"d":4}"#),
        r#"{"l":[{},{"c":3}],"d":4}"#
    );
}

#[test]
fn hashes_are_the_same_for_the_same_value_and_key() {
    let config = |key: &str| json!({"fields": ["/a", "/b", "/c"], "with": "hash", "key": key});
    let data = r#"{"a":"x\u00e9","b":"xé","c":17}"#;
    let hashed: Value = serde_json::from_str(&redacted(&config(KEY), data)).unwrap();
    let hash = hashed["a"].as_str().unwrap();
    assert_eq!(hashed["a"], hashed["b"]);
    assert!(hash.starts_with("blake3:") && hash.len() == 39, "{hash}");
    assert_ne!(hashed["a"], hashed["c"]);
    assert_ne!(
        redacted(&config("another key of enough characters"), data),
        hashed.to_string()
    );
}

#[test]
fn attributes_are_redacted_as_well() {
    let mut with_subject = event(r#"{"a":1}"#);
    with_subject.subject = Some("ann@example.com".into());
    let batch = apply(
        &json!({"fields": ["subject", "partitionkey"], "keep_last": 4}),
        with_subject.clone(),
    );
    assert_eq!(batch.events[0].subject.as_deref(), Some("***********.com"));
    assert_eq!(batch.events[0].partitionkey, None);
    let batch = apply(
        &json!({"fields": ["subject"], "with": "remove"}),
        with_subject,
    );
    assert_eq!(batch.events[0].subject, None);
}

#[test]
fn what_cannot_be_redacted_never_goes_on() {
    for data in ["no json", r#"{"a":1,"a":2}"#, r#"{"a":NaN}"#] {
        let config = json!({"fields": ["/a"]});
        let batch = apply(&config, event(data));
        assert_eq!((batch.events.len(), batch.rejected.len()), (0, 1), "{data}");
        assert_eq!(batch.rejected[0].reason, "invalid_data");
        let config = json!({"fields": ["/a"], "on_error": "drop"});
        let batch = apply(&config, event(data));
        assert_eq!((batch.events.len(), batch.rejected.len()), (0, 0), "{data}");
    }
    let refused =
        serde_json::from_value::<Step>(json!({"redact": {"fields": ["/a"], "on_error": "pass"}}));
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("unknown variant `pass`")
    );
    // Nothing is there to hide.
    let mut without = event("");
    without.data = Data::none();
    assert_eq!(apply(&json!({"fields": ["/a"]}), without).events.len(), 1);
}

#[test]
fn settings_that_contradict_each_other_are_found() {
    for (config, key) in [
        (json!({"fields": ["/a"], "with": "hash"}), "with"),
        (
            json!({"fields": ["/a"], "with": "hash", "key": "short"}),
            "key",
        ),
        (json!({"fields": ["/a"], "with": "mask", "key": KEY}), "key"),
        (
            json!({"fields": ["/a"], "with": "remove", "keep_last": 4}),
            "keep_last",
        ),
    ] {
        let config: Config = serde_json::from_value(config).unwrap();
        assert_eq!(
            config.contradiction().map(|(key, _)| key),
            Some(key),
            "{config:?}"
        );
    }
    let fine = json!({"fields": ["/a"], "with": "hash", "key": KEY});
    let fine: Config = serde_json::from_value(fine).unwrap();
    assert_eq!(fine.contradiction(), None);
    assert!(!format!("{fine:?}").contains(KEY));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        "[a-zé\"\\\\]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What comes back from the dead letters and is redacted again is what it was.
    #[test]
    fn redacting_twice_is_redacting_once(a in value(), keep in 0_usize..5, with in "mask|hash|remove") {
        let mut config = json!({"fields": ["/a", "/a/*", "/b/*/a"], "with": with});
        match with.as_str() {
            "hash" => config["key"] = json!(KEY),
            "mask" => config["keep_last"] = json!(keep),
            _ => {}
        }
        let once = redacted(&config, &json!({"a": a, "b": [{"a": 1}, 2]}).to_string());
        prop_assert_eq!(redacted(&config, &once), once);
    }

    /// Nothing of a secret is left, whatever it is.
    #[test]
    fn a_secret_is_gone(secret in "[a-z]{6,20}", with in "mask|hash|remove") {
        let mut config = json!({"fields": ["/a"], "with": with});
        if with == "hash" {
            config["key"] = json!(KEY);
        }
        for data in [json!({"a": secret}), json!({"a": {"x": [secret]}}), json!({"a": [secret, secret]})] {
            let left = redacted(&config, &data.to_string());
            prop_assert!(!left.contains(&secret), "{}", left);
        }
    }
}
