//! The keys of `max_hops`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::step::Types;

/// Moves events whose chain passed too many gateways or agents to the dead letters, reason `loop`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// The highest `hop` that passes.
    #[schemars(range(min = 1))]
    pub hops: i32,
}
