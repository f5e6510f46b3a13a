//! Templates and topics beside a model.

use headgate_sdk::{Data, Envelope, Str, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Config, Router, is_topic_name};

/// A piece of a template.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Tenant,
    Type,
    Subject,
    Lane,
    Pointer,
}

const LANE: &str = "lane.1";

/// What templates are filled from: tenant, type, subject and the member `a` of the data.
type Facts = (String, String, Option<String>, Option<Value>);

fn event((tenant, event_type, subject, a): &Facts) -> Envelope {
    let data = match a {
        Some(a) => json!({"a": a}),
        None => json!({}),
    };
    let data = Data::json(data.to_string());
    let mut event = Envelope::new(
        "1",
        "urn:s",
        event_type.as_str(),
        Timestamp::UNIX_EPOCH,
        data,
    );
    event.tenantid = tenant.into();
    event.subject = subject.as_deref().map(Str::from);
    event
}

impl Piece {
    fn written(&self) -> String {
        match self {
            Self::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            Self::Tenant => "{tenantid}".into(),
            Self::Type => "{type}".into(),
            Self::Subject => "{subject}".into(),
            Self::Lane => "{lane}".into(),
            Self::Pointer => "{/a}".into(),
        }
    }

    fn filled(&self, (tenant, event_type, subject, a): &Facts) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Tenant => Some(tenant.clone()),
            Self::Type => Some(event_type.clone()),
            Self::Subject => subject.clone(),
            Self::Lane => Some(LANE.into()),
            Self::Pointer => match a.as_ref()? {
                Value::String(text) => Some(text.clone()),
                value @ (Value::Bool(_) | Value::Number(_)) => Some(value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }
}

/// Mostly what may stand in a topic's name.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z._-]{1,3}",
        1 => "[a-z _./{}é\"]{1,3}",
        1 => Just("x".repeat(125))
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        text().prop_map(Piece::Text),
        Just(Piece::Tenant),
        Just(Piece::Type),
        Just(Piece::Subject),
        Just(Piece::Lane),
        Just(Piece::Pointer),
    ]
}

fn facts() -> impl Strategy<Value = Facts> {
    let a = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!(null)),
        1 => Just(json!(["a"])),
        1 => Just(json!({"a": "a"})),
    ];
    let (subject, a) = (proptest::option::of(text()), proptest::option::of(a));
    (text(), text(), subject, a)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// One router for all events of a lane, which keeps the topic that it made last: an event is a record with a legal topic, or
    /// one dead letter, or dropped where that was asked for.
    #[test]
    fn what_a_topic_is_made_of_decides_and_nothing_else(
        topic in prop_oneof![3 => vec(piece(), 0..4), 1 => Just(vec![Piece::Tenant, Piece::Text(".".into()), Piece::Type])],
        key in piece(),
        unmatched in proptest::option::of(prop_oneof![Just("dead_letter"), Just("drop"), Just("default")]),
        facts in vec(facts(), 1..6),
        again in 0_usize..6,
    ) {
        let written: String = topic.iter().map(Piece::written).collect();
        let mut config = json!({"topic": written, "key": key.written()});
        // With rules: one that no event matches, and what becomes of those.
        if let Some(unmatched) = unmatched {
            config["rules"] = json!([{"types": ["NEVER"]}]);
            config["unmatched"] = json!(unmatched);
        }
        let config: Config = serde_json::from_value(config).unwrap();
        let mut router = Router::new(&config, "route", &["main".into()]);
        for facts in facts.iter().chain(facts.get(again)) {
            let (mut records, mut rejected) = (Vec::new(), Vec::new());
            router.route(event(facts), LANE, &mut records, &mut rejected);
            let filled: Option<String> = topic.iter().map(|piece| piece.filled(facts)).collect();
            let expected = match (unmatched, filled) {
                (Some("dead_letter"), _) => Err("unmatched"),
                (Some("drop"), _) => Ok(None),
                (_, None) => Err("missing_attribute"),
                (_, Some(topic)) if is_legal(&topic) => Ok(Some(topic)),
                (_, Some(_)) => Err("invalid_topic"),
            };
            match expected {
                Ok(topic) => {
                    prop_assert!(rejected.is_empty(), "{:?}", rejected);
                    let topics: Vec<&str> = records.iter().map(|routed| routed.record.topic.as_str()).collect();
                    prop_assert_eq!(topics, Vec::from_iter(topic.as_deref()));
                    let key = key.filled(facts);
                    for routed in &records {
                        prop_assert_eq!(routed.record.key.as_deref(), key.as_deref());
                        prop_assert!(routed.sinks.contains(0));
                    }
                }
                Err(reason) => {
                    prop_assert!(records.is_empty());
                    let reasons: Vec<&str> = rejected.iter().map(|letter| letter.reason.as_str()).collect();
                    prop_assert_eq!(reasons, [reason]);
                }
            }
        }
    }

    /// The guard, beside what the words of its contract say.
    #[test]
    fn a_topic_name_is_what_every_sink_takes(name in prop_oneof!["[a._-]{0,4}", "[a-zA-Z0-9 /é]{0,4}", "\\PC{0,4}", "[a.]{248,251}"]) {
        prop_assert_eq!(is_topic_name(&name), is_legal(&name));
    }
}

fn is_legal(name: &str) -> bool {
    let characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    let reserved = name.is_empty() || name == "." || name == ".." || name.starts_with("__");
    !reserved && name.len() <= 249 && name.chars().all(|c| characters.contains(c))
}
