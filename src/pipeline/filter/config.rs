//! The keys of `filter`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Which attribute must have which values.
pub type Equals = BTreeMap<String, Vec<String>>;

/// Passes on the events that match and drops the others, counted.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// Attributes and the values they may have: `{ type: [invoice.received.v1, invoice.paid.v1] }`. An event must match all of
    /// them; one that lacks an attribute does not match.
    pub equals: Equals,
}
