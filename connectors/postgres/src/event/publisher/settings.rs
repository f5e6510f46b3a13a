//! What a publisher is told, and what it says.

use headgate_sdk::Str;

use crate::{config::Fullness, position::Timelines, types::Rendering};

/// What a source's configuration says about its events.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rendering: Rendering,
    pub(crate) events: Fullness,
    pub(crate) event_type: Str,
    pub(crate) tombstones: bool,
    pub(crate) transaction_events: bool,
    /// Prefixes of logical messages that become events.
    pub(crate) messages: Vec<String>,
    /// Whether changes that came from elsewhere are left out.
    pub(crate) local_only: bool,
    /// The source's name in the configuration.
    pub(crate) name: Str,
    pub(crate) urn: Str,
    pub(crate) tenant: Str,
    pub(crate) database: String,
    /// The prefix of our own logical messages.
    pub(crate) mark_prefix: String,
    /// Tells this run's marks from those of earlier ones.
    pub(crate) session: String,
}

/// Which cluster this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) system: String,
    pub(crate) timelines: Timelines,
}

/// A logical message of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Low { window: u64, relation: u32 },
    High { window: u64 },
}

/// The prefix of messages that report DDL.
pub(crate) const DDL_PREFIX: &str = "headgate:ddl";

/// A stream that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("a change of relation {0} came before its description")]
    UnknownRelation(u32),
    #[error("a change came outside a transaction")]
    OutsideTransaction,
}
