//! What came out beside what was expected.

use headgate_sdk::Envelope;
use serde_json::{Map, Value, json};

use super::case::{Expect, ExpectedLetter};
use super::run::Outcome;
use crate::sink::Record;

/// Two texts that should be the same, as JSON with a member to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected.
    pub expected: String,
    /// What came, reduced to the parts that were expected.
    pub actual: String,
}

/// Compares; `Ok` if everything is as expected.
///
/// # Errors
/// [`Mismatch`].
pub fn compare(expect: &Expect, outcome: &Outcome) -> Result<(), Mismatch> {
    let (mut expected, mut actual) = (Map::new(), Map::new());
    let sinks = expect
        .sinks
        .clone()
        .or_else(|| expect.dropped.then(Default::default));
    if let Some(sinks) = sinks {
        for (name, records) in &outcome.sinks {
            let wanted = sinks
                .get(name.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            let shown = records
                .iter()
                .enumerate()
                .map(|(n, record)| reduced(record, wanted.get(n)));
            expected.insert(
                name.to_string(),
                wanted.iter().cloned().map(Value::Object).collect(),
            );
            actual.insert(name.to_string(), shown.collect());
        }
        for (name, wanted) in &sinks {
            if !wanted.is_empty() && !expected.contains_key(name) {
                expected.insert(
                    name.clone(),
                    wanted.iter().cloned().map(Value::Object).collect(),
                );
            }
        }
    }
    let letters = outcome.dead_letters.iter().enumerate().map(|(n, letter)| {
        let wanted = expect.dead_letters.get(n);
        let message = wanted.and_then(|wanted| wanted.message.as_deref());
        letter_value(
            &ExpectedLetter {
                step: Some(letter.step.to_string()),
                reason: Some(letter.reason.to_string()),
                // A part of the message is enough.
                message: Some(
                    message
                        .filter(|part| letter.message.contains(part))
                        .unwrap_or(&letter.message)
                        .to_owned(),
                ),
            },
            wanted,
        )
    });
    let expected = json!({ "sinks": expected, "dead_letters": expect.dead_letters.iter().map(|letter| letter_value(letter, None)).collect::<Vec<_>>() });
    let actual = json!({ "sinks": actual, "dead_letters": letters.collect::<Vec<_>>() });
    let (expected, actual) = (numbers_alike(expected), numbers_alike(actual));
    if expected == actual {
        return Ok(());
    }
    Err(Mismatch {
        expected: format!("{expected:#}\n"),
        actual: format!("{actual:#}\n"),
    })
}

/// `value` with whole floats as integers: 5 and 5.0 are the same number of JSON.
fn numbers_alike(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let whole = float as i64;
                whole.into()
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(numbers_alike).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, numbers_alike(value)))
            .collect(),
        other => other,
    }
}

/// The parts of `letter` that `wanted` names; all if it names none.
fn letter_value(letter: &ExpectedLetter, wanted: Option<&ExpectedLetter>) -> Value {
    let parts = [
        (
            "step",
            &letter.step,
            wanted.map(|wanted| wanted.step.is_some()),
        ),
        (
            "reason",
            &letter.reason,
            wanted.map(|wanted| wanted.reason.is_some()),
        ),
        (
            "message",
            &letter.message,
            wanted.map(|wanted| wanted.message.is_some()),
        ),
    ];
    let shown = parts
        .into_iter()
        .filter(|(_, _, wanted)| wanted.unwrap_or(true));
    Value::Object(
        shown
            .filter_map(|(name, text, _)| Some((name.to_owned(), Value::from(text.clone()?))))
            .collect(),
    )
}

/// The parts of a record that `wanted` names; the telling ones if nothing was wanted.
fn reduced(record: &Record, wanted: Option<&Map<String, Value>>) -> Value {
    const TELLING: [&str; 5] = ["topic", "key", "type", "subject", "data"];
    let names: Vec<&str> = match wanted {
        Some(wanted) => wanted.keys().map(String::as_str).collect(),
        None => TELLING.to_vec(),
    };
    let shown = names
        .into_iter()
        .map(|name| (name.to_owned(), part(record, name)));
    // An expected `null` is an attribute that must not be there.
    Value::Object(
        shown
            .filter(|(name, value)| {
                !value.is_null() || wanted.is_some_and(|wanted| wanted.contains_key(name))
            })
            .collect(),
    )
}

fn part(record: &Record, name: &str) -> Value {
    match name {
        "topic" => json!(record.topic.as_str()),
        "key" => json!(record.key.as_deref()),
        "headers" => record
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.as_str())))
            .collect::<Map<_, _>>()
            .into(),
        "data" => data(&record.envelope),
        "text" => record
            .envelope
            .data
            .bytes()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .into(),
        pointer if pointer.starts_with('/') => data(&record.envelope)
            .pointer(pointer)
            .cloned()
            .unwrap_or_default(),
        attribute => {
            let mut found = Value::Null;
            record.envelope.for_each_attribute(|known| {
                use headgate_sdk::envelope::AttributeValue::{Boolean, Integer, String, Timestamp};
                if known.name == attribute {
                    found = match known.value {
                        String(text) => text.into(),
                        Integer(number) => number.into(),
                        Boolean(truth) => truth.into(),
                        Timestamp(at) => headgate_sdk::envelope::time::text(at).into(),
                    };
                }
            });
            found
        }
    }
}

/// JSON data as a value, other data as text.
fn data(event: &Envelope) -> Value {
    let Some(bytes) = event.data.bytes() else {
        return Value::Null;
    };
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}
