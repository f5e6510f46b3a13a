//! JSON text into VRL's value, exactly or not at all.

use std::borrow::Cow;

use bytes::Bytes;
use vrl::value::{KeyString, ObjectMap, Value};

use super::{Numbers, RunError};

/// Arrays and objects inside each other.
const MAX_DEPTH: usize = 128;

/// The value of `text`, a slice of `document`, whose strings stay slices of it.
///
/// # Errors
/// `invalid_data`: no JSON, deeper than 128, a name twice in one object, half a surrogate pair. `unexact_number`.
pub(super) fn parse(document: &Bytes, text: &str, numbers: Numbers) -> Result<Value, RunError> {
    let mut parser = Parser {
        document,
        text,
        bytes: text.as_bytes(),
        at: 0,
        numbers,
    };
    parser.blank();
    let value = parser.value(0)?;
    parser.blank();
    if parser.at < text.len() {
        Err(parser.syntax())
    } else {
        Ok(value)
    }
}

struct Parser<'a> {
    document: &'a Bytes,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    numbers: Numbers,
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
            let value = self.value(depth + 1)?;
            if let Some(key) = Some(key.clone()).filter(|_| map.insert(key, value).is_some()) {
                return Err(invalid(format!("`{key}` occurs twice in one object")));
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
                .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
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
            Numbers::Text => Ok(Value::Bytes(self.document.slice_ref(text.as_bytes()))),
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
    let same = float.is_finite() && decimal(text) == decimal(&format!("{float:e}"));
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
        assert_eq!(
            parse(
                &document,
                std::str::from_utf8(&document).unwrap(),
                Numbers::Text
            )
            .unwrap(),
            Value::from("1e400")
        );
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
