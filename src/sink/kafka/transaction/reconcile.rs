//! Brings the index of checkpoints and the topic to one state.
//!
//! The topic is the truth for every lane that it knows something newer of than the index has seen. For all others the index is
//! (another sink kept their checkpoints in between, or none has yet), and what the topic lacks of it is written there with the
//! claim.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headgate_sdk::{Entry, LaneId, Position, Str};

use super::{
    member::{Member, Owner, Seat},
    record::{entry_key, position_key},
    restore::{LaneState, Restored},
};
use crate::{runtime::CheckpointError, sink::Checkpoint};

/// Entries read at once.
const PAGE: usize = 4096;

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    /// For the index.
    pub(super) index: Vec<(LaneId, Checkpoint)>,
    /// For the topic: keys and values.
    pub(super) topic: Vec<(String, Option<Bytes>)>,
}

/// Compares. `mark` is the offset up to which the index has seen the topic.
pub(super) fn reconcile(
    member: &Member,
    seat: &Seat,
    restored: &Restored,
    mark: Option<i64>,
) -> Result<Plan, CheckpointError> {
    let stored = member.checkpoints.lanes()?;
    let mut lanes: BTreeSet<LaneId> = restored.lanes.keys().cloned().collect();
    lanes.extend(
        stored
            .into_iter()
            .map(|stored| stored.lane)
            .filter(|lane| member.sits(lane, seat)),
    );
    let mut plan = Plan::default();
    for lane in lanes {
        let indexed = read(member, seat, &lane)?;
        match restored.lanes.get(&lane) {
            Some(newer) if Some(newer.offset) > mark || indexed.is_empty() => {
                to_index(&mut plan, lane, &indexed, newer);
            }
            known => to_topic(&mut plan, seat, &lane, indexed, known),
        }
    }
    Ok(plan)
}

/// What the index has of a lane. The entries of journaled lanes come from the journal and are none of our business.
fn read(member: &Member, seat: &Seat, lane: &LaneId) -> Result<LaneState, CheckpointError> {
    let checkpoints = &member.checkpoints;
    let position = checkpoints
        .restored(lane)?
        .and_then(|stored| stored.position);
    let mut entries = BTreeMap::new();
    if seat.owner == Owner::Group {
        let mut after: Option<Str> = None;
        loop {
            let page = checkpoints.entries(lane, "", after.as_deref(), PAGE)?;
            after = page.last().map(|(key, _)| key.clone());
            let is_last = page.len() < PAGE;
            entries.extend(page);
            if is_last {
                break;
            }
        }
    }
    Ok(LaneState {
        position,
        entries,
        offset: -1,
    })
}

fn to_index(plan: &mut Plan, lane: LaneId, indexed: &LaneState, newer: &LaneState) {
    let gone = indexed.entries.keys();
    let gone = gone.filter(|key| !newer.entries.contains_key(*key));
    let mut entries: Vec<Entry> = gone.map(|key| Entry::remove(key.clone())).collect();
    let changed = newer.entries.iter();
    let changed = changed.filter(|(key, value)| indexed.entries.get(*key) != Some(*value));
    entries.extend(changed.map(|(key, value)| Entry::put(key.clone(), value.clone())));
    let position = newer.position.clone();
    plan.index.push((
        lane,
        Checkpoint {
            position,
            entries,
            ..Checkpoint::default()
        },
    ));
}

fn to_topic(
    plan: &mut Plan,
    seat: &Seat,
    lane: &LaneId,
    indexed: LaneState,
    known: Option<&LaneState>,
) {
    let owner = seat.owner.text();
    let known_position: Option<&Position> = known.and_then(|known| known.position.as_ref());
    if let Some(position) = &indexed.position
        && Some(position) != known_position
    {
        let value = Bytes::copy_from_slice(position.as_json().as_bytes());
        plan.topic.push((position_key(owner, lane), Some(value)));
    }
    for key in known.iter().flat_map(|known| known.entries.keys()) {
        if !indexed.entries.contains_key(key) {
            plan.topic.push((entry_key(owner, lane, key), None));
        }
    }
    for (key, value) in indexed.entries {
        if known.and_then(|known| known.entries.get(&key)) != Some(&value) {
            plan.topic.push((entry_key(owner, lane, &key), Some(value)));
        }
    }
}
