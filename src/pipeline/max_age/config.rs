//! The keys of `max_age`.

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::step::Types;

/// Sets `expirytime` from the event's `time`, and takes care of events that are stale already.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// How long an event is worth acting on, counted from its `time`. A sender's earlier `expirytime` stays.
    pub age: HumanDuration,
    /// What becomes of an event that is older.
    #[serde(default)]
    pub on_stale: OnStale,
}

/// What becomes of a stale event. It is counted in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// It goes on with the attribute `stale`.
    #[default]
    Flag,
    /// It becomes a dead letter, reason `stale`.
    DeadLetter,
    /// It is dropped.
    Drop,
}
