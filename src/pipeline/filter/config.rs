//! The keys of `filter`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    script::Condition,
    step::{OnError, Types},
};

/// Which attribute must have which values.
pub type Equals = BTreeMap<String, Vec<String>>;

/// Passes on the events that match and drops the others, counted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// Attributes and the values they may have: `{ type: [invoice.received.v1, invoice.paid.v1] }`. An event must match all of
    /// them; one that lacks an attribute does not match.
    #[serde(default)]
    pub equals: Equals,
    /// A VRL condition that must be true: `%type != "github.ping.v1"`. `.` is the data, `%` the envelope.
    #[serde(default)]
    pub keep: Option<Condition>,
    /// What becomes of an event on which the condition fails.
    #[serde(default)]
    pub on_error: OnError,
}
