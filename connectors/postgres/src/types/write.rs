//! One value.

use base64::{Engine, engine::general_purpose::STANDARD};
use headgate_sdk::envelope::json;

use super::{Kind, array, datetime, hstore};

/// How numbers that some readers of JSON cannot hold are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// As a JSON number, with all its digits.
    #[default]
    Number,
    /// As a JSON string.
    String,
}

/// The choices that a configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rendering {
    pub(crate) bigint: Numbers,
    pub(crate) numeric: Numbers,
}

impl Default for Rendering {
    fn default() -> Self {
        Self {
            bigint: Numbers::Number,
            numeric: Numbers::String,
        }
    }
}

/// Appends `text`, a value of `kind`, as one JSON value.
#[inline]
pub(crate) fn write(kind: &Kind, text: &str, rendering: Rendering, out: &mut Vec<u8>) {
    let written = match kind {
        Kind::Text => false,
        Kind::Integer => number(text, out),
        Kind::BigInteger => rendering.bigint == Numbers::Number && number(text, out),
        Kind::Numeric => rendering.numeric == Numbers::Number && number(text, out),
        Kind::Float => number(text, out),
        Kind::Boolean => boolean(text, out),
        Kind::Timestamp => datetime::timestamp(text, out),
        Kind::TimestampTz => datetime::timestamp_tz(text, out),
        Kind::Date => datetime::date(text, out),
        Kind::TimeTz => datetime::time_tz(text, out),
        Kind::Bytea => bytea(text, out),
        Kind::Json => {
            out.extend_from_slice(text.as_bytes());
            !text.is_empty()
        }
        Kind::Hstore => hstore::write(text, out),
        Kind::Vector => vector(text, out),
        Kind::Array { element, delimiter } => {
            array::write(element, *delimiter, text, rendering, out)
        }
    };
    if !written {
        json::write_string(text, out);
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    json::write_string(text, out);
}

/// Appends `text` if it is a JSON number already; NaN and Infinity are not.
#[inline]
pub(super) fn number(text: &str, out: &mut Vec<u8>) -> bool {
    if is_json_number(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
        true
    } else {
        false
    }
}

#[inline]
fn is_json_number(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix(b".") {
        let fraction = digits(after);
        if fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = match after {
            [b'+' | b'-', after @ ..] => after,
            after => after,
        };
        let exponent = digits(after);
        return exponent > 0 && exponent == after.len();
    }
    rest.is_empty()
}

fn boolean(text: &str, out: &mut Vec<u8>) -> bool {
    let word: &[u8] = match text {
        "t" => b"true",
        "f" => b"false",
        _ => return false,
    };
    out.extend_from_slice(word);
    true
}

fn bytea(text: &str, out: &mut Vec<u8>) -> bool {
    let Some(hex) = text.strip_prefix("\\x") else {
        return false;
    };
    if hex.len() % 2 != 0 {
        return false;
    }
    let digit = |byte: u8| {
        (byte as char)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    for pair in hex.as_bytes().chunks_exact(2) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        bytes.push(high << 4 | low);
    }
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(&bytes, &mut out[start..])
        .expect("the room was made for it");
    out.truncate(start + written);
    out.push(b'"');
    true
}

fn vector(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'[');
    for (i, part) in text.split_ascii_whitespace().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if !number(part, out) {
            out.truncate(start);
            return false;
        }
    }
    out.push(b']');
    true
}
