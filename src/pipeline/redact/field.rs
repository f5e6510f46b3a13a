//! What is redacted: places in the data, or an attribute.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    json::Pattern,
    set::{Place, PlaceError},
};

/// JSON pointer into the data in which `*` stands for every element or member (`/lines/*/iban`), or the name of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("format" = Self::FORMAT))]
pub enum Field {
    /// In the data.
    Data(Pattern),
    /// In the envelope.
    Attribute(String),
}

impl Field {
    /// The `format` under which the JSON Schema announces a field.
    pub const FORMAT: &'static str = "redacted-field";
}

impl FromStr for Field {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        Ok(match text.parse()? {
            Place::Data(pointer) => Self::Data(pointer.into()),
            Place::Attribute(name) => Self::Attribute(name),
        })
    }
}

impl TryFrom<String> for Field {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(pattern) => pattern.fmt(f),
            Self::Attribute(name) => f.write_str(name),
        }
    }
}
