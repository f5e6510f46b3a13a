//! The keys of `route`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Template;

/// Decides where events go. Templates hold `{attribute}`, `{/json/pointer}` into the data, and `{lane}`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The topic. An event whose topic cannot be rendered, or is no legal topic name, becomes a dead letter.
    #[serde(default = "default_topic")]
    pub topic: Template,
    /// The key; an event that lacks what it names is written without a key.
    #[serde(default = "default_key")]
    pub key: Template,
    /// Headers besides the envelope's own; one that cannot be rendered is left out.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// The sinks that get the events, by name; all sinks if absent.
    #[serde(default)]
    pub sinks: Option<Vec<String>>,
}

fn default_topic() -> Template {
    Template::parse("{tenantid}.{type}").expect("the default topic is a template")
}

fn default_key() -> Template {
    Template::parse("{partitionkey}").expect("the default key is a template")
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            topic: default_topic(),
            key: default_key(),
            headers: BTreeMap::new(),
            sinks: None,
        }
    }
}
