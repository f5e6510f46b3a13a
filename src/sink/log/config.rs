//! The log's keys.

use headgate_sdk::config::{ByteSize, HumanDuration};
use schemars::JsonSchema;
use serde::Deserialize;

/// The embedded log.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long events are kept. They go in whole segments, so that some stay a little longer.
    #[serde(default = "Config::default_max_age")]
    pub max_age: HumanDuration,
    /// How much is kept: beyond it the oldest events go, however young. Two segments of 64 MB are always kept.
    #[serde(default = "Config::default_max_bytes")]
    pub max_bytes: ByteSize,
}

impl Config {
    fn default_max_age() -> HumanDuration {
        HumanDuration::from_secs(7 * 24 * 60 * 60)
    }

    fn default_max_bytes() -> ByteSize {
        ByteSize::from_mb(10_000)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_age: Self::default_max_age(),
            max_bytes: Self::default_max_bytes(),
        }
    }
}
