//! Lanes: ordering domains, and the only way from a source into the gateway.
//!
//! A source opens a lane, [reserves](Lane::reserve) room, [sends](Permit::send) a batch and goes on; later the lane's
//! [`Progress`] says what has become durable. Batches of a lane are handled one after the other; their durability overlaps.
//!
//! Invariants: what progress reports is in the stored checkpoint; the room of a batch is given back only when it no longer
//! occupies memory; order is the order of `send`.

mod backend;
mod delivery;
mod handle;
mod progress;

pub use backend::{LaneBackend, LaneOpener, Restored};
pub use delivery::{Delivery, DeliveryError};
pub use handle::{Lane, LaneError, LaneParts, Lanes, Permit};
pub use progress::{Progress, ProgressState};

use crate::Str;

/// What a lane is, as its source asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpec {
    /// Unique within the source and stable across restarts: a slot, a folder, a tenant. May be empty for the only lane.
    pub name: Str,
    /// The tenant of everything on it.
    pub tenant: Str,
    /// Its priority class, decided at admission.
    pub class: Str,
    /// Who can send its events again.
    pub replay: Replay,
}

/// Who can send a lane's events again after a crash. It decides where they are kept until they are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The source reads them again from a position (Postgres, files, Kafka).
    FromSource,
    /// Nobody: they are journaled before they count as accepted (webhooks).
    FromJournal,
    /// Whoever sent them, who gets no answer before they are durable (webhooks with `ack: sink`).
    FromSender,
}

/// The name of a lane within the group: `{source}/{name}`, one that its source cannot read again with its instance:
/// `{source}/{name}@{instance}`;
/// a class other than `default` follows as `#{class}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(Str);

impl LaneId {
    /// The id of `spec` opened by `source` on `instance`.
    #[must_use]
    pub fn new(source: &str, spec: &LaneSpec, instance: &str) -> Self {
        let mut id = format!("{source}/{}", spec.name);
        if spec.replay != Replay::FromSource {
            id.push('@');
            id.push_str(instance);
        }
        if spec.class != "default" {
            id.push('#');
            id.push_str(&spec.class);
        }
        Self(id.into())
    }

    /// An id as it was stored.
    #[must_use]
    pub fn from_stored(id: impl Into<Str>) -> Self {
        Self(id.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a lane of `instance` alone, because no other has its events.
    #[must_use]
    pub fn is_of(&self, instance: &str) -> bool {
        let id = self.0.rsplit_once('#').map_or(self.as_str(), |(id, _)| id);
        let owned = |id: &str| {
            id.strip_suffix(instance)
                .is_some_and(|name| name.ends_with('@'))
        };
        owned(id) || owned(&self.0)
    }

    /// The name of the source that it belongs to.
    #[must_use]
    pub fn source(&self) -> &str {
        self.0
            .split_once('/')
            .map_or(self.0.as_str(), |(source, _)| source)
    }
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
