//! BSON as Extended JSON, straight from the server's bytes.
//!
//! Source: MongoDB Extended JSON (v2). Relaxed writes what JSON can say as plain JSON; canonical keeps every type. Both are
//! exact: reading the text back gives the same values.
//!
//! Invariants: no tree is built; nothing written is ever taken back except by the caller, who knows where it started; every BSON
//! type has a form.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use headgate_sdk::{
    Timestamp,
    envelope::{json::write_string, time},
};
use mongodb::bson::{RawArray, RawBsonRef, RawDocument};
use schemars::JsonSchema;
use serde::Deserialize;

/// Which Extended JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonFormat {
    /// Numbers and dates as people expect them: `7`, `{"$date":"2026-01-02T03:04:05Z"}`.
    #[default]
    Relaxed,
    /// Every type marked: `{"$numberInt":"7"}`.
    Canonical,
}

/// Deeper documents are refused; the server itself stops at 200.
const MAX_DEPTH: usize = 250;

/// BSON that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    /// The bytes are no BSON, or a string in them is not UTF-8.
    #[error("the document is malformed: {0}")]
    Malformed(#[from] mongodb::bson::error::Error),
    /// Deeper than any server allows.
    #[error("the document is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Appends `document` as a JSON object.
pub(crate) fn write_document(
    document: &RawDocument,
    format: JsonFormat,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    Writer { format, out }.document(document, 0)
}

/// Appends `value`.
pub(crate) fn write_value(
    value: RawBsonRef<'_>,
    format: JsonFormat,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    Writer { format, out }.value(value, 0)
}

struct Writer<'a> {
    format: JsonFormat,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn document(&mut self, document: &RawDocument, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut separator = b'{';
        for element in document.iter_elements() {
            let element = element?;
            self.out.push(separator);
            separator = b',';
            write_string(element.key().as_str(), self.out);
            self.out.push(b':');
            self.value(element.value()?, depth)?;
        }
        if separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, array: &RawArray, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut separator = b'[';
        for element in array.iter_elements() {
            self.out.push(separator);
            separator = b',';
            self.value(element?.value()?, depth)?;
        }
        if separator == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
        Ok(())
    }

    fn value(&mut self, value: RawBsonRef<'_>, depth: usize) -> Result<(), JsonError> {
        let canonical = self.format == JsonFormat::Canonical;
        match value {
            RawBsonRef::String(text) => write_string(text, self.out),
            RawBsonRef::Int32(n) if canonical => {
                self.wrapped(b"$numberInt", itoa::Buffer::new().format(n))
            }
            RawBsonRef::Int64(n) if canonical => {
                self.wrapped(b"$numberLong", itoa::Buffer::new().format(n))
            }
            RawBsonRef::Int32(n) => self.raw(itoa::Buffer::new().format(n)),
            RawBsonRef::Int64(n) => self.raw(itoa::Buffer::new().format(n)),
            RawBsonRef::Double(n) => self.double(n, canonical),
            RawBsonRef::Boolean(true) => self.raw("true"),
            RawBsonRef::Boolean(false) => self.raw("false"),
            RawBsonRef::Null => self.raw("null"),
            RawBsonRef::Document(document) => self.document(document, depth + 1)?,
            RawBsonRef::Array(array) => self.array(array, depth + 1)?,
            RawBsonRef::ObjectId(id) => {
                self.raw("{\"$oid\":\"");
                hex(&id.bytes(), self.out);
                self.raw("\"}");
            }
            RawBsonRef::DateTime(at) => self.date(at.timestamp_millis(), canonical),
            RawBsonRef::Decimal128(n) => self.wrapped(b"$numberDecimal", &n.to_string()),
            RawBsonRef::Binary(binary) => {
                self.raw("{\"$binary\":{\"base64\":\"");
                self.raw(&STANDARD.encode(binary.bytes));
                self.raw("\",\"subType\":\"");
                hex(&[u8::from(binary.subtype)], self.out);
                self.raw("\"}}");
            }
            RawBsonRef::Timestamp(at) => {
                let _infallible = write!(
                    self.out,
                    "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
                    at.time, at.increment
                );
            }
            RawBsonRef::RegularExpression(regex) => {
                self.raw("{\"$regularExpression\":{\"pattern\":");
                write_string(regex.pattern.as_str(), self.out);
                self.raw(",\"options\":");
                let mut options: Vec<char> = regex.options.as_str().chars().collect();
                options.sort_unstable();
                write_string(&options.into_iter().collect::<String>(), self.out);
                self.raw("}}");
            }
            RawBsonRef::JavaScriptCode(code) => self.wrapped(b"$code", code),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.raw("{\"$code\":");
                write_string(code.code, self.out);
                self.raw(",\"$scope\":");
                self.document(code.scope, depth + 1)?;
                self.raw("}");
            }
            RawBsonRef::Symbol(symbol) => self.wrapped(b"$symbol", symbol),
            RawBsonRef::Undefined => self.raw("{\"$undefined\":true}"),
            RawBsonRef::MinKey => self.raw("{\"$minKey\":1}"),
            RawBsonRef::MaxKey => self.raw("{\"$maxKey\":1}"),
            // The deprecated pointer type shows its parts through serde alone.
            RawBsonRef::DbPointer(pointer) => {
                let _infallible = serde_json::to_writer(&mut *self.out, &pointer);
            }
        }
        Ok(())
    }

    fn double(&mut self, n: f64, canonical: bool) {
        let text: &str = match n {
            n if n.is_nan() => "NaN",
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            // The shortest text that reads back as the same number.
            n if canonical => {
                let _infallible = write!(self.out, "{{\"$numberDouble\":\"{n:?}\"}}");
                return;
            }
            n => {
                let _infallible = write!(self.out, "{n:?}");
                return;
            }
        };
        self.wrapped(b"$numberDouble", text);
    }

    fn date(&mut self, millis: i64, canonical: bool) {
        // 1970 up to and including 9999, as the specification has it.
        const RELAXED: std::ops::Range<i64> = 0..253_402_300_800_000;
        self.raw("{\"$date\":");
        match Timestamp::from_millisecond(millis) {
            Ok(at) if !canonical && RELAXED.contains(&millis) => {
                self.out.push(b'"');
                time::write(at, self.out);
                self.out.push(b'"');
            }
            _ => self.wrapped(b"$numberLong", itoa::Buffer::new().format(millis)),
        }
        self.out.push(b'}');
    }

    /// `{"key":"text"}`
    fn wrapped(&mut self, key: &[u8], text: &str) {
        self.out.extend_from_slice(b"{\"");
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\":");
        write_string(text, self.out);
        self.out.push(b'}');
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// Appends `bytes` as lower-case hex.
pub(crate) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
