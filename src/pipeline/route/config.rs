//! The keys of `route`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Template;
use crate::pipeline::{script::Condition, step::Types};

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
    /// Rules, asked in order. What a rule does not say, the keys above say. Without rules, every event goes by the keys above.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Whether an event goes by the first rule that matches, or by all of them.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// What becomes of an event that no rule matches.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// The share of a topic's records, in percent, at which a single key is a warning in `/readyz`: its partition does all the
    /// work. 100 never warns.
    #[serde(default = "default_hot_key_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub hot_key_percent: u8,
}

/// Where some of the events go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The event types that it is for: `[invoice.*]`; every type if absent.
    #[serde(default)]
    pub types: Types,
    /// A VRL condition that must be true: `.total > 1000`; always true if absent.
    #[serde(default)]
    pub when: Option<Condition>,
    /// The topic.
    #[serde(default)]
    pub topic: Option<Template>,
    /// The key.
    #[serde(default)]
    pub key: Option<Template>,
    /// Headers, besides those of all rules.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// The sinks, by name.
    #[serde(default)]
    pub sinks: Option<Vec<String>>,
}

/// How many rules an event goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// By the first that matches.
    #[default]
    First,
    /// By every one that matches: the event is written as often.
    All,
}

/// What becomes of an event that no rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It becomes a dead letter, reason `unmatched`.
    #[default]
    DeadLetter,
    /// It is dropped, counted.
    Drop,
    /// It goes by the keys outside of the rules.
    Default,
}

impl Config {
    /// What is wrong with the rules as a whole: the place of a rule and why no event ever gets to it.
    #[must_use]
    pub fn unreachable_rules(&self) -> Vec<(usize, String)> {
        if self.matching == Matching::All {
            return Vec::new();
        }
        let earlier = |at: usize, rule: &Rule| {
            self.rules[..at].iter().position(|other| {
                other.types.covers(&rule.types) && (other.when.is_none() || other.when == rule.when)
            })
        };
        let found = self.rules.iter().enumerate();
        found
            .filter_map(|(at, rule)| {
                let other = earlier(at, rule)?;
                Some((
                    at,
                    format!("no event gets to this rule, because rule {} before it takes all that it matches; narrow that one, change their order, or write `match: all`", other + 1),
                ))
            })
            .collect()
    }
}

const fn default_hot_key_percent() -> u8 {
    50
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
            rules: Vec::new(),
            matching: Matching::default(),
            unmatched: Unmatched::default(),
            hot_key_percent: default_hot_key_percent(),
        }
    }
}
