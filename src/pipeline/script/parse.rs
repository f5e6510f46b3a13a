//! JSON text into VRL's value, exactly or not at all.

use std::borrow::Cow;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use vrl::value::{KeyString, ObjectMap, Value};

use super::{Numbers, RunError};

/// Arrays and objects inside each other.
const MAX_DEPTH: usize = 128;

/// What was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) value: Value,
    /// Whether every number is there as a number, so that the value says what the text says.
    pub(super) exact: bool,
}

/// The value of `text`, a slice of `document`, whose strings stay slices of it.
///
/// # Errors
/// `invalid_data`: no JSON, deeper than 128, a name twice in one object, half a surrogate pair. `unexact_number`.
pub(super) fn parse(document: &Bytes, text: &str, numbers: Numbers) -> Result<Read, RunError> {
    let mut parser = Parser {
        document,
        text,
        bytes: text.as_bytes(),
        at: 0,
        numbers,
        exact: true,
    };
    parser.blank();
    let value = parser.value(0)?;
    parser.blank();
    if parser.at < text.len() {
        return Err(parser.syntax());
    }
    Ok(Read {
        value,
        exact: parser.exact,
    })
}

/// Bytes that end a run of plain characters in a string: quotes, backslashes, control characters.
const NOT_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = true;
        control += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

struct Parser<'a> {
    document: &'a Bytes,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    numbers: Numbers,
    exact: bool,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, RunError> {
        match self.bytes.get(self.at) {
            Some(b'{') if depth < MAX_DEPTH => self.object(depth),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth),
            Some(b'{' | b'[') => Err(invalid(format!(
                "the data is nested deeper than {MAX_DEPTH}"
            ))),
            Some(b'"') => Ok(match self.string()? {
                Cow::Borrowed(text) => Value::Bytes(self.document.slice_ref(text.as_bytes())),
                Cow::Owned(text) => Value::Bytes(Bytes::from(text)),
            }),
            Some(b't') => self.word("true", Value::Boolean(true)),
            Some(b'f') => self.word("false", Value::Boolean(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.syntax()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, RunError> {
        let mut map = ObjectMap::new();
        self.at += 1;
        self.blank();
        if self.take(b'}') {
            return Ok(Value::Object(map));
        }
        loop {
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.syntax());
            }
            let key = KeyString::from(self.string()?);
            self.blank();
            if !self.take(b':') {
                return Err(self.syntax());
            }
            self.blank();
            match map.entry(key) {
                Entry::Vacant(place) => _ = place.insert(self.value(depth + 1)?),
                Entry::Occupied(taken) => {
                    let key = taken.key();
                    return Err(invalid(format!("`{key}` occurs twice in one object")));
                }
            }
            self.blank();
            if self.take(b'}') {
                return Ok(Value::Object(map));
            }
            if !self.take(b',') {
                return Err(self.syntax());
            }
            self.blank();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, RunError> {
        let mut array = Vec::new();
        self.at += 1;
        self.blank();
        if self.take(b']') {
            return Ok(Value::Array(array));
        }
        loop {
            array.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b']') {
                return Ok(Value::Array(array));
            }
            if !self.take(b',') {
                return Err(self.syntax());
            }
            self.blank();
        }
    }

    /// The string that begins here.
    fn string(&mut self) -> Result<Cow<'a, str>, RunError> {
        let start = self.at;
        let mut at = start + 1;
        let mut escaped = false;
        loop {
            let Some(found) = self.bytes[at..]
                .iter()
                .position(|&byte| NOT_PLAIN[usize::from(byte)])
            else {
                return Err(self.syntax());
            };
            at += found;
            match self.bytes[at] {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += 2;
                    if at > self.bytes.len() {
                        return Err(self.syntax());
                    }
                }
                _ => {
                    self.at = at;
                    return Err(self.syntax());
                }
            }
        }
        self.at = at + 1;
        let text = self.text;
        if !escaped {
            return Ok(Cow::Borrowed(&text[start + 1..at]));
        }
        serde_json::from_str::<String>(&text[start..=at])
            .map(Cow::Owned)
            .map_err(|_| {
                invalid("a string has an escape that is not one, or half a surrogate pair")
            })
    }

    fn number(&mut self) -> Result<Value, RunError> {
        let start = self.at;
        if let Some((value, length)) = short_integer(&self.bytes[start..]) {
            self.at += length;
            return Ok(value);
        }
        let length = self.bytes[start..]
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let text = &self.text[start..start + length];
        if !is_number(text) {
            return Err(self.syntax());
        }
        self.at += length;
        if let Some(value) = exact(text) {
            return Ok(value);
        }
        match self.numbers {
            Numbers::Text => {
                self.exact = false;
                Ok(Value::Bytes(self.document.slice_ref(text.as_bytes())))
            }
            Numbers::Exact => Err(RunError::new(
                "unexact_number",
                format!(
                    "the number at byte {start} of the data cannot be held exactly: write `numbers: text` to see it as a string"
                ),
            )),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, RunError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(value)
    }

    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn syntax(&self) -> RunError {
        invalid(format!("the data is not valid JSON at byte {}", self.at))
    }
}

