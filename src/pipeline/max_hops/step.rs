//! Compares each event's `hop` with the cap.

use headgate_sdk::{Envelope, Str};

use super::Config;
use crate::pipeline::step::{EventStep, Head, OnError, Passage, Verdict};

/// A `max_hops` of a pipeline.
#[derive(Debug)]
pub struct MaxHopsStep {
    head: Head,
    hops: i32,
}

impl MaxHopsStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, OnError::DeadLetter),
            hops: config.hops,
        }
    }
}

impl EventStep for MaxHopsStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        match event.hop {
            Some(hop) if hop > self.hops => Verdict::fail(
                "loop",
                format!(
                    "the chain passed {hop} gateways or agents, more than `hops: {}`: something reacts to its own events",
                    self.hops
                ),
            ),
            _ => Verdict::Pass,
        }
    }
}
