//! Arrays of any dimension: `{1,NULL,{"a","b\"c"}}`, also with bounds (`[0:1]={…}`).
//!
//! Source: PostgreSQL manual, "Array Input and Output Syntax".

use std::borrow::Cow;

use super::{Kind, Rendering, write::write as write_value};

/// Dimensions that Postgres allows.
const MAX_DEPTH: usize = 6;

/// Appends `text` as nested JSON arrays; `false` (and nothing appended) if it is no array.
pub(super) fn write(
    element: &Kind,
    delimiter: u8,
    text: &str,
    rendering: Rendering,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let done = walk(text, delimiter, |part| match part {
        Part::Open => out.push(b'['),
        Part::Close => out.push(b']'),
        Part::Between => out.push(b','),
        Part::Null => out.extend_from_slice(b"null"),
        Part::Element(text) => write_value(element, &text, rendering, out),
    });
    if done.is_none() {
        out.truncate(start);
    }
    done.is_some()
}

enum Part<'a> {
    Open,
    Close,
    Between,
    Null,
    Element(Cow<'a, str>),
}

fn walk<'a>(text: &'a str, delimiter: u8, mut f: impl FnMut(Part<'a>)) -> Option<()> {
    let text = if text.starts_with('[') {
        &text[text.find("={")? + 1..]
    } else {
        text
    };
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    // Whether a value may, or must not, come next.
    let mut wants_value = true;
    loop {
        match *bytes.get(at)? {
            b'{' if wants_value => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
                f(Part::Open);
                at += 1;
                if bytes.get(at) == Some(&b'}') {
                    wants_value = false;
                }
            }
            b'}' if !wants_value && depth > 0 => {
                depth -= 1;
                f(Part::Close);
                at += 1;
                if depth == 0 {
                    return (at == bytes.len()).then_some(());
                }
            }
            byte if byte == delimiter && !wants_value && depth > 0 => {
                f(Part::Between);
                at += 1;
                wants_value = true;
            }
            b'"' if wants_value && depth > 0 => {
                let (element, end) = quoted(text, at + 1)?;
                f(Part::Element(element));
                at = end;
                wants_value = false;
            }
            _ if wants_value && depth > 0 => {
                let length = bytes[at..]
                    .iter()
                    .position(|&b| b == delimiter || matches!(b, b'{' | b'}' | b'"' | b'\\'))?;
                let element = text.get(at..at + length)?;
                if element.is_empty() {
                    return None;
                }
                f(if element.eq_ignore_ascii_case("null") {
                    Part::Null
                } else {
                    Part::Element(Cow::Borrowed(element))
                });
                at += length;
                wants_value = false;
            }
            _ => return None,
        }
    }
}

/// The element whose text starts at `from` and the place after its closing quote.
pub(super) fn quoted(text: &str, from: usize) -> Option<(Cow<'_, str>, usize)> {
    let bytes = text.as_bytes();
    let length = bytes[from..]
        .iter()
        .position(|&b| matches!(b, b'"' | b'\\'))?;
    if bytes[from + length] == b'"' {
        let element = text.get(from..from + length)?;
        return Some((Cow::Borrowed(element), from + length + 1));
    }
    let mut element = String::with_capacity(length + 16);
    let mut rest = text.get(from..)?.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '"' => return Some((Cow::Owned(element), from + at + 1)),
            '\\' => element.push(rest.next()?.1),
            other => element.push(other),
        }
    }
    None
}
