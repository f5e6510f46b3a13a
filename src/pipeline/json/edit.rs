//! The edits.

use std::ops::Range;

use super::Pointer;
use super::scan::{Member, members, name, skip_blank, value_end};

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no JSON to edit.
    #[error("{0}: this step needs JSON data")]
    NotJson(&'static str),
    /// A name occurs twice in one object.
    #[error("`{0}` occurs twice in one object, so that it is not clear which one counts")]
    Repeated(String),
    /// The way leads through something that has no members, or past the end of an array.
    #[error(
        "`{0}` cannot be reached: something on the way is neither an object nor an array with that place"
    )]
    Unreachable(String),
    /// A pattern means more values than one event should have.
    #[error("`{0}` means more than {1} values in this event: split it before this step")]
    TooMany(String, usize),
    /// The new place is taken.
    #[error("`{0}` exists already")]
    Taken(String),
}

/// The text of the value at `pointer`, `None` if there is none.
///
/// # Errors
/// [`EditError::Repeated`].
pub fn get<'a>(text: &'a str, pointer: &Pointer) -> Result<Option<&'a str>, EditError> {
    let mut at = skip_blank(text.as_bytes(), 0);
    for segment in pointer.segments() {
        match child(text, at, segment, pointer)? {
            Some((_, member)) => at = member.value.start,
            None => return Ok(None),
        }
    }
    Ok(Some(&text[at..value_end(text.as_bytes(), at)]))
}

/// Sets the value at `pointer` to the JSON text `value`: replaces what is there, else adds it at the end of the object,
/// and makes the objects on the way that do not exist. In an array, `-` or the index after the last adds an element.
///
/// # Errors
/// [`EditError`].
pub fn set(text: &str, pointer: &Pointer, value: &str) -> Result<String, EditError> {
    let bytes = text.as_bytes();
    let mut at = skip_blank(bytes, 0);
    let mut rest = pointer.segments();
    while let Some((segment, deeper)) = rest.split_first() {
        let Some((_, member)) = child(text, at, segment, pointer)? else {
            return add(text, at, segment, &nested(deeper, value), pointer);
        };
        at = member.value.start;
        rest = deeper;
    }
    Ok(splice(text, at..value_end(bytes, at), value))
}

/// Takes the value at `pointer` away with its name and one comma; `None` if there is none.
///
/// # Errors
/// [`EditError::Repeated`].
pub fn remove(text: &str, pointer: &Pointer) -> Result<Option<String>, EditError> {
    let bytes = text.as_bytes();
    let (parent, last) = pointer.split_last();
    let mut at = skip_blank(bytes, 0);
    for segment in parent {
        match child(text, at, segment, pointer)? {
            Some((_, member)) => at = member.value.start,
            None => return Ok(None),
        }
    }
    let Some((index, member)) = child(text, at, last, pointer)? else {
        return Ok(None);
    };
    Ok(Some(splice(text, removal(bytes, at, index, &member), "")))
}

/// What is cut where the member `index` of the value at `at` is taken away: its name, its value and one comma.
pub(super) fn removal(bytes: &[u8], at: usize, index: usize, member: &Member) -> Range<usize> {
    let after = skip_blank(bytes, member.value.end);
    if bytes.get(after) == Some(&b',') {
        member.start()..skip_blank(bytes, after + 1)
    } else if index > 0 {
        // The last one: the comma before it goes, too.
        let previous = members(bytes, at)
            .nth(index - 1)
            .map_or(member.start(), |previous| previous.value.end);
        previous..member.value.end
    } else {
        member.start()..member.value.end
    }
}

/// Moves the value at `from` to `to`; within one object only the name changes. `None` if there is nothing at `from`.
///
/// # Errors
/// [`EditError`]; [`EditError::Taken`] if something is at `to`.
pub fn rename(text: &str, from: &Pointer, to: &Pointer) -> Result<Option<String>, EditError> {
    let Some(value) = get(text, from)? else {
        return Ok(None);
    };
    if get(text, to)?.is_some() {
        return Err(EditError::Taken(to.to_string()));
    }
    let ((from_parent, old), (to_parent, new)) = (from.split_last(), to.split_last());
    if from_parent == to_parent {
        let mut at = skip_blank(text.as_bytes(), 0);
        for segment in from_parent {
            if let Some((_, member)) = child(text, at, segment, from)? {
                at = member.value.start;
            }
        }
        if let Some((_, member)) = child(text, at, old, from)?
            && !member.key.is_empty()
        {
            return Ok(Some(splice(text, member.key, &quoted(new))));
        }
    }
    let moved = value.to_owned();
    let without = remove(text, from)?.unwrap_or_else(|| text.to_owned());
    set(&without, to, &moved).map(Some)
}

