//! The keys of `rate_limit`.

use std::{fmt, str::FromStr};

use headgate_sdk::config::Rate;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pipeline::step::Types;

/// Lets so many events through in a time.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass without being counted. With `wait` and `dead_letter` alone: at the door,
    /// nobody knows the type.
    #[serde(default)]
    pub types: Types,
    /// What is counted apart: `source` (default), `tenant`, `client` (its address) or `header:NAME`; `client` and `header:NAME` are
    /// known only at the door, so they limit pushed events alone.
    #[serde(default)]
    pub per: Per,
    /// The limit, which is also the burst: `100/minute`.
    pub limit: Rate,
    /// What happens over the limit.
    #[serde(default)]
    pub on_limit: OnLimit,
}

impl Config {
    /// What cannot hold together, by the key to blame and with what to write instead.
    #[must_use]
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        let rejects = self.on_limit == OnLimit::Reject;
        if rejects && !self.types.are_all() {
            return Some((
                "types",
                "the type of an event is known only when its body was read, so that nothing can be rejected at the door by it; write `on_limit: wait` or `on_limit: dead_letter`, or limit all types".to_owned(),
            ));
        }
        if !rejects && self.per.only_at_the_door() {
            return Some((
                "on_limit",
                format!(
                    "`per: {}` is known only when a request arrives, so that nothing can wait by it later; write `on_limit: reject`, or count `per: source` or `per: tenant`",
                    self.per
                ),
            ));
        }
        None
    }
}

/// What happens over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Pushed events are answered 429 at the door; pulled ones wait.
    #[default]
    Reject,
    /// Events wait in the stack.
    Wait,
    /// Events become dead letters with the reason `rate_limited`.
    DeadLetter,
}

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum Per {
    /// Each source.
    #[default]
    Source,
    /// Each tenant.
    Tenant,
    /// Each client address.
    Client,
    /// Each value of a request header.
    Header(String),
}

impl Per {
    /// Whether it is known only before the body is read.
    fn only_at_the_door(&self) -> bool {
        matches!(self, Self::Client | Self::Header(_))
    }
}

impl FromStr for Per {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "source" => Ok(Self::Source),
            "tenant" => Ok(Self::Tenant),
            "client" => Ok(Self::Client),
            _ => match text.strip_prefix("header:") {
                Some(name) if !name.is_empty() => Ok(Self::Header(name.to_ascii_lowercase())),
                _ => Err(format!(
                    "`{text}` is not known here: write `source`, `tenant`, `client` or `header:NAME`"
                )),
            },
        }
    }
}

impl TryFrom<String> for Per {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Tenant => f.write_str("tenant"),
            Self::Client => f.write_str("client"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}
