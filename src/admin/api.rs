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
    /// A sink's circuit breaker: `closed`, `half_open` (a probe is under way) or `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
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

/// Which dead letters are meant. All conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterQuery {
    /// Only this one, by its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Only events of this source: its name in the configuration, or the whole `source` attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only events with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only those with this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only those of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Only those that failed at this instant or later, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only those that failed before this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only those after this position.
    #[serde(default)]
    pub after: u64,
    /// At most so many.
    #[serde(default = "DeadLetterQuery::default_limit")]
    pub limit: usize,
    /// Whether the events are shown too.
    #[serde(default)]
    pub events: bool,
}

impl DeadLetterQuery {
    fn default_limit() -> usize {
        1_000
    }
}

/// An event that could not be delivered and waits for somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// By which it is named.
    pub position: u64,
    /// The event's id.
    pub id: String,
    /// The event's source.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The step that failed.
    pub step: String,
    /// What went wrong, in a stable word.
    pub reason: String,
    /// What went wrong, and what to do.
    pub message: String,
    /// Where in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed, RFC 3339.
    pub failed: String,
    /// The file in `data_dir` that holds its data, if that is too large to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_file: Option<String>,
    /// The event, a structured-mode CloudEvent, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<serde_json::Value>,
}

/// What became of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLettersDone {
    /// How many were retried or discarded.
    pub done: usize,
    /// How many stay, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, usize>,
    /// The last position that was looked at, if there may be more after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Where a replay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayFrom {
    /// What was accepted and is still in the journal; it goes through the present pipelines.
    Journal,
    /// What was delivered to an embedded log; it goes to a sink as it is.
    Log,
    /// What was delivered to Kafka, as far as `topics` hold it when the replay begins; it goes to a sink as it is.
    Kafka,
}

/// Which events are replayed, and to where. All conditions that are given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayQuery {
    /// Where it reads.
    pub from: ReplayFrom,
    /// The sink whose embedded log or cluster is read; the first one of its kind if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The topics that are read, from Kafka; `*` stands for any characters. Headgate's own are never meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The sink that gets the events, from a log or Kafka; the one that is read if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The topic that they get, from a log or Kafka; their own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Only events accepted (journal) or delivered (log, Kafka) at this instant or later, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only events accepted or delivered before this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only events of this source: its name in the configuration, or the whole `source` attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only events of this type; `*` stands for any characters.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only events with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only events of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The events' `replayid`; what carries it already is left out.
    pub replayid: String,
    /// Goes on there: what an earlier part said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most about so many.
    #[serde(default = "DeadLetterQuery::default_limit")]
    pub limit: usize,
    /// Whether they are only counted.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a part of a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayDone {
    /// How many events were taken.
    pub taken: usize,
    /// How many went nowhere, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, usize>,
    /// Where to go on; absent at the end. From a log or the journal a position; from Kafka what is left of each partition, with where it
    /// ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How much is looked through for an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    /// Only what was delivered at this instant or later, RFC 3339. Topics are then looked through from it on also for an event of
    /// which the journal knows where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Where an event is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// The event's id.
    pub id: String,
    /// Its records in the journal, as far as that still holds them.
    pub received: Vec<TraceReceived>,
    /// Its records in embedded logs and in topics.
    pub delivered: Vec<TraceDelivered>,
    /// Its dead letters.
    pub dead_letters: Vec<DeadLetter>,
    /// What was not looked through, and what to do: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// An event in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceReceived {
    /// The event's source.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was received, RFC 3339.
    pub recorded: String,
    /// Its replay, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayid: Option<String>,
    /// Its lane.
    pub lane: String,
    /// Its position in the journal.
    pub position: u64,
    /// Whether its lane is not done with it.
    pub waits: bool,
    /// How its batch went, for each sink, as far as the ledger still knows.
    pub runs: Vec<TraceRun>,
}

/// An event in an embedded log (at a position), or in Kafka (in a partition, at an offset).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceDelivered {
    /// The event's source.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was received, RFC 3339.
    pub recorded: String,
    /// Its replay, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayid: Option<String>,
    /// The sink.
    pub sink: String,
    /// The topic.
    pub topic: String,
    /// Its lane, as far as the ledger still knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Its position in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Its offset in the partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// When it became durable in the log, or was handed over to Kafka, RFC 3339.
    pub delivered: String,
    /// How its batch went, as far as the ledger still knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<TraceRun>,
}

/// How a batch went, or several that went smoothly within the same second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceRun {
    /// The sink.
    pub sink: String,
    /// How many batches.
    pub batches: u64,
    /// How many events.
    pub events: u64,
    /// How often they were sent.
    pub attempts: u32,
    /// How many events the sink refused.
    pub refused: u64,
    /// When the first was sent for the first time, RFC 3339.
    pub begun: String,
    /// When the last was durable, RFC 3339.
    pub durable: String,
    /// Between which positions of the embedded log, or of the buffer before the sink, they lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<TracePositions>,
    /// Between which offsets of which partitions they lie, with what others wrote there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TraceStretch>,
}

/// A stretch of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TracePositions {
    /// The first position.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A stretch of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceStretch {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The lowest offset.
    pub first: i64,
    /// The highest.
    pub last: i64,
}