/// Keeps what is at `pointers` and the objects on the way, takes everything else away. Arrays are kept whole or not at all.
///
/// # Errors
/// [`EditError::Repeated`]; [`EditError::Unreachable`] if the data is no object.
pub fn keep(text: &str, pointers: &[Pointer]) -> Result<String, EditError> {
    let at = skip_blank(text.as_bytes(), 0);
    if text.as_bytes().get(at) != Some(&b'{') {
        return Err(EditError::Unreachable("/".to_owned()));
    }
    let mut out = String::with_capacity(text.len());
    let wanted: Vec<&[String]> = pointers.iter().map(Pointer::segments).collect();
    keep_object(text, at, &wanted, &mut out)?;
    Ok(out)
}

/// Recurses along the pointers, never along the data.
fn keep_object(
    text: &str,
    at: usize,
    wanted: &[&[String]],
    out: &mut String,
) -> Result<(), EditError> {
    out.push('{');
    let mut kept: Vec<String> = Vec::new();
    for member in members(text.as_bytes(), at) {
        let key = name(&text[member.key.clone()]);
        let deeper: Vec<&[String]> = wanted
            .iter()
            .filter_map(|segments| segments.split_first())
            .filter(|(first, _)| **first == key)
            .map(|(_, rest)| rest)
            .collect();
        if deeper.is_empty() {
            continue;
        }
        let whole = deeper.iter().any(|rest| rest.is_empty());
        let is_object = text.as_bytes()[member.value.start] == b'{';
        if !whole && !is_object {
            continue;
        }
        if kept.iter().any(|other| *other == key) {
            return Err(EditError::Repeated(key.into_owned()));
        }
        if !kept.is_empty() {
            out.push(',');
        }
        out.push_str(&text[member.key.clone()]);
        out.push(':');
        if whole {
            out.push_str(&text[member.value]);
        } else {
            keep_object(text, member.value.start, &deeper, out)?;
        }
        kept.push(key.into_owned());
    }
    out.push('}');
    Ok(())
}

/// The child `segment` of the value at `at` and its index; `None` if there is none.
pub(super) fn child(
    text: &str,
    at: usize,
    segment: &str,
    pointer: &Pointer,
) -> Result<Option<(usize, Member)>, EditError> {
    let bytes = text.as_bytes();
    match bytes.get(at) {
        Some(b'{') => {
            let mut matching = members(bytes, at)
                .enumerate()
                .filter(|(_, member)| name(&text[member.key.clone()]) == segment);
            let found = matching.next();
            match matching.next() {
                Some(_) => Err(EditError::Repeated(pointer.to_string())),
                None => Ok(found),
            }
        }
        Some(b'[') => {
            Ok(index(segment).and_then(|index| members(bytes, at).enumerate().nth(index)))
        }
        _ => Ok(None),
    }
}

/// An array index: no sign, no leading zeros.
fn index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with(['0', '+']);
    canonical.then(|| segment.parse().ok()).flatten()
}

/// Adds a member or element to the value at `at`.
fn add(
    text: &str,
    at: usize,
    segment: &str,
    value: &str,
    pointer: &Pointer,
) -> Result<String, EditError> {
    let bytes = text.as_bytes();
    let unreachable = || EditError::Unreachable(pointer.to_string());
    let named = match bytes.get(at) {
        Some(b'{') => format!("{}:{value}", quoted(segment)),
        Some(b'[') if segment == "-" || index(segment) == Some(members(bytes, at).count()) => {
            value.to_owned()
        }
        _ => return Err(unreachable()),
    };
    let (place, added) = match members(bytes, at).last() {
        Some(last) => (last.value.end, format!(",{named}")),
        None => (at + 1, named),
    };
    Ok(splice(text, place..place, &added))
}

