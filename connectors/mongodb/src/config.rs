//! What a source of type `mongodb` is told.

use std::time::Duration;

use headgate_sdk::{
    BuildError, Problem, SourceInfo, Str, Timestamp,
    config::{HumanDuration, Secret},
    envelope::time,
};
use mongodb::{
    bson::{Bson, Document},
    options::ConnectionString,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{json::JsonFormat, scope::Scope};

/// Change events of a MongoDB replica set or sharded cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the deployment is, as the official drivers write it: `mongodb://user:password@a,b,c/?replicaSet=rs0` or
    /// `mongodb+srv://…`, with TLS, SCRAM and X.509 options.
    pub url: Secret,
    /// The database. Without one, the whole deployment is watched.
    #[serde(default)]
    pub database: Option<String>,
    /// Which collections; `*` stands for any characters. Empty: all. Without `database`, each is `database.collection`.
    #[serde(default)]
    pub collections: Vec<String>,
    /// Where `after` of an update comes from.
    #[serde(default)]
    pub full_document: FullDocument,
    /// Whether events carry the document as it was before (`before`).
    #[serde(default)]
    pub full_document_before_change: BeforeChange,
    /// Whether changes of indexes, options and shards become events too (server 6.0 and later).
    #[serde(default)]
    pub show_expanded_events: bool,
    /// Stages that the server runs on each event, as Extended JSON: `$match`, `$project`, `$addFields`, `$set`, `$unset`,
    /// `$redact`, `$replaceRoot`, `$replaceWith`. They must keep `_id`, `operationType`, `ns`, `documentKey` and `clusterTime`.
    #[serde(default)]
    pub pipeline: Vec<serde_json::Value>,
    /// Which Extended JSON documents are written in.
    #[serde(default)]
    pub json: JsonFormat,
    /// Reading what exists already.
    #[serde(default)]
    pub snapshot: SnapshotConfig,
    /// What happens when the server no longer has the changes since the last stop.
    #[serde(default)]
    pub on_history_lost: OnHistoryLost,
    /// On the first start, changes since this instant are read, if the oplog still has them: `2026-01-02T03:04:05Z`.
    #[serde(default)]
    pub start_at: Option<String>,
    /// How long the server may say nothing at all, not even that there is nothing, before the stream is opened on another connection;
    /// each time without success twice as long, up to sixteen times this.
    #[serde(default = "max_silence")]
    pub max_silence: HumanDuration,
    /// Type of the events of documents; `mongodb.document.changed.v1` without one.
    #[serde(default)]
    pub event_type: Option<String>,
    /// Whether an event without data follows each delete, so that compacted topics forget the key.
    #[serde(default)]
    pub tombstones: bool,
}

/// Where `after` of an update comes from. Inserts and replaces always carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FullDocument {
    /// Nowhere: only `updateDescription`.
    Default,
    /// Looked up when the event is read: it may be newer than the event, or absent.
    #[default]
    UpdateLookup,
    /// The stored post-image, where the collection keeps them.
    WhenAvailable,
    /// The stored post-image; without one the source stops.
    Required,
}

impl FullDocument {
    /// The server's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::UpdateLookup => "updateLookup",
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
        }
    }
}

/// Whether events carry the document as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BeforeChange {
    /// Never.
    #[default]
    Off,
    /// Where the collection keeps pre-images.
    WhenAvailable,
    /// Always; without a pre-image the source stops.
    Required,
}

impl BeforeChange {
    /// The server's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
        }
    }
}

/// Reading what exists already.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// When.
    #[serde(default)]
    pub mode: SnapshotMode,
    /// Documents read at once.
    #[serde(default = "chunk_documents")]
    pub chunk_documents: u32,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::default(),
            chunk_documents: chunk_documents(),
        }
    }
}

fn max_silence() -> HumanDuration {
    HumanDuration::from_secs(60)
}

/// A server that has nothing to say says so every second.
const LEAST_SILENCE: Duration = Duration::from_secs(2);

fn chunk_documents() -> u32 {
    5_000
}

/// When collections are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// On the first start, and for collections that the configuration adds later.
    #[default]
    Initial,
    /// Only when an operator asks for it.
    OnDemand,
}

/// What happens when changes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnHistoryLost {
    /// Stop and say so: somebody decides.
    #[default]
    Stop,
    /// Say so in an event and read all collections again, at most twice an hour.
    Snapshot,
}

const STAGES: [&str; 8] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$redact",
    "$replaceRoot",
    "$replaceWith",
];

/// A configuration that was checked, and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) url: Secret,
    pub(crate) scope: Scope,
    pub(crate) full_document: FullDocument,
    pub(crate) before: BeforeChange,
    pub(crate) expanded: bool,
    pub(crate) pipeline: Vec<Document>,
    pub(crate) json: JsonFormat,
    pub(crate) snapshot: SnapshotConfig,
    pub(crate) on_history_lost: OnHistoryLost,
    pub(crate) start_at: Option<Timestamp>,
    pub(crate) max_silence: Duration,
    pub(crate) event_type: Str,
    pub(crate) tombstones: bool,
    pub(crate) application: String,
}

