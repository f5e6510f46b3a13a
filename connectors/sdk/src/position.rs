//! Where a lane may resume.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

/// A place to resume from, opaque to the gateway: JSON text that its connector wrote, so that an operator can read it.
///
/// It may lie inside a transaction of the source. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Position(Arc<str>);

impl Position {
    /// Writes a connector's own position.
    ///
    /// # Panics
    /// Only if `position` cannot be JSON (a map with keys that are no strings), which is a mistake of the connector.
    #[must_use]
    pub fn encode<T: Serialize>(position: &T) -> Self {
        Self(
            serde_json::to_string(position)
                .expect("a position is plain data")
                .into(),
        )
    }

    /// Reads a connector's own position back.
    ///
    /// # Errors
    /// If it was written by something else; the message names the text.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PositionError> {
        serde_json::from_str(&self.0).map_err(|source| PositionError {
            text: self.0.clone(),
            source,
        })
    }

    /// Takes JSON text as it was stored or given by an operator.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn from_json(text: &str) -> Result<Self, PositionError> {
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(source) => Err(PositionError {
                text: text.into(),
                source,
            }),
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored position that its connector cannot read.
#[derive(Debug, thiserror::Error)]
#[error(
    "position `{text}` is not one of this connector's: use `headgate checkpoints set` to store a valid one"
)]
pub struct PositionError {
    text: Arc<str>,
    #[source]
    source: serde_json::Error,
}
