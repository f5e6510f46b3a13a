//! The keys of `validate`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SchemaFile;
use crate::pipeline::step::Types;

/// Checks JSON data against a JSON Schema: draft 2020-12, or the one that its `$schema` names.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// The file of the schema, relative to the configuration.
    pub schema: SchemaFile,
    /// The absolute URI that valid events get as `dataschema`; the schema's `$id` if absent and absolute.
    #[serde(default)]
    pub dataschema: Option<String>,
    /// What becomes of an event whose data is not valid.
    #[serde(default)]
    pub on_invalid: OnInvalid,
}

/// What becomes of an event whose data is not valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// It becomes a dead letter, whose error names the pointer.
    #[default]
    DeadLetter,
    /// It is dropped, counted.
    Drop,
    /// It goes on with the attribute `invalid`, which holds the pointer.
    Tag,
}
