//! When the breaker opens: the `retry` limits of a sink.

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a sink is tried before its circuit breaker opens. Events are never given up: behind an open breaker they wait on their
/// lanes, and go again when a probe succeeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Failures in a row that open the breaker.
    pub attempts: u32,
    /// Time without a success after a failure that opens the breaker.
    pub total: HumanDuration,
    /// The pause before the first retry; it doubles each time, and a random part of it is taken (full jitter).
    pub initial: HumanDuration,
    /// The longest pause.
    pub max: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts: 3,
            total: HumanDuration::from_secs(30),
            initial: HumanDuration::new(std::time::Duration::from_millis(100)),
            max: HumanDuration::from_secs(10),
        }
    }
}