fn invalid(message: impl Into<String>) -> RunError {
    RunError::new("invalid_data", message)
}

/// The integer of at most 18 digits that `bytes` begins with, and its length; most numbers are one.
fn short_integer(bytes: &[u8]) -> Option<(Value, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut at, mut value) = (start, 0_i64);
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
        && at < start + 18
    {
        value = value * 10 + i64::from(digit);
        at += 1;
    }
    let ends = !matches!(
        bytes.get(at),
        Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
    );
    let legal = at > start && (bytes[start] != b'0' || at == start + 1);
    let value = if negative { -value } else { value };
    (ends && legal).then_some((Value::Integer(value), at))
}

/// The grammar of RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
    let (integer, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(integer, fraction)| {
            (integer, Some(fraction))
        });
    digits(integer)
        && (integer == "0" || !integer.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// The number as an integer or a float of the same value.
fn exact(text: &str) -> Option<Value> {
    if !text.contains(['.', 'e', 'E']) {
        return text.parse::<i64>().ok().map(Value::Integer);
    }
    let float: f64 = text.parse().ok()?;
    // No two numbers of 15 digits are the same double: only longer ones, and powers of ten, have to be looked at.
    let short = text.len() <= 16 && !text.contains(['e', 'E']);
    let same = short || float.is_finite() && decimal(text) == decimal(&format!("{float:e}"));
    same.then(|| Value::from_f64_or_zero(float))
}

/// Significant digits and the power of ten of the first; equal exactly if two texts mean the same number. No digits: zero.
fn decimal(text: &str) -> (String, i64) {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{integer}{fraction}");
    let leading = all.bytes().take_while(|&byte| byte == b'0').count();
    let digits = all.trim_matches('0').to_owned();
    if digits.is_empty() {
        return (digits, 0);
    }
    let power =
        exponent.parse::<i64>().unwrap_or(i64::MAX / 2) + integer.len() as i64 - leading as i64;
    (digits, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, RunError> {
        let document = Bytes::copy_from_slice(text.as_bytes());
        parse(
            &document,
            std::str::from_utf8(&document).unwrap(),
            Numbers::Exact,
        )
        .map(|read| read.value)
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        for text in [
            "0",
            "-0",
            "1",
            "9223372036854775807",
            "-9223372036854775808",
            "0.1",
            "1.50",
            "1e3",
            "12.5E-1",
            "0.0",
            "1e300",
            "123456789.123",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in [
            "9223372036854775808",
            "0.1000000000000000055",
            "1e400",
            "1e-400",
            "12345678901234567.8",
            "1e99999999999999999999",
        ] {
            assert_eq!(read(text).unwrap_err().reason, "unexact_number", "{text}");
        }
        let document = Bytes::from_static(b"1e400");
        let read = parse(
            &document,
            std::str::from_utf8(&document).unwrap(),
            Numbers::Text,
        )
        .unwrap();
        assert_eq!((read.value, read.exact), (Value::from("1e400"), false));
    }

    #[test]
    fn poison_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "nul",
            "NaN",
            "01",
            "1.",
            "+1",
            "\"a",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\uDEAD\"",
            "1 2",
            "\"\\",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
        ] {
            assert_eq!(read(text).unwrap_err().reason, "invalid_data", "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            read(&deep).unwrap_err().message,
            "the data is nested deeper than 128"
        );
    }

    proptest::proptest! {
        /// The short ways agree with the long ones.
        #[test]
        fn short_integers_are_integers(text in "-?[0-9]{0,20}[.eE+-]?[0-9]{0,2}") {
            if let Some((value, length)) = short_integer(text.as_bytes()) {
                proptest::prop_assert_eq!(length, text.len());
                proptest::prop_assert!(is_number(&text));
                proptest::prop_assert_eq!(Some(value), exact(&text));
            }
        }

        #[test]
        fn short_decimals_are_exact(whole in 0_u64..1_000_000_000, fraction in "[0-9]{1,6}", negative: bool) {
            let text = format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
            let float: f64 = text.parse().unwrap();
            proptest::prop_assert_eq!(decimal(&text), decimal(&format!("{float:e}")));
            proptest::prop_assert!(exact(&text).is_some());
        }

        #[test]
        fn reads_what_serde_json_reads(text in "[\\[\\]{}:,\"\\\\a0-9.e \\-ntu]{0,24}") {
            let ours = read(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match ours {
                Ok(value) => proptest::prop_assert_eq!(serde_json::to_value(value).unwrap().to_string().replace(".0", ""), theirs.unwrap().to_string().replace(".0", "")),
                Err(error) if error.reason == "invalid_data" => proptest::prop_assert!(theirs.is_err() || error.message.contains("twice"), "{}", error),
                Err(_) => {}
            }
        }
    }
}
