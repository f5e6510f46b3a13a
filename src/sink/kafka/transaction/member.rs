//! Who this gateway is among those of its group, and what belongs to it.

use std::{sync::Arc, time::Duration};

use headgate_sdk::{LaneId, Str, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    pipeline::dead_letter::DeadLetterWriter,
    runtime::{Checkpoints, Identity},
};

/// A gateway's place in its group, and what it shares with its sink.
#[derive(Clone)]
pub struct Member {
    /// The group: prefixes transactional ids and the topic of checkpoints.
    pub group: Str,
    /// What the first start fixed: the instance and the number of shards.
    pub identity: Identity,
    /// The index of checkpoints.
    pub checkpoints: Checkpoints,
    /// Where dead letters are made durable before the transaction that goes on without them.
    pub dead_letters: Arc<dyn DeadLetterWriter>,
    /// Bytes that a lane may have under way.
    pub lane_in_flight: usize,
}

impl Member {
    /// The compacted topic of checkpoints and claims.
    pub(super) fn checkpoints_topic(&self) -> String {
        format!("{}.checkpoints", self.group)
    }

    /// Where a lane of `shard` belongs.
    pub(super) fn seat(&self, lane: &LaneId, shard: u32) -> Seat {
        let owner = if lane.is_of(&self.identity.instance) {
            Owner::Instance(self.identity.instance.clone())
        } else {
            Owner::Group
        };
        Seat { owner, shard }
    }

    /// Whether the lane of the index belongs to `seat`.
    pub(super) fn sits(&self, lane: &LaneId, seat: &Seat) -> bool {
        self.identity.shard_of(lane.as_str()) == seat.shard && self.seat(lane, seat.shard) == *seat
    }
}

/// Whose lanes they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Whoever of the group has the shard: their sources can be read again from anywhere.
    Group,
    /// One instance: its journal is the only place where their events are.
    Instance(Str),
}

impl Owner {
    /// In keys of the topic: empty for the group.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Group => "",
            Self::Instance(instance) => instance,
        }
    }
}

/// What one transactional producer is for: the lanes of one owner on one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Seat {
    pub(super) owner: Owner,
    pub(super) shard: u32,
}

impl Seat {
    /// The transactional id.
    pub(super) fn transactional_id(&self, group: &str) -> Str {
        match &self.owner {
            Owner::Group => format!("{group}-{}", self.shard).into(),
            Owner::Instance(instance) => format!("{group}-{instance}-{}", self.shard).into(),
        }
    }
}

/// Says which process holds a seat. The last one in the topic counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) instance: Str,
    pub(super) started: Str,
    pub(super) host: Str,
    /// Tells two processes apart that share everything else.
    pub(super) run: Str,
}

impl Claim {
    /// That of a sink that is opened now.
    pub(super) fn new(instance: &Str) -> Self {
        Self {
            instance: instance.clone(),
            started: Timestamp::now().to_string().into(),
            host: host(),
            run: format!("{:016x}", fastrand::u64(..)).into(),
        }
    }
}

/// The name of this machine, for people; `unknown` where nothing tells it.
fn host() -> Str {
    let told = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok())
        .or_else(|| std::env::var("HOSTNAME").ok());
    told.map_or(Str::new_static("unknown"), |name| name.trim().into())
}

/// How long whoever was fenced waits for the other's claim.
pub(super) const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
