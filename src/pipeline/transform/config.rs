//! The keys of `transform`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    script::{Numbers, Transform},
    step::{OnError, Types},
};

/// Changes events by a VRL program.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures, dead letters and the ids of children.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// The program.
    pub vrl: Transform,
    /// What becomes of an event on which it fails or aborts.
    #[serde(default)]
    pub on_error: OnError,
    /// What becomes of a number that VRL cannot hold.
    #[serde(default)]
    pub numbers: Numbers,
    /// The most events that it may make of one.
    #[serde(default = "default_max_events")]
    pub max_events: usize,
}

const fn default_max_events() -> usize {
    1000
}
