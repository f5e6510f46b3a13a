//! The payload of an envelope.

use std::any::Any;
use std::fmt;

use bytes::Bytes;

/// A payload: bytes as they came, or nothing at all (which is not the same as empty).
///
/// Cloning is cheap. `json` records that whoever made it vouches for one valid JSON text, so that nobody checks again. Beside the
/// bytes may lie the value that a step parsed, for the next step that asks. Two payloads are equal if their bytes are, whoever has
/// looked at them.
#[derive(Debug, Clone, Default)]
pub struct Data {
    bytes: Option<Bytes>,
    json: bool,
    parsed: Parsed,
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

/// What a step made of the bytes, of whatever type its language has. It is no part of the payload: a copy has none.
#[derive(Default)]
struct Parsed(Option<Box<dyn Any + Send + Sync>>);

impl Clone for Parsed {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "kept" } else { "none" })
    }
}

impl Data {
    /// No payload.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            bytes: None,
            json: false,
            parsed: Parsed(None),
        }
    }

    /// Bytes of any kind, unchecked.
    #[must_use]
    pub fn opaque(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            json: false,
            parsed: Parsed(None),
        }
    }

    /// Bytes that the caller knows to be exactly one valid JSON text in UTF-8 (because it wrote or parsed them).
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            json: true,
            parsed: Parsed(None),
        }
    }

    /// The bytes, `None` if there is no payload.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        self.bytes.as_ref()
    }

    /// Whether the bytes are known to be one valid JSON text.
    #[must_use]
    pub fn is_known_json(&self) -> bool {
        self.json
    }

    /// Length in bytes; nothing counts as zero.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that somebody has read the bytes and found one valid JSON text, so that nobody checks again.
    pub fn vouch_for_json(&mut self) {
        self.json = self.bytes.is_some();
    }

    /// Leaves `value`, which says exactly what the bytes say, for the next that asks for one of its type.
    pub fn keep_parsed<T: Any + Send + Sync>(&mut self, value: T) {
        self.parsed = Parsed(Some(Box::new(value)));
    }

    /// The value that was left.
    #[must_use]
    pub fn parsed<T: Any>(&self) -> Option<&T> {
        self.parsed.0.as_deref()?.downcast_ref()
    }

    /// Takes the value that was left; one of another type is dropped.
    pub fn take_parsed<T: Any>(&mut self) -> Option<T> {
        let boxed: Box<dyn Any> = self.parsed.0.take()?;
        boxed.downcast().ok().map(|value| *value)
    }

    /// Drops the value that was left: whoever keeps the payload for long needs the bytes only.
    pub fn forget_parsed(&mut self) {
        self.parsed = Parsed(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsed_value_is_no_part_of_the_payload() {
        let mut data = Data::json("1");
        data.keep_parsed(1_i64);
        assert_eq!(data, Data::json("1"));
        assert_eq!(data.clone().parsed::<i64>(), None);
        assert_eq!(data.parsed::<i64>(), Some(&1));
        assert_eq!(data.take_parsed::<i64>(), Some(1));
        assert_eq!(data.parsed::<i64>(), None);
        data.keep_parsed("x");
        data.forget_parsed();
        assert_eq!(data.take_parsed::<&str>(), None);
    }
}
