//! Edits at several places at once.

use std::{fmt, ops::Range};

use super::edit::{child, removal};
use super::scan::{members, skip_blank, value_end};
use super::{EditError, Pointer};

/// Values that one pattern may mean in one event: more is no event but an attack, or a mistake.
const MAX_MATCHES: usize = 10_000;

/// A JSON pointer in which `*` stands for every element of an array, or every member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Pointer);

impl From<Pointer> for Pattern {
    fn from(pointer: Pointer) -> Self {
        Self(pointer)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Replaces each value that `pattern` means by what `with` makes of its text, or takes it away with its name where that is `None`.
/// `None` if nothing changes.
///
/// # Errors
/// [`EditError::Repeated`], [`EditError::TooMany`].
pub fn replace_all(
    text: &str,
    pattern: &Pattern,
    mut with: impl FnMut(&str) -> Option<String>,
) -> Result<Option<String>, EditError> {
    let mut found = Found {
        text,
        pattern,
        values: Vec::new(),
    };
    found.look(skip_blank(text.as_bytes(), 0), pattern.0.segments())?;
    let (mut out, mut copied, mut changed) = (String::with_capacity(text.len()), 0, false);
    for (value, cut) in found.values {
        let treated = with(&text[value.clone()]);
        changed |= treated.as_deref() != Some(&text[value.clone()]);
        let range = if treated.is_some() { value } else { cut };
        // What is taken away from the end of an object begins before the comma, which an earlier cut may have taken.
        out.push_str(text.get(copied..range.start).unwrap_or_default());
        out.push_str(&treated.unwrap_or_default());
        copied = range.end.max(copied);
    }
    out.push_str(&text[copied..]);
    Ok(changed.then_some(out))
}

struct Found<'a> {
    text: &'a str,
    pattern: &'a Pattern,
    /// The places of values in order, and what is to be cut where one is taken away.
    values: Vec<(Range<usize>, Range<usize>)>,
}

impl Found<'_> {
    /// Recurses along the pattern, never along the data.
    fn look(&mut self, at: usize, segments: &[String]) -> Result<(), EditError> {
        let bytes = self.text.as_bytes();
        let Some((segment, deeper)) = segments.split_first() else {
            return Ok(());
        };
        if segment != "*" {
            let Some((index, member)) = child(self.text, at, segment, &self.pattern.0)? else {
                return Ok(());
            };
            return if deeper.is_empty() {
                let cut = removal(bytes, at, index, &member);
                self.add(member.value, cut)
            } else {
                self.look(member.value.start, deeper)
            };
        }
        if !matches!(bytes.get(at), Some(b'{' | b'[')) {
            return Ok(());
        }
        for member in members(bytes, at) {
            if deeper.is_empty() {
                // All of them go, or none: up to the next one, the last up to its end.
                let after = skip_blank(bytes, member.value.end);
                let end = match bytes.get(after) {
                    Some(b',') => skip_blank(bytes, after + 1),
                    _ => member.value.end,
                };
                self.add(member.value.clone(), member.start()..end)?;
            } else {
                self.look(member.value.start, deeper)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, value: Range<usize>, cut: Range<usize>) -> Result<(), EditError> {
        if self.values.len() == MAX_MATCHES {
            return Err(EditError::TooMany(self.pattern.to_string(), MAX_MATCHES));
        }
        debug_assert_eq!(value_end(self.text.as_bytes(), value.start), value.end);
        self.values.push((value, cut));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern(text.parse().unwrap())
    }

    fn replaced(text: &str, at: &str, with: &str) -> Option<String> {
        replace_all(text, &pattern(at), |_| Some(with.to_owned())).unwrap()
    }

    fn removed(text: &str, at: &str) -> Option<String> {
        replace_all(text, &pattern(at), |_| None).unwrap()
    }

    const DATA: &str =
        r#" { "l" : [ {"i": 1, "k":2} , 7, {"i":[3]},{} ], "o":{"x": 1 ,"y":{"i":"}"}} } "#;

    #[test]
    fn all_that_are_meant_and_nothing_else() {
        assert_eq!(
            replaced(DATA, "/l/*/i", "0").unwrap(),
            r#" { "l" : [ {"i": 0, "k":2} , 7, {"i":0},{} ], "o":{"x": 1 ,"y":{"i":"}"}} } "#
        );
        assert_eq!(
            replaced(DATA, "/*/*/i", "0").unwrap(),
            r#" { "l" : [ {"i": 0, "k":2} , 7, {"i":0},{} ], "o":{"x": 1 ,"y":{"i":0}} } "#
        );
        assert_eq!(
            replaced(DATA, "/o/*", "0").unwrap(),
            r#" { "l" : [ {"i": 1, "k":2} , 7, {"i":[3]},{} ], "o":{"x": 0 ,"y":0} } "#
        );
        assert_eq!(
            removed(DATA, "/l/*/i").unwrap(),
            r#" { "l" : [ {"k":2} , 7, {},{} ], "o":{"x": 1 ,"y":{"i":"}"}} } "#
        );
        assert_eq!(
            removed(DATA, "/l/*").unwrap(),
            r#" { "l" : [  ], "o":{"x": 1 ,"y":{"i":"}"}} } "#
        );
        assert_eq!(
            removed(DATA, "/o").unwrap(),
            r#" { "l" : [ {"i": 1, "k":2} , 7, {"i":[3]},{} ] } "#
        );
        for nothing in ["/z", "/l/*/z", "/o/x/*", "/l/9"] {
            assert_eq!(replaced(DATA, nothing, "0"), None, "{nothing}");
        }
    }

    #[test]
    fn a_repeated_name_and_too_many_values_are_errors() {
        assert_eq!(
            replace_all(r#"[{"a":1,"a":2}]"#, &pattern("/*/a"), |_| None),
            Err(EditError::Repeated("/*/a".into()))
        );
        let many = format!("[1{}]", ",1".repeat(MAX_MATCHES));
        assert!(matches!(
            replace_all(&many, &pattern("/*"), |_| None),
            Err(EditError::TooMany(..))
        ));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i8>().prop_map(Value::from),
            "[a\"\\\\,}]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same by way of a tree.
    fn expected(value: &mut Value, segments: &[&str], remove: bool) {
        let Some((segment, deeper)) = segments.split_first() else {
            return;
        };
        let matching = |key: &str| *segment == "*" || *segment == key;
        match value {
            Value::Object(map) if deeper.is_empty() && remove => {
                map.retain(|key, _| !matching(key))
            }
            Value::Object(map) => {
                for (_, child) in map.iter_mut().filter(|(key, _)| matching(key)) {
                    if deeper.is_empty() {
                        *child = json!("R");
                    }
                    expected(child, deeper, remove);
                }
            }
            Value::Array(items) if deeper.is_empty() && remove => {
                let mut index = 0;
                items.retain(|_| {
                    index += 1;
                    !matching(&(index - 1).to_string())
                });
            }
            Value::Array(items) => {
                for (index, child) in items.iter_mut().enumerate() {
                    if matching(&index.to_string()) {
                        if deeper.is_empty() {
                            *child = json!("R");
                        }
                        expected(child, deeper, remove);
                    }
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn edits_mean_what_a_tree_says(value in value(), at in proptest::collection::vec("[abc*01]", 1..4), remove: bool, pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let segments: Vec<&str> = at.iter().map(String::as_str).collect();
            let edited = replace_all(&text, &pattern(&format!("/{}", at.join("/"))), |_| (!remove).then(|| "\"R\"".to_owned())).unwrap();
            let mut wanted = value;
            expected(&mut wanted, &segments, remove);
            let edited: Value = serde_json::from_str(&edited.unwrap_or(text)).unwrap();
            prop_assert_eq!(edited, wanted);
        }
    }
}
