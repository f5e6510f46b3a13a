//! Replays as the API asks for them.

use headgate_sdk::Str;

use super::api::{ReplayDone, ReplayFrom, ReplayQuery};
use super::gateway::{GatewayError, instant};
use crate::replay::{Choice, ReplayError};
use crate::runtime::{ReplayFailure, ReplayWay};

/// The most that one request works on.
pub(super) const MOST: usize = 10_000;

/// Which events a query means.
pub(super) fn choice(query: &ReplayQuery) -> Result<Choice, GatewayError> {
    let replayid = query.replayid.as_str();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if replayid.is_empty() || replayid.len() > 128 || !replayid.chars().all(fits) {
        return Err(GatewayError::Invalid(
            "a `replayid` is made of 1 to 128 letters, digits, `-`, `.`, `_` and `:`".to_owned(),
        ));
    }
    Ok(Choice {
        source: query.source.clone(),
        event_type: query.kind.clone(),
        id: query.id.clone(),
        tenant: query.tenant.clone(),
        since: query.since.as_deref().map(instant).transpose()?,
        until: query.until.as_deref().map(instant).transpose()?,
        replayid: Str::new(replayid),
    })
}

/// Where a query's events come from and go.
pub(super) fn way(query: &ReplayQuery) -> Result<ReplayWay, GatewayError> {
    match query.from {
        ReplayFrom::Journal => Ok(ReplayWay::Journal),
        ReplayFrom::Log => Ok(ReplayWay::Log {
            from: query.sink.clone(),
            to: query.to.clone(),
            topic: query.topic.as_deref().map(topic).transpose()?,
        }),
        ReplayFrom::Kafka => Ok(ReplayWay::Kafka {
            from: query.sink.clone(),
            topics: topics(query)?,
            to: query.to.clone(),
            topic: query.topic.as_deref().map(topic).transpose()?,
        }),
    }
}

/// The topics that are read.
pub(super) fn topics(query: &ReplayQuery) -> Result<Vec<String>, GatewayError> {
    if query.topics.is_empty() {
        return Err(GatewayError::Invalid(
            "which topics? Name them; `*` stands for any characters".to_owned(),
        ));
    }
    Ok(query.topics.clone())
}

fn topic(name: &str) -> Result<Str, GatewayError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_good =
        (1..=249).contains(&name.len()) && name.chars().all(fits) && !name.starts_with("__");
    let refused = || GatewayError::Invalid(format!("`{name}` cannot be the name of a topic"));
    is_good.then(|| Str::new(name)).ok_or_else(refused)
}

/// A failure as the API tells it.
pub(super) fn failed(error: ReplayFailure) -> GatewayError {
    match error {
        ReplayFailure::Unknown(message) => GatewayError::Refused(message),
        ReplayFailure::Cursor(error) => GatewayError::Invalid(error.to_string()),
        ReplayFailure::Read(ReplayError::Cursor(error)) => GatewayError::Invalid(error.to_string()),
        error => GatewayError::Failed(error.to_string()),
    }
}

/// What a part came to.
pub(super) fn done(replayed: crate::runtime::Replayed) -> ReplayDone {
    ReplayDone {
        taken: replayed.taken,
        refused: replayed.refused,
        next: replayed.next,
    }
}
