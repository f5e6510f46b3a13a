//! The `retry` limits of a sink: the pauses, and when the breaker opens.

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a sink is tried again, and how long before its circuit breaker opens. Events are never given up: behind an open breaker
/// they wait on their lanes, and go again when a probe succeeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Failures in a row that open the breaker.
    pub attempts: u32,
    /// Time without a success after a failure that opens the breaker.
    pub total: HumanDuration,
    /// The pause before the first retry; it doubles each time.
    pub initial: HumanDuration,
    /// The longest pause.
    pub max: HumanDuration,
    /// How much of a pause is left to chance, so that lanes and instances do not come back all at once.
    pub jitter: Jitter,
    /// How many batches may be sent again, as a share of those that are sent for the first time (`0.2`: one in five, and ten
    /// besides). A sink that needs more has its breaker opened: then a single batch goes once a second.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget: f64,
}

/// What is taken of a pause between two tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// A random part, from nothing to all of it.
    #[default]
    Full,
    /// All of it, always.
    None,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts: 3,
            total: HumanDuration::from_secs(30),
            initial: HumanDuration::new(std::time::Duration::from_millis(100)),
            max: HumanDuration::from_secs(10),
            jitter: Jitter::Full,
            budget: 0.2,
        }
    }
}
