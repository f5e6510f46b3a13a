//! The keys of `remove`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    set::Place,
    step::{OnError, Types},
};

/// Takes members of JSON data and attributes away. What is not there is no error.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// JSON pointers (`/customer/email`) and attributes (`subject`).
    pub fields: Vec<Place>,
    /// What becomes of an event that has no JSON data.
    #[serde(default)]
    pub on_error: OnError,
}
