//! What the admin API says and takes: the types of its JSON, for both ends.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The group that this instance belongs to.
    pub group: String,
    /// The instance, created once inside `data_dir`.
    pub instance: String,
    /// Whether the configuration is loaded and the journal accepts.
    pub ready: bool,
    /// What keeps it from being ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this process started, RFC 3339; absent when none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// What it cannot be asked again for, and is not yet delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
    /// The sources, in the order of the configuration.
    pub sources: Vec<Component>,
    /// The sinks, in the order of the configuration.
    pub sinks: Vec<Component>,
}

/// How a source or sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// Its name in the configuration.
    pub name: String,
    /// Its `type:` in the configuration.
    #[serde(rename = "type")]
    pub kind: String,
    /// One word: `starting`, `ready`, `waiting`, `paused`, `restarting`, `failed` or `stopped`.
    pub state: String,
    /// Why it is in that state, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What somebody should look at, by a stable key. Warnings never change the state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, String>,
}

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Journal {
    /// What it takes on disk.
    pub bytes: u64,
    /// What it may take on disk.
    pub capacity_bytes: u64,
    /// When the oldest event that is not yet delivered everywhere arrived, RFC 3339; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_undelivered: Option<String>,
    /// Damaged stretches that were found and set aside since the start.
    pub corruptions: u64,
}

/// Where a lane resumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// The lane.
    pub lane: String,
    /// The position, JSON that the connector wrote.
    pub position: serde_json::Value,
}

/// Which checkpoints are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointQuery {
    /// Only those of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A new position for a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPosition {
    /// The lane.
    pub lane: String,
    /// The position, in the form in which its connector writes it.
    pub position: serde_json::Value,
}

/// Which entries of a checkpoint are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    /// The lane.
    pub lane: String,
    /// Only keys that begin with this.
    #[serde(default)]
    pub prefix: String,
    /// Only keys after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many.
    #[serde(default = "EntriesQuery::default_limit")]
    pub limit: usize,
}

impl EntriesQuery {
    fn default_limit() -> usize {
        1_000
    }
}

/// Entries of a checkpoint, ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entries {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// An entry of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// What a snapshot shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The table, for sources that read tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The collection, for sources that read collections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Only what matches this filter, in the source's own language.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// What changed, one sentence each; empty if nothing did.
    pub changes: Vec<String>,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<String>,
}

/// Which part of the embedded log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Only events of this source of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only events that were delivered at this instant or later, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// From the oldest event that is kept, instead of from now on.
    #[serde(default)]
    pub from_start: bool,
    /// From the event after this position on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// From where the reader of this name stopped; it is remembered how far it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether to wait for more at the end.
    #[serde(default)]
    pub follow: bool,
}

/// A problem, RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Everything that is wrong with a configuration, where that is the problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemItem {
    /// The file.
    pub file: String,
    /// Line, from one.
    pub line: usize,
    /// Column, from one.
    pub column: usize,
    /// The key's path.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}
