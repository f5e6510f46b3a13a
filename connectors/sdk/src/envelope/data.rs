//! The payload of an envelope.

use bytes::Bytes;

/// A payload: bytes as they came, or nothing at all (which is not the same as empty).
///
/// Cloning is cheap. `json` records that whoever made it vouches for one valid JSON text, so that nobody checks again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Data {
    bytes: Option<Bytes>,
    json: bool,
}

impl Data {
    /// No payload.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            bytes: None,
            json: false,
        }
    }

    /// Bytes of any kind, unchecked.
    #[must_use]
    pub fn opaque(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            json: false,
        }
    }

    /// Bytes that the caller knows to be exactly one valid JSON text in UTF-8 (because it wrote or parsed them).
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            json: true,
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
}
