//! The keys of `set`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Place;
use crate::pipeline::{
    route::{Template, TemplateError},
    step::{OnError, Types},
};

/// Sets members of JSON data and attributes, and leaves everything else byte-identical.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// What to set, by JSON pointer (`/customer/id`) or attribute (`subject`). Strings are templates: `{attribute}`,
    /// `{/json/pointer}`, `{{` for a brace. Objects on the way to a pointer are made where they are missing.
    pub fields: BTreeMap<Place, Setting>,
    /// What becomes of an event that has no JSON data, or lacks what a template names.
    #[serde(default)]
    pub on_error: OnError,
}

/// A value to set.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "serde_json::Value")]
#[schemars(with = "serde_json::Value")]
pub enum Setting {
    /// A string with holes.
    Template(Template),
    /// Any other JSON value, as text.
    Json(serde_json::Value),
}

impl TryFrom<serde_json::Value> for Setting {
    type Error = TemplateError;

    fn try_from(value: serde_json::Value) -> Result<Self, TemplateError> {
        match value {
            serde_json::Value::String(text) => Template::parse(&text).map(Self::Template),
            other => Ok(Self::Json(other)),
        }
    }
}
