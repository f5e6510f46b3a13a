//! Which letters somebody means.

use headgate_sdk::{DeadLetter, Timestamp, pattern::matches};

/// All conditions that are given must hold. The default takes every letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The source: its name in the configuration, or the whole `source` attribute.
    pub source: Option<String>,
    /// The event type; `*` stands for any characters.
    pub event_type: Option<String>,
    /// The event's id.
    pub id: Option<String>,
    /// The stable word for what went wrong.
    pub reason: Option<String>,
    /// The step that failed.
    pub step: Option<String>,
    /// Failed at this instant or later.
    pub since: Option<Timestamp>,
    /// Failed before this instant.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether a letter is meant.
    #[must_use]
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let envelope = &letter.envelope;
        self.source
            .as_deref()
            .is_none_or(|source| envelope.source == source || source_name(letter) == source)
            && self
                .event_type
                .as_deref()
                .is_none_or(|pattern| matches(pattern, &envelope.event_type))
            && self.id.as_deref().is_none_or(|id| envelope.id == id)
            && self
                .reason
                .as_deref()
                .is_none_or(|reason| letter.reason == reason)
            && self.step.as_deref().is_none_or(|step| letter.step == step)
            && self.since.is_none_or(|since| letter.failed_at >= since)
            && self.until.is_none_or(|until| letter.failed_at < until)
    }
}

/// The name in the configuration of a letter's source: the fifth part of `urn:headgate:{tenant}:{connector}:{name}`.
pub(crate) fn source_name(letter: &DeadLetter) -> &str {
    letter.envelope.source.split(':').nth(4).unwrap_or_default()
}
