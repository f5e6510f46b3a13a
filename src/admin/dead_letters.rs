//! Dead letters as the API shows them, with or without a gateway running.

use headgate_sdk::envelope::json;

use super::api::{DeadLetter, DeadLetterQuery, DeadLettersDone};
use super::gateway::{GatewayError, instant};
use crate::dead_letters::{DeadLetterStore, Filter, Kept, Resolution};

/// The most that one request works on.
const MOST: usize = 1_000;

/// The letters that `query` means.
pub(super) async fn find(
    store: &DeadLetterStore,
    query: &DeadLetterQuery,
) -> Result<Vec<Kept>, GatewayError> {
    let limit = query.limit.min(MOST);
    let filter = Filter {
        source: query.source.clone(),
        event_type: query.kind.clone(),
        id: query.id.clone(),
        reason: query.reason.clone(),
        step: query.step.clone(),
        since: query.since.as_deref().map(instant).transpose()?,
        until: query.until.as_deref().map(instant).transpose()?,
    };
    let found = match query.position {
        Some(position) => {
            let kept = store.get(position).await.map_err(failed)?;
            let missing = || {
                GatewayError::NotFound(format!(
                    "there is no dead letter at position {position}; `headgate dead-letters list` shows them"
                ))
            };
            vec![kept.ok_or_else(missing)?]
        }
        None => store
            .list(&filter, query.after, limit)
            .await
            .map_err(failed)?,
    };
    Ok(found
        .into_iter()
        .filter(|kept| filter.takes(&kept.letter))
        .collect())
}

/// The same, for people and programs.
pub(super) async fn list(
    store: &DeadLetterStore,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>, GatewayError> {
    let found = find(store, query).await?;
    Ok(found.iter().map(|kept| shown(kept, query.events)).collect())
}

/// Discards what `query` means.
pub(super) async fn discard(
    store: &DeadLetterStore,
    query: &DeadLetterQuery,
) -> Result<DeadLettersDone, GatewayError> {
    let found = find(store, query).await?;
    let done = store
        .resolve(&found, Resolution::Discarded)
        .await
        .map_err(failed)?;
    Ok(DeadLettersDone {
        done,
        next: next(query, &found),
        ..DeadLettersDone::default()
    })
}

/// Where to go on, if there may be more.
pub(super) fn next(query: &DeadLetterQuery, found: &[Kept]) -> Option<u64> {
    found
        .last()
        .filter(|_| query.position.is_none())
        .map(|kept| kept.position)
}

pub(super) fn failed(error: impl std::fmt::Display) -> GatewayError {
    GatewayError::Failed(error.to_string())
}

pub(super) fn shown(kept: &Kept, with_event: bool) -> DeadLetter {
    let letter = &kept.letter;
    let event = with_event.then(|| {
        let mut text = Vec::new();
        json::write(&letter.envelope, &mut text);
        serde_json::from_slice(&text).unwrap_or_default()
    });
    DeadLetter {
        position: kept.position,
        id: letter.envelope.id.to_string(),
        source: letter.envelope.source.to_string(),
        kind: letter.envelope.event_type.to_string(),
        step: letter.step.to_string(),
        reason: letter.reason.to_string(),
        message: letter.message.to_string(),
        place: letter.place.as_ref().map(ToString::to_string),
        attempts: letter.attempts,
        failed: letter.failed_at.to_string(),
        data_file: kept.apart.as_ref().map(|path| path.display().to_string()),
        event,
    }
}
