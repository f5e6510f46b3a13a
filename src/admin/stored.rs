//! Checkpoints as the API shows them.

use headgate_sdk::{LaneId, Position, Str};

use super::api::{Checkpoint, Entries, EntriesQuery, Entry, NewPosition};
use super::gateway::GatewayError;
use crate::runtime::{CheckpointError, Checkpoints};

/// The checkpoints of a source's lanes, or of all.
pub(super) async fn list(
    store: &Checkpoints,
    source: Option<&str>,
) -> Result<Vec<Checkpoint>, GatewayError> {
    let store = store.clone();
    let lanes = blocking(move || store.lanes()).await?;
    let wanted = lanes
        .into_iter()
        .filter(|stored| source.is_none_or(|source| stored.lane.source() == source));
    let position = |position: Position| serde_json::from_str(position.as_json()).ok();
    Ok(wanted
        .map(|stored| Checkpoint {
            lane: stored.lane.to_string(),
            position: stored.position.and_then(position).unwrap_or_default(),
        })
        .collect())
}

/// Entries of a lane's checkpoint.
pub(super) async fn entries(
    store: &Checkpoints,
    query: &EntriesQuery,
) -> Result<Entries, GatewayError> {
    let (store, query) = (store.clone(), query.clone());
    let lane = LaneId::from_stored(query.lane.as_str());
    store.settled().await;
    let stored =
        blocking(move || store.entries(&lane, &query.prefix, query.after.as_deref(), query.limit))
            .await?;
    let entry = |(key, value): (Str, bytes::Bytes)| Entry {
        key: key.to_string(),
        value: value.to_vec(),
    };
    Ok(Entries {
        entries: stored.into_iter().map(entry).collect(),
    })
}

/// Moves a lane that nobody uses. A sink that keeps the lane's checkpoint itself takes it over when it starts.
pub(super) async fn set(store: &Checkpoints, new: &NewPosition) -> Result<(), GatewayError> {
    let lane = LaneId::from_stored(new.lane.as_str());
    let known = {
        let (store, lane) = (store.clone(), lane.clone());
        blocking(move || store.restored(&lane)).await?
    };
    if known.is_none() {
        let message = format!("there is no lane `{lane}`; `headgate checkpoints show` lists them");
        return Err(GatewayError::NotFound(message));
    }
    let position = Position::from_json(&new.position.to_string())
        .map_err(|error| GatewayError::Invalid(error.to_string()))?;
    // After whatever waits.
    store.flush().await;
    let store = store.clone();
    blocking(move || store.move_lane(&lane, &position)).await
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, GatewayError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(|error| GatewayError::Failed(error.to_string())),
        Err(error) => Err(GatewayError::Failed(format!(
            "the checkpoints cannot be read: {error}"
        ))),
    }
}
