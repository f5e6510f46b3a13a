//! A step's name, types and way with errors.

use headgate_sdk::{DeadLetter, Envelope, Str};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Types;
use crate::pipeline::PipelineBatch;

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

    /// Asks `judge` about each event of the step's types, in order, and does as it says. `judge` leaves an event on which it
    /// fails as it was.
    pub fn run(&self, batch: &mut PipelineBatch, mut judge: impl FnMut(&mut Envelope) -> Verdict) {
        // Nearly always every event passes in place: only others make the batch move.
        let mut others = Vec::new();
        for (index, event) in batch.events.iter_mut().enumerate() {
            if !self.types.includes(&event.event_type) {
                continue;
            }
            match judge(event) {
                Verdict::Pass => {}
                Verdict::Fail { reason, message } => {
                    self.count_error(&reason, event);
                    match self.on_error {
                        OnError::Pass => {}
                        OnError::Drop => others.push((index, Verdict::Drop)),
                        OnError::DeadLetter => {
                            others.push((index, Verdict::Fail { reason, message }))
                        }
                    }
                }
                other => others.push((index, other)),
            }
        }
        if !others.is_empty() {
            self.rebuild(batch, others);
        }
    }

    fn rebuild(&self, batch: &mut PipelineBatch, others: Vec<(usize, Verdict)>) {
        let mut dropped = 0;
        let mut others = others.into_iter().peekable();
        let events = std::mem::take(&mut batch.events);
        batch.events.reserve(events.len());
        for (index, event) in events.into_iter().enumerate() {
            match others.next_if(|(other, _)| *other == index) {
                None | Some((_, Verdict::Pass)) => batch.events.push(event),
                Some((_, Verdict::Drop)) => dropped += 1,
                Some((_, Verdict::Replace(children))) if children.is_empty() => dropped += 1,
                Some((_, Verdict::Replace(children))) => batch.events.extend(children),
                Some((_, Verdict::Fail { reason, message })) => {
                    let mut event = event;
                    event.data.forget_parsed();
                    batch
                        .rejected
                        .push(DeadLetter::new(event, self.name.clone(), reason, message));
                }
            }
        }
        self.dropped.increment(dropped);
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
