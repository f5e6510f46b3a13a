//! Compares each event with the clock.

use headgate_sdk::{Envelope, ExtensionValue, Str, Timestamp};

use super::{Config, OnStale};
use crate::pipeline::{
    PipelineBatch,
    step::{EventStep, Head, OnError, Verdict},
};

/// The attribute of a stale event that goes on; its value is `true`.
pub const FLAG: &str = "stale";

/// A `max_age` of a pipeline.
#[derive(Debug)]
pub struct MaxAgeStep {
    head: Head,
    config: Config,
    now: fn() -> Timestamp,
}

impl MaxAgeStep {
    /// The step `name`, by the clock of the machine.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self::with_clock(config, name, Timestamp::now)
    }

    /// The step `name`, by another clock.
    #[must_use]
    pub fn with_clock(config: &Config, name: impl Into<Str>, now: fn() -> Timestamp) -> Self {
        let on_error = match config.on_stale {
            OnStale::Drop => OnError::Drop,
            OnStale::Flag | OnStale::DeadLetter => OnError::DeadLetter,
        };
        Self {
            head: Head::new(name, &config.types, on_error),
            config: config.clone(),
            now,
        }
    }

    fn judge(&self, event: &mut Envelope, now: Timestamp) -> Verdict {
        let age = self.config.age.get();
        let ours = event.time.checked_add(age).unwrap_or(Timestamp::MAX);
        let expiry = event.expirytime.map_or(ours, |theirs| theirs.min(ours));
        let stale = expiry < now;
        if !stale || self.config.on_stale == OnStale::Flag {
            event.expirytime = Some(expiry);
        }
        if !stale {
            return Verdict::Pass;
        }
        metrics::counter!(
            "headgate_pipeline_stale_events_total",
            "step" => self.head.name().to_string(),
            "type" => event.event_type.to_string(),
        )
        .increment(1);
        if self.config.on_stale == OnStale::Flag {
            event.extensions.set(FLAG, ExtensionValue::Boolean(true));
            return Verdict::Pass;
        }
        Verdict::fail(
            "stale",
            format!(
                "the event happened at {} and expired at {expiry}",
                event.time
            ),
        )
    }
}

impl EventStep for MaxAgeStep {
    fn apply(&self, batch: &mut PipelineBatch) {
        let now = (self.now)();
        self.head.run(batch, |event| self.judge(event, now));
    }
}
