//! What a simple step works on: a place in the data, or an attribute.

use std::{fmt, str::FromStr};

use headgate_sdk::envelope::{FIXED, MAX_NAME_LENGTH, NAMES, is_legal_name};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::json::{Pointer, PointerError};

/// A JSON pointer into the data (`/customer/id`), or the name of an attribute (`subject`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("format" = Self::FORMAT))]
pub enum Place {
    /// In the data.
    Data(Pointer),
    /// In the envelope.
    Attribute(String),
}

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It begins like a pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// It is no attribute's name.
    #[error(
        "`{0}` is neither a JSON pointer like `/name` nor an attribute (1 to 20 lower-case letters and digits)"
    )]
    Name(String),
    /// It is nearly one that the profile knows.
    #[error(
        "there is no attribute `{0}`; did you mean `{1}`? (an extension of one's own has a name less alike)"
    )]
    Misspelt(String, &'static str),
    /// Steps cannot touch it.
    #[error("the attribute `{0}` cannot be changed by a step")]
    Fixed(String),
}

/// The attribute of the profile that `name` probably means: one letter off in a name of at least six, two letters swapped, or one
/// forgotten.
/// Anything else may be an extension.
#[must_use]
pub fn misspelt(name: &str) -> Option<&'static str> {
    let near = |known: &&&str| {
        let swapped = sorted(name) == sorted(known);
        let forgotten = name.len() >= 3 && name.len() + 1 == known.len();
        (name.len() >= 6 || swapped || forgotten) && strsim::osa_distance(name, known) == 1
    };
    if NAMES.contains(&name) {
        None
    } else {
        NAMES.iter().find(near).copied()
    }
}

fn sorted(name: &str) -> Vec<u8> {
    let mut letters = name.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

impl Place {
    /// The `format` under which the JSON Schema announces a place.
    pub const FORMAT: &'static str = "place";
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text.starts_with('/') {
            return Ok(Self::Data(text.parse()?));
        }
        if FIXED.contains(&text) {
            return Err(PlaceError::Fixed(text.to_owned()));
        }
        if !is_legal_name(text) || text.len() > MAX_NAME_LENGTH {
            return Err(PlaceError::Name(text.to_owned()));
        }
        match misspelt(text) {
            Some(known) => Err(PlaceError::Misspelt(text.to_owned(), known)),
            None => Ok(Self::Attribute(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(pointer) => pointer.fmt(f),
            Self::Attribute(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_attributes_are_told_from_extensions() {
        for (name, known) in [
            ("subjct", "subject"),
            ("partionkey", ""),
            ("partitonkey", "partitionkey"),
            ("tyep", "type"),
            ("typ", "type"),
            ("souce", "source"),
            ("tenantids", "tenantid"),
        ] {
            assert_eq!(misspelt(name).unwrap_or_default(), known, "{name}");
        }
        for extension in ["type", "xtype", "ops", "top", "timer", "customer", "region"] {
            assert_eq!(misspelt(extension), None, "{extension}");
        }
    }
}
