//! A step's name, types and way with errors.

use headgate_sdk::{Envelope, Str};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Types;

/// What becomes of an event on which a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It becomes a dead letter, with the error and the step's name.
    #[default]
    DeadLetter,
    /// It is dropped, counted.
    Drop,
    /// It goes on as it came, counted.
    Pass,
}

/// What a step makes of one event.
#[derive(Debug)]
pub enum Verdict {
    /// The event goes on, changed in place or not.
    Pass,
    /// The event is dropped, counted.
    Drop,
    /// The step failed on the event, which it left as it was.
    Fail {
        /// One word, for figures and filters.
        reason: Str,
        /// What happened, for people.
        message: String,
    },
    /// The event is replaced by others.
    Replace(Vec<Envelope>),
}

impl Verdict {
    /// A failure.
    #[must_use]
    pub fn fail(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Fail {
            reason: Str::new_static(reason),
            message: message.into(),
        }
    }
}

/// The part of a step that all have in common.
#[derive(Debug)]
pub struct Head {
    name: Str,
    types: Types,
    on_error: OnError,
    dropped: metrics::Counter,
}

impl Head {
    /// The head of the step `name`.
    #[must_use]
    pub fn new(name: impl Into<Str>, types: &Types, on_error: OnError) -> Self {
        let name = name.into();
        let dropped = metrics::counter!("headgate_pipeline_filtered_events_total", "step" => name.to_string());
        Self {
            name,
            types: types.clone(),
            on_error,
            dropped,
        }
    }

    /// The step's name.
    #[must_use]
    pub fn name(&self) -> &Str {
        &self.name
    }

    /// Whether the step is for events of this type.
    #[must_use]
    pub fn is_for(&self, event: &Envelope) -> bool {
        self.types.includes(&event.event_type)
    }

    /// What `verdict` means with the step's way with errors, which are counted here.
    #[must_use]
    pub fn settle(&self, verdict: Verdict, event: &Envelope) -> Verdict {
        let Verdict::Fail { reason, .. } = &verdict else {
            return verdict;
        };
        self.count_error(reason, event);
        match self.on_error {
            OnError::Pass => Verdict::Pass,
            OnError::Drop => Verdict::Drop,
            OnError::DeadLetter => verdict,
        }
    }

    /// An event was dropped.
    pub fn count_dropped(&self) {
        self.dropped.increment(1);
    }

    fn count_error(&self, reason: &Str, event: &Envelope) {
        metrics::counter!(
            "headgate_pipeline_step_errors_total",
            "step" => self.name.to_string(),
            "reason" => reason.to_string(),
            "type" => event.event_type.to_string(),
        )
        .increment(1);
    }
}
