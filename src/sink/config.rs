//! Sinks in the configuration: the keys that all have, and the kinds there are.

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::log;
use crate::pipeline::breaker;

/// The keys that sinks of every type have.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// What kind this is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether an event counts as delivered only once this sink has it. What a sink that is not required misses becomes a dead
    /// letter, and holds nobody up.
    #[serde(default = "Common::default_required")]
    pub required: bool,
    /// Where events wait while the sink is away.
    #[serde(default)]
    pub buffer: Buffer,
    /// How long the sink may take to make events durable before it counts as failing. Nothing is cancelled: what it has
    /// accepted, it may still write.
    #[serde(default = "Common::default_timeout")]
    pub timeout: HumanDuration,
    /// How often and how long it is tried before its circuit breaker opens.
    #[serde(default)]
    pub retry: breaker::Config,
}

impl Common {
    fn default_required() -> bool {
        true
    }

    fn default_timeout() -> HumanDuration {
        HumanDuration::from_secs(30)
    }
}

impl Default for Common {
    fn default() -> Self {
        Self {
            kind: "log".to_owned(),
            required: Self::default_required(),
            buffer: Buffer::default(),
            timeout: Self::default_timeout(),
            retry: breaker::Config::default(),
        }
    }
}

/// Where events wait while a sink is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Buffer {
    /// Nowhere: its lanes wait, and with them their sources.
    #[default]
    None,
    /// In the embedded log, which the sink then reads at its own pace; its lanes go on.
    Log,
}

/// The kinds of sinks, each with its own keys.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The embedded log in `data_dir`, read with `headgate tail`.
    Log(log::Config),
    /// Standard output, one JSON object a line.
    Stdout(Stdout),
    /// Apache Kafka, or what speaks its protocol.
    Kafka(Box<super::kafka::Config>),
}

impl Kind {
    /// What cannot work, without I/O: (JSON pointer, what to write instead).
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        match self {
            Self::Kafka(config) => config.problems(),
            Self::Log(_) | Self::Stdout(_) => Vec::new(),
        }
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::Log(log::Config::default())
    }
}

/// Standard output.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdout {}
