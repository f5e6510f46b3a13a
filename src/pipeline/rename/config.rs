//! The keys of `rename`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    json::Pointer,
    step::{OnError, Types},
};

/// Renames or moves members of JSON data.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// From JSON pointer to JSON pointer: `{ /sku: /article, /customer/mail: /email }`. What is not there is no error; a new
    /// place that is taken is one.
    pub fields: BTreeMap<Pointer, Pointer>,
    /// What becomes of an event that has no JSON data, or something at the new place.
    #[serde(default)]
    pub on_error: OnError,
}
