//! Finding one's way in a JSON text that is known to be valid.

use std::borrow::Cow;
use std::ops::Range;

/// A member of an object, or an element of an array (whose `key` is empty).
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The name with its quotes.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Member {
    pub(super) fn start(&self) -> usize {
        if self.key.is_empty() {
            self.value.start
        } else {
            self.key.start
        }
    }
}

/// The place of the first character that is not white space, from `at` on.
pub(super) fn skip_blank(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the value that begins at `at` ends.
pub(super) fn value_end(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match text.get(at) {
                    None => return text.len(),
                    Some(b'{' | b'[') => depth += 1,
                    Some(b'}' | b']') => depth -= 1,
                    Some(b'"') => {
                        at = string_end(text, at);
                        continue;
                    }
                    Some(_) => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
        }
        _ => text[at..]
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
            .map_or(text.len(), |length| at + length),
    }
}

fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The members of the object, or the elements of the array, that begins at `at`.
pub(super) fn members(text: &[u8], at: usize) -> impl Iterator<Item = Member> {
    let named = text.get(at) == Some(&b'{');
    let mut at = at + 1;
    std::iter::from_fn(move || {
        at = skip_blank(text, at);
        if text.get(at) == Some(&b',') {
            at = skip_blank(text, at + 1);
        }
        if matches!(text.get(at), None | Some(b'}' | b']')) {
            return None;
        }
        let key = if named {
            at..string_end(text, at)
        } else {
            at..at
        };
        let start = if named {
            let colon = skip_blank(text, key.end);
            skip_blank(text, colon + 1)
        } else {
            at
        };
        at = value_end(text, start);
        Some(Member {
            key,
            value: start..at,
        })
    })
}

/// The name that a key with its quotes spells.
pub(super) fn name(key: &str) -> Cow<'_, str> {
    let inner = key.get(1..key.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\\') {
        serde_json::from_str::<String>(key).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    }
}
