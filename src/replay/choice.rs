//! Which events somebody means.

use headgate_sdk::{Envelope, Str, Timestamp, pattern::matches};

/// All conditions that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The source: its name in the configuration, or the whole `source` attribute.
    pub source: Option<String>,
    /// The event type; `*` stands for any characters.
    pub event_type: Option<String>,
    /// The event's id.
    pub id: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// Accepted (journal) or delivered (log) at this instant or later.
    pub since: Option<Timestamp>,
    /// Accepted or delivered before this instant.
    pub until: Option<Timestamp>,
    /// The replay for which they are read; what it wrote itself is left out.
    pub replayid: Str,
}

impl Choice {
    /// Whether an event of the source of this name is meant, that was accepted or delivered at `at`.
    #[must_use]
    pub fn takes(&self, event: &Envelope, source: &str, at: Timestamp) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        event.replayid.as_ref() != Some(&self.replayid)
            && self
                .source
                .as_deref()
                .is_none_or(|wanted| wanted == source || is_of(event, wanted))
            && self
                .event_type
                .as_deref()
                .is_none_or(|pattern| matches(pattern, &event.event_type))
            && is(&self.id, &event.id)
            && is(&self.tenant, &event.tenantid)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
    }
}

/// Whether an event is of a source: the whole attribute, or the name in it (`urn:headgate:{tenant}:{connector}:{name}`).
fn is_of(event: &Envelope, source: &str) -> bool {
    event.source == source || event.source.split(':').nth(4) == Some(source)
}