/// `{"a":{"b":value}}` for the segments a, b.
fn nested(segments: &[String], value: &str) -> String {
    segments
        .iter()
        .rev()
        .fold(value.to_owned(), |inner, segment| {
            format!("{{{}:{inner}}}", quoted(segment))
        })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn splice(text: &str, range: Range<usize>, with: &str) -> String {
    let mut out = String::with_capacity(text.len() - range.len() + with.len());
    out.push_str(&text[..range.start]);
    out.push_str(with);
    out.push_str(&text[range.end..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn p(text: &str) -> Pointer {
        text.parse().unwrap()
    }

    const DATA: &str = r#" { "a" : 1.50, "b":{"c":[1, 2 ,3],"d~/":"x\"}"} , "e": null } "#;

    #[test]
    fn untouched_bytes_stay() {
        for (pointer, value, edited) in [
            (
                "/a",
                "2",
                r#" { "a" : 2, "b":{"c":[1, 2 ,3],"d~/":"x\"}"} , "e": null } "#,
            ),
            (
                "/b/c/1",
                "9",
                r#" { "a" : 1.50, "b":{"c":[1, 9 ,3],"d~/":"x\"}"} , "e": null } "#,
            ),
            (
                "/b/c/-",
                "4",
                r#" { "a" : 1.50, "b":{"c":[1, 2 ,3,4],"d~/":"x\"}"} , "e": null } "#,
            ),
            (
                "/b/d~0~1",
                "1",
                r#" { "a" : 1.50, "b":{"c":[1, 2 ,3],"d~/":1} , "e": null } "#,
            ),
            (
                "/n/m",
                "1",
                r#" { "a" : 1.50, "b":{"c":[1, 2 ,3],"d~/":"x\"}"} , "e": null,"n":{"m":1} } "#,
            ),
        ] {
            assert_eq!(set(DATA, &p(pointer), value).unwrap(), edited);
        }
        for (pointer, edited) in [
            (
                "/a",
                r#" { "b":{"c":[1, 2 ,3],"d~/":"x\"}"} , "e": null } "#,
            ),
            (
                "/e",
                r#" { "a" : 1.50, "b":{"c":[1, 2 ,3],"d~/":"x\"}"} } "#,
            ),
            (
                "/b/c/2",
                r#" { "a" : 1.50, "b":{"c":[1, 2],"d~/":"x\"}"} , "e": null } "#,
            ),
        ] {
            assert_eq!(remove(DATA, &p(pointer)).unwrap().unwrap(), edited);
        }
        assert_eq!(remove("{\"a\":1}", &p("/a")).unwrap().unwrap(), "{}");
        assert_eq!(remove(DATA, &p("/zzz")).unwrap(), None);
    }

    #[test]
    fn renames_in_place_and_moves() {
        assert_eq!(
            rename(DATA, &p("/a"), &p("/A \"")).unwrap().unwrap(),
            r#" { "A \"" : 1.50, "b":{"c":[1, 2 ,3],"d~/":"x\"}"} , "e": null } "#
        );
        assert_eq!(
            rename(DATA, &p("/b/c"), &p("/c")).unwrap().unwrap(),
            r#" { "a" : 1.50, "b":{"d~/":"x\"}"} , "e": null,"c":[1, 2 ,3] } "#
        );
        assert_eq!(rename(DATA, &p("/zzz"), &p("/y")).unwrap(), None);
        assert_eq!(
            rename(DATA, &p("/a"), &p("/e")),
            Err(EditError::Taken("/e".into()))
        );
    }

    #[test]
    fn keeps_what_is_named() {
        assert_eq!(
            keep(DATA, &[p("/a"), p("/b/c"), p("/zzz")]).unwrap(),
            r#"{"a":1.50,"b":{"c":[1, 2 ,3]}}"#
        );
        assert_eq!(
            keep("[1]", &[p("/0")]),
            Err(EditError::Unreachable("/".into()))
        );
    }

    #[test]
    fn a_repeated_name_on_the_way_is_an_error() {
        let text = r#"{"a":1,"\u0061":2,"b":{"c":1}}"#;
        assert_eq!(get(text, &p("/a")), Err(EditError::Repeated("/a".into())));
        assert_eq!(
            set(text, &p("/a"), "3"),
            Err(EditError::Repeated("/a".into()))
        );
        assert_eq!(keep(text, &[p("/a")]), Err(EditError::Repeated("a".into())));
        assert_eq!(get(text, &p("/b/c")), Ok(Some("1")));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!(
            r#"{{"a":{}{},"b":1}}"#,
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        assert_eq!(get(&deep, &p("/b")).unwrap(), Some("1"));
        assert_eq!(remove(&deep, &p("/a")).unwrap().unwrap(), r#"{"b":1}"#);
    }

    #[test]
    fn what_has_no_members_is_unreachable() {
        assert_eq!(
            set(r#"{"a":1}"#, &p("/a/b"), "2"),
            Err(EditError::Unreachable("/a/b".into()))
        );
        assert_eq!(
            set("[1]", &p("/5"), "2"),
            Err(EditError::Unreachable("/5".into()))
        );
        assert_eq!(get("[1]", &p("/00")), Ok(None));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\é{}\\[\\],:]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"\\\\]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn set_and_remove_do_what_the_tree_does(value in value(), segments in proptest::collection::vec("[a-c\"\\\\0-2]{1,2}", 1..4), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let pointer = Pointer::try_from(segments.iter().map(|s| format!("/{s}")).collect::<String>()).unwrap();
            let found = get(&text, &pointer).unwrap();
            let found = found.map(|found| serde_json::from_str::<Value>(found).unwrap());
            prop_assert_eq!(found.as_ref(), value.pointer(&pointer.to_string()));
            if let Ok(edited) = set(&text, &pointer, r#"{"new":true}"#) {
                let edited: Value = serde_json::from_str(&edited).unwrap();
                prop_assert_eq!(edited.pointer(&pointer.to_string()), Some(&json!({"new": true})));
            }
            if let Some(removed) = remove(&text, &pointer).unwrap() {
                let mut expected = value.clone();
                let (parent, last) = pointer.split_last();
                let parent: String = parent.iter().map(|s| format!("/{s}")).collect();
                match expected.pointer_mut(&parent).unwrap() {
                    Value::Object(map) => { map.remove(last); }
                    Value::Array(array) => { array.remove(last.parse().unwrap()); }
                    _ => unreachable!("it had a child"),
                }
                prop_assert_eq!(serde_json::from_str::<Value>(&removed).unwrap(), expected);
            }
        }
    }
}
