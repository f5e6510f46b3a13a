//! The settings of exactly once.

use std::time::Duration;

use headgate_sdk::config::{ByteSize, HumanDuration};
use schemars::JsonSchema;
use serde::Deserialize;

/// Whether an event may be in its topic twice after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It may; consumers know it by its `id`. The cheaper one.
    #[default]
    AtLeastOnce,
    /// It may not, for consumers that read with `isolation.level=read_committed`: events and the places where their sources
    /// resume are written in one transaction. Needs a sink that nothing else shares the lanes' progress with: no `buffer`,
    /// `required: true`, and no other required sink.
    ExactlyOnce,
}

/// How transactions are put together.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    /// How long a transaction waits for more events. Longer is cheaper, shorter is sooner.
    #[serde(default = "Transactions::default_interval")]
    pub interval: HumanDuration,
    /// A transaction of so many bytes waits no longer.
    #[serde(default = "Transactions::default_bytes")]
    pub bytes: ByteSize,
    /// What a source committed at once stays together up to so many bytes, or half of `limits.lane_in_flight`, and is written in parts beyond them.
    #[serde(default = "Transactions::default_max_bytes")]
    pub max_bytes: ByteSize,
    /// When the broker gives up a transaction whose gateway has gone (`transaction.timeout.ms`). Must not be above the broker's
    /// `transaction.max.timeout.ms`. What a source committed at once is written in parts when half of it has passed.
    #[serde(default = "Transactions::default_timeout")]
    pub timeout: HumanDuration,
}

impl Transactions {
    fn default_interval() -> HumanDuration {
        HumanDuration::new(Duration::from_millis(50))
    }

    fn default_bytes() -> ByteSize {
        ByteSize::from_mb(16)
    }

    fn default_max_bytes() -> ByteSize {
        ByteSize::from_mb(32)
    }

    fn default_timeout() -> HumanDuration {
        HumanDuration::from_secs(60)
    }

    /// What cannot work: (JSON pointer, what to write instead).
    pub(in crate::sink::kafka) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, text: &str| {
            problems.push((format!("/transactions/{key}"), text.to_owned()));
        };
        if self.timeout.get() < Duration::from_secs(1) {
            problem("timeout", "must be at least `1s`");
        }
        if self.interval.get() > self.timeout.get() / 4 {
            problem("interval", "must not be above a quarter of `timeout`");
        }
        if self.bytes.bytes() > self.max_bytes.bytes() {
            problem("bytes", "must not be above `max_bytes`");
        }
        problems
    }
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            interval: Self::default_interval(),
            bytes: Self::default_bytes(),
            max_bytes: Self::default_max_bytes(),
            timeout: Self::default_timeout(),
        }
    }
}
