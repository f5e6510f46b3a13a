//! The keys of `dedup`.

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::{
    script::Key,
    step::{OnError, Types},
};

/// Drops events whose key another event had before, counted. It survives restarts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and state.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// A VRL expression: `.invoice_id`, or `%subject`. An event for which it is null passes, counted.
    pub key: Key,
    /// How long a key is remembered.
    pub window: HumanDuration,
    /// Whether sources share keys; those of other tenants never do.
    #[serde(default)]
    pub across_sources: bool,
    /// The most keys that are remembered, about 150 bytes each; the oldest are forgotten first, counted.
    #[serde(default = "default_max_entries")]
    #[schemars(range(min = 1))]
    pub max_entries: usize,
    /// What becomes of an event on which the key fails.
    #[serde(default)]
    pub on_error: OnError,
}

const fn default_max_entries() -> usize {
    500_000
}
