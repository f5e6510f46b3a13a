//! A slot that is gone comes back with a new snapshot, if the configuration wants that.
//!
//! Three steps, each of which a crash may follow: the intent is stored, the slot is made, its position is stored with the tables
//! to read. Where the intent stands, the slot may be old, missing or new, and is made again: nothing was read from it yet.

use headgate_sdk::{Entry, Lane, LaneError, SourceError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    End,
    open::{Slot, create_slot, fatal, first_position, send},
};
use crate::{
    config::{Checked, OnLostSlot},
    control::{Client, ServerFacts},
    event::Identity,
    position::StreamPosition,
    replication::Connection,
    sql::literal,
};

/// Slots that may be created again within an hour.
const MAX_WITHIN_AN_HOUR: usize = 3;
/// When it was done lately: seconds since 1970.
const TIMES: &str = "recreated";
/// What was begun and is not done.
const BEGUN: &str = "recreating";

/// A slot that is being created again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Part of the snapshot's name.
    at: i64,
    pub(super) why: String,
}

/// Where it happens.
pub(super) struct Place<'a> {
    pub(super) checked: &'a Checked,
    pub(super) lane: &'a Lane,
    pub(super) facts: &'a ServerFacts,
    pub(super) identity: &'a Identity,
}

/// What an earlier run began and did not end.
pub(super) async fn begun(lane: &Lane) -> Result<Option<Begun>, LaneError> {
    let stored = lane.entry(BEGUN).await?;
    Ok(stored.and_then(|value| serde_json::from_slice(&value).ok()))
}

/// Creates the slot again and has all tables read. Returns where to stream from.
pub(super) async fn recreate(
    place: &Place<'_>,
    client: &mut Client,
    connection: &mut Connection,
    slot: &Slot,
    position: &StreamPosition,
    why: &str,
    begun: Option<Begun>,
) -> Result<StreamPosition, End> {
    let checked = place.checked;
    let begun = match begun {
        Some(begun) => begun,
        None => begin(place, position, why).await?,
    };
    tracing::warn!(
        slot = checked.slot,
        "{why}; it is created again and all tables are read"
    );
    if !matches!(slot, Slot::Missing) {
        let sql = format!(
            "SELECT pg_drop_replication_slot({})",
            literal(&checked.slot)
        );
        client.run(&sql).await?;
    }
    let consistent = create_slot(connection, checked, place.facts).await?;
    let name = format!("recreated-{}", begun.at);
    let (position, mut entries) = first_position(
        client,
        checked,
        place.facts,
        place.identity,
        consistent,
        &name,
    )
    .await?;
    entries.push(Entry::remove(BEGUN));
    store(place.lane, &position, entries).await?;
    Ok(position)
}

/// Stores that it is going to happen, if it may.
async fn begin(place: &Place<'_>, position: &StreamPosition, why: &str) -> Result<Begun, End> {
    if place.checked.config.on_lost_slot == OnLostSlot::Stop {
        return Err(fatal(format!(
            "{why}, and changes after {} are lost with it: set `on_lost_slot: snapshot` to create it again and read all tables, or run \
             `headgate postgres drop` and forget the position with `headgate checkpoints set`",
            position.confirm
        )));
    }
    let now = Timestamp::now().as_second();
    let stored = place.lane.entry(TIMES).await?;
    let mut recent: Vec<i64> = stored
        .and_then(|value| serde_json::from_slice(&value).ok())
        .unwrap_or_default();
    recent.retain(|at| now - at < 3600);
    if recent.len() >= MAX_WITHIN_AN_HOUR {
        return Err(fatal(format!(
            "{why}, for the {}th time within an hour: raise max_slot_wal_keep_size, or find out who drops the slot",
            recent.len() + 1
        )));
    }
    recent.push(now);
    let begun = Begun {
        at: now,
        why: why.to_owned(),
    };
    let entries = vec![
        Entry::put(TIMES, serde_json::to_vec(&recent).unwrap_or_default()),
        Entry::put(BEGUN, serde_json::to_vec(&begun).unwrap_or_default()),
    ];
    store(place.lane, position, entries).await?;
    Ok(begun)
}

/// Sends it and waits until it is in the checkpoint.
async fn store(lane: &Lane, position: &StreamPosition, entries: Vec<Entry>) -> Result<(), End> {
    let stored = send(lane, position, entries).await?.durable().await;
    stored.map_err(|error| End::Source(SourceError::retriable(error.to_string())))?;
    Ok(())
}