impl Checked {
    /// Checks everything that can be checked without asking the server.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(config: Config, info: &SourceInfo) -> Result<Self, BuildError> {
        let mut problems = Vec::new();
        let mut problem =
            |pointer: &str, message: String| problems.push(Problem::new(pointer, message));
        if let Err(message) = check_url(config.url.expose()) {
            problem("/url", message);
        }
        let scope = Scope::new(config.database.as_deref(), &config.collections)
            .map_err(|(pointer, message)| problem(&pointer, message))
            .ok();
        let mut pipeline = Vec::new();
        for (i, stage) in config.pipeline.into_iter().enumerate() {
            match read_stage(stage) {
                Ok(stage) => pipeline.push(stage),
                Err(message) => problem(&format!("/pipeline/{i}"), message),
            }
        }
        if config.snapshot.chunk_documents == 0 {
            problem("/snapshot/chunk_documents", "at least 1".into());
        }
        if config.max_silence.get() < LEAST_SILENCE {
            problem(
                "/max_silence",
                "at least `2s`: a server that has nothing to say says so every second".into(),
            );
        }
        let event_type = config.event_type.as_deref();
        if event_type.is_some_and(str::is_empty) {
            problem(
                "/event_type",
                "an empty type; leave the key out, or write one such as `order.changed.v1`".into(),
            );
        }
        let start_at = config.start_at.as_deref().map(time::parse);
        let start_at = match start_at.transpose() {
            Ok(start_at) => start_at,
            Err(_) => {
                problem(
                    "/start_at",
                    "no instant: write one such as `2026-01-02T03:04:05Z`".into(),
                );
                None
            }
        };
        match scope {
            Some(scope) if problems.is_empty() => Ok(Self {
                url: config.url,
                scope,
                full_document: config.full_document,
                before: config.full_document_before_change,
                expanded: config.show_expanded_events,
                pipeline,
                json: config.json,
                snapshot: config.snapshot,
                on_history_lost: config.on_history_lost,
                start_at,
                max_silence: config.max_silence.get(),
                event_type: event_type.unwrap_or("mongodb.document.changed.v1").into(),
                tombstones: config.tombstones,
                application: format!("headgate/{}", info.name),
            }),
            _ => Err(BuildError { problems }),
        }
    }
}

/// The driver's own reading of the connection string, without asking DNS or servers. Its message is passed on only if it repeats
/// nothing that may be secret.
fn check_url(url: &str) -> Result<(), String> {
    let Some((_, rest)) = url.split_once("://") else {
        return Err("no connection string: it starts with `mongodb://` or `mongodb+srv://`".into());
    };
    match ConnectionString::parse(url) {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = error.kind.to_string();
            let credentials = rest
                .rsplit_once('@')
                .map_or("", |(credentials, _)| credentials);
            let leaks = credentials
                .split(':')
                .any(|part| !part.is_empty() && reason.contains(part));
            Err(if leaks {
                "the driver cannot read this connection string: percent-encode user and password, and check its options".into()
            } else {
                format!("the driver cannot read this connection string: {reason}")
            })
        }
    }
}

fn read_stage(stage: serde_json::Value) -> Result<Document, String> {
    let expected = || {
        format!(
            "a stage is an object with one key, one of {}",
            STAGES.join(", ")
        )
    };
    // Extended JSON is read by the library.
    let stage: Bson = serde_json::from_value(stage)
        .map_err(|error| format!("this is no Extended JSON: {error}"))?;
    let Bson::Document(stage) = stage else {
        return Err(expected());
    };
    match stage.keys().next() {
        Some(name) if stage.len() == 1 && STAGES.contains(&name.as_str()) => Ok(stage),
        Some(name) if stage.len() == 1 => Err(format!(
            "`{name}` may not follow a change stream; {}",
            expected()
        )),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info() -> SourceInfo {
        SourceInfo {
            name: "shop".into(),
            tenant: "default".into(),
            urn: "urn:headgate:default:mongodb:shop".into(),
            group: "headgate".into(),
            instance: "0".into(),
            public_url: None,
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_key() {
        let config = serde_json::from_value(json!({
            "url": "mongodb://me:s3cret@host/?authMechanism=none-such",
            "database": "a.b",
            "pipeline": [{ "$match": { "operationType": "insert" } }, { "$out": "x" }, 7],
            "snapshot": { "chunk_documents": 0 },
            "event_type": "",
            "max_silence": "500ms",
            "start_at": "yesterday",
        }))
        .unwrap();
        let error = Checked::new(config, &info()).unwrap_err();
        insta::assert_snapshot!(
            error
                .problems
                .iter()
                .map(|p| format!("{}: {}", p.pointer, p.message))
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    #[test]
    fn passwords_stay_out_of_errors() {
        for url in [
            "mongodb://me:p@ss/w:rd@host",
            "mongodb://u:hunter2@host:hunter2",
            "hunter2",
        ] {
            let message = check_url(url).unwrap_err();
            assert!(
                !message.contains("hunter2") && !message.contains("ss/w"),
                "{message}"
            );
        }
    }

    #[test]
    fn dates_in_stages_are_extended_json() {
        let stage = json!({ "$match": { "fullDocument.at": { "$gt": { "$date": "2026-01-01T00:00:00Z" } } } });
        let stage = read_stage(stage).unwrap();
        let gt = stage
            .get_document("$match")
            .unwrap()
            .get_document("fullDocument.at")
            .unwrap();
        assert!(gt.get_datetime("$gt").is_ok());
    }
}
