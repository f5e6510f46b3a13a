//! Steps beside models that say the same in another way.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_sdk::{Data, Envelope, ExtensionValue, LaneId, Replay, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Chain;
use crate::pipeline::{LaneContext, PipelineBatch, Step, max_age};

/// Applies the step of `config` at the second `now`.
fn apply(config: Value, now: i64, events: Vec<Envelope>) -> PipelineBatch {
    let lane = LaneContext {
        id: LaneId::from_stored("lane"),
        source: "s".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    };
    let step: Step = serde_json::from_value(config).unwrap();
    let mut batch = PipelineBatch::new(Arc::new(lane), events);
    Chain::from(step.event_step(&step.name(0).into()).unwrap()).apply_at(second(now), &mut batch);
    batch
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn event(id: usize, data: String) -> Envelope {
    let (id, data) = (id.to_string(), Data::opaque(data));
    let mut event = Envelope::new(id, "urn:s", "a.v1", Timestamp::UNIX_EPOCH, data);
    event.datacontenttype = "application/json".into();
    event
}

/// What the step of `config` makes of the text, `None` for a dead letter, which has the text as it came.
fn edited(config: Value, text: &str) -> Option<Value> {
    let mut batch = apply(config, 0, vec![event(0, text.to_owned())]);
    if let Some(letter) = batch.rejected.pop() {
        assert!(batch.events.is_empty());
        assert_eq!(letter.reason, "invalid_data");
        assert_eq!(letter.envelope.data.bytes().unwrap(), text.as_bytes());
        return None;
    }
    let bytes = batch.events[0].data.bytes().unwrap();
    Some(serde_json::from_slice(bytes).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[a\"\\\\é{,]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => object(inner)
        ]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let members = btree_map("[abc0]", value, 0..4);
    members.prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Nearly always an object.
fn document() -> impl Strategy<Value = Value> {
    prop_oneof![9 => object(value()), 1 => value()]
}

fn segments() -> impl Strategy<Value = Vec<String>> {
    vec("[abc01-]", 1..4)
}

fn pointer(segments: &[String]) -> String {
    segments
        .iter()
        .map(|segment| format!("/{segment}"))
        .collect()
}

/// What one move of `rename` does to the tree; `None` if it cannot be done.
fn moved(mut tree: Value, from: &[String], to: &[String]) -> Option<Value> {
    let Some(value) = tree.pointer(&pointer(from)).cloned() else {
        return Some(tree);
    };
    if tree.pointer(&pointer(to)).is_some() {
        return None;
    }
    let (last, parent) = from.split_last()?;
    match tree.pointer_mut(&pointer(parent))? {
        Value::Object(members) => drop(members.remove(last)),
        Value::Array(elements) => drop(elements.remove(last.parse().ok()?)),
        _ => return None,
    }
    put(&mut tree, to, value).then_some(tree)
}

/// Adds `value` at `to`, with the objects on the way.
fn put(tree: &mut Value, to: &[String], value: Value) -> bool {
    let Some((first, rest)) = to.split_first() else {
        *tree = value;
        return true;
    };
    let place = match tree {
        Value::Object(members) => members.entry(first).or_insert_with(|| json!({})),
        Value::Array(elements) => {
            let end = elements.len();
            let at = if first == "-" {
                end
            } else {
                first.parse().unwrap_or(usize::MAX)
            };
            if at == end {
                elements.push(json!({}));
            }
            match elements.get_mut(at) {
                Some(place) => place,
                None => return false,
            }
        }
        _ => return false,
    };
    put(place, rest, value)
}

/// Copies what is at `from`, or the objects on the way as far as there are any.
fn copy(tree: &Value, from: &[String], kept: &mut Value) {
    match (from.split_first(), tree) {
        (None, whole) => *kept = whole.clone(),
        (Some((first, rest)), Value::Object(members)) => {
            let kept = match kept {
                Value::Object(kept) => kept,
                _ => unreachable!("only objects are on the way"),
            };
            match members.get(first) {
                Some(member) if rest.is_empty() || member.is_object() => {
                    copy(member, rest, kept.entry(first).or_insert_with(|| json!({})));
                }
                _ => {}
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rename_does_what_the_tree_does(
        tree in document(),
        fields in vec((segments(), segments()), 1..4),
        pretty in any::<bool>(),
    ) {
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        let text = if pretty { format!("{tree:#}") } else { tree.to_string() };
        let named: Map<String, Value> = fields
            .iter()
            .map(|(from, to)| (pointer(from), pointer(to).into()))
            .collect();
        let expected = fields
            .iter()
            .try_fold(tree, |tree, (from, to)| moved(tree, from, to));
        prop_assert_eq!(edited(json!({"rename": {"fields": named}}), &text), expected);
    }

    #[test]
    fn keep_fields_does_what_the_tree_does(
        tree in document(),
        fields in vec(segments(), 1..4),
        pretty in any::<bool>(),
    ) {
        let text = if pretty { format!("{tree:#}") } else { tree.to_string() };
        let named: Vec<String> = fields.iter().map(|field| pointer(field)).collect();
        let expected = tree.is_object().then(|| {
            let mut kept = json!({});
            fields.iter().for_each(|field| copy(&tree, field, &mut kept));
            kept
        });
        prop_assert_eq!(edited(json!({"keep_fields": {"fields": named}}), &text), expected);
    }

    /// Seconds few enough that the boundary itself is hit again and again.
    #[test]
    fn an_event_is_stale_after_its_expiry_and_not_at_it(
        time in 0_i64..6,
        age in 1_i64..4,
        theirs in proptest::option::of(0_i64..8),
        now in 0_i64..10,
        on_stale in prop_oneof![Just("flag"), Just("dead_letter"), Just("drop")],
    ) {
        let mut event = event(0, "{}".to_owned());
        event.time = second(time);
        event.expirytime = theirs.map(second);
        let config = json!({"max_age": {"age": format!("{age}s"), "on_stale": on_stale}});
        let batch = apply(config, now, vec![event]);
        let expiry = theirs.unwrap_or(i64::MAX).min(time + age);
        let stale = now > expiry;
        let passes = !stale || on_stale == "flag";
        prop_assert_eq!(batch.events.len(), usize::from(passes));
        prop_assert_eq!(batch.rejected.len(), usize::from(stale && on_stale == "dead_letter"));
        for event in &batch.events {
            prop_assert_eq!(event.expirytime, Some(second(expiry)));
            let flag = event.extensions.get(max_age::FLAG);
            prop_assert_eq!(flag, stale.then_some(&ExtensionValue::Boolean(true)));
        }
        for letter in &batch.rejected {
            prop_assert_eq!(letter.reason.as_str(), "stale");
            prop_assert_eq!(letter.envelope.expirytime, theirs.map(second));
        }
    }

    #[test]
    fn a_chain_ends_behind_the_cap_and_not_at_it(
        cap in 1_i32..4,
        hops in vec(prop_oneof![4 => proptest::option::of(-1_i32..6), 1 => Just(Some(i32::MAX)), 1 => Just(Some(i32::MIN))], 0..6),
    ) {
        let events = hops.iter().enumerate().map(|(id, hop)| {
            let mut event = event(id, String::new());
            event.hop = *hop;
            event
        });
        let batch = apply(json!({"max_hops": {"hops": cap}}), 0, events.collect());
        let (ended, passed): (Vec<_>, Vec<_>) = hops.into_iter().partition(|hop| hop.is_some_and(|hop| hop > cap));
        let hops: Vec<_> = batch.events.iter().map(|event| event.hop).collect();
        prop_assert_eq!(hops, passed);
        let hops: Vec<_> = batch.rejected.iter().map(|letter| letter.envelope.hop).collect();
        prop_assert_eq!(hops, ended);
        prop_assert!(batch.rejected.iter().all(|letter| letter.reason == "loop"));
    }
}
