//! The keys of `keep_fields`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    json::Pointer,
    step::{OnError, Types},
};

/// Keeps what is named of JSON data, and takes everything else away.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// JSON pointers: `[/op, /after/id]`. What is not there is no error.
    pub fields: Vec<Pointer>,
    /// What becomes of an event whose data is no JSON object.
    #[serde(default)]
    pub on_error: OnError,
}
