//! Compares each event with the clock.

use headgate_sdk::{Envelope, ExtensionValue, Str, Timestamp};

use super::{Config, OnStale};
use crate::pipeline::step::{EventStep, Head, OnError, Passage, Verdict};

/// The attribute of a stale event that goes on; its value is `true`.
pub const FLAG: &str = "stale";

/// A `max_age` of a pipeline.
#[derive(Debug)]
pub struct MaxAgeStep {
    head: Head,
    config: Config,
}

impl MaxAgeStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        let on_error = match config.on_stale {
            OnStale::Drop => OnError::Drop,
            OnStale::Flag | OnStale::DeadLetter => OnError::DeadLetter,
        };
        Self {
            head: Head::new(name, &config.types, on_error),
            config: config.clone(),
        }
    }
}

impl EventStep for MaxAgeStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, passage: &mut Passage<'_>) -> Verdict {
        let age = self.config.age.get();
        let ours = event.time.checked_add(age).unwrap_or(Timestamp::MAX);
        let expiry = event.expirytime.map_or(ours, |theirs| theirs.min(ours));
        let stale = expiry < passage.now;
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
