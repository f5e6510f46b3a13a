//! The configuration of a Postgres source.

use std::{collections::BTreeMap, path::PathBuf};

use headgate_sdk::{
    BuildError, Problem, SourceInfo,
    config::{ByteSize, HumanDuration, Secret},
    pattern::matches,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{replication::Server, types::Numbers};

/// Change data capture from a Postgres database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the database is, as libpq writes it: `postgres://user:password@host:5432/database?sslmode=verify-full`.
    pub url: Secret,
    /// Which tables: `schema.table`, `*` stands for any characters (`public.*`). Partitions follow their root.
    pub tables: Vec<String>,
    /// What is published of single tables, keyed by `schema.table`.
    #[serde(default)]
    pub table_options: BTreeMap<String, TableOptions>,
    /// PEM file of the certificate authorities that the server's certificate is checked against; without one, those of the
    /// system. It makes `sslmode=require` check the certificate, as in libpq.
    pub ca: Option<PathBuf>,
    /// Name of the replication slot; `{group}_{source}` without one.
    pub slot: Option<String>,
    /// Name of the publication; `{group}_{source}` without one.
    pub publication: Option<String>,
    /// Whether slot and publication are created on the first start when they are missing. Without it, `headgate postgres setup`
    /// does that.
    #[serde(default = "yes")]
    pub setup: bool,
    /// Whether rows that exist already are read before and while changes are streamed.
    #[serde(default)]
    pub snapshot: SnapshotConfig,
    /// What happens when the server has dropped the slot or its log.
    #[serde(default)]
    pub on_lost_slot: OnLostSlot,
    /// Whether events carry whole rows (`fat`) or keys only (`thin`).
    #[serde(default)]
    pub events: Fullness,
    /// The events' `type`; `postgres.row.changed.v1` without one.
    pub event_type: Option<String>,
    /// Whether an event without data follows each delete, so that compacted topics forget the key.
    #[serde(default)]
    pub tombstones: bool,
    /// Whether events mark the begin and end of transactions, with counts by table.
    #[serde(default)]
    pub transaction_events: bool,
    /// A table whose inserts are events of the application's own making.
    pub outbox: Option<Outbox>,
    /// Prefixes of logical messages (`pg_logical_emit_message`) that become events; `*` takes all.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Whether changes that were replicated into this database from elsewhere are captured too.
    #[serde(default)]
    pub origin: Origin,
    /// How `bigint` is written.
    #[serde(default)]
    pub bigint: Numbers,
    /// How `numeric` is written.
    #[serde(default = "as_string")]
    pub numeric: Numbers,
    /// Whether large transactions are received while they run (protocol 2). They are kept in `data_dir` until they commit.
    #[serde(default = "yes")]
    pub streaming: bool,
    /// The most that transactions which have not committed yet may occupy in `data_dir`.
    #[serde(default = "spool_bytes")]
    pub max_spool_bytes: ByteSize,
    /// How often an idle source emits a heartbeat, so that its slot holds no log of other databases.
    #[serde(default = "heartbeat")]
    pub heartbeat: HumanDuration,
    /// Where heartbeats and watermarks are written when `url` is a standby, which cannot write them itself.
    pub primary_url: Option<Secret>,
    /// Whether the slot is synchronised to standbys (Postgres 17 and later).
    #[serde(default)]
    pub failover: bool,
    /// Whether an event trigger is set up that reports the text of DDL statements as logical messages.
    #[serde(default)]
    pub ddl: bool,
}

/// What is published of one table.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// Only these columns (Postgres 15 and later); they must include the replica identity.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Only rows for which this SQL expression holds (Postgres 15 and later).
    pub filter: Option<String>,
}

/// Reading what exists already.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// When.
    #[serde(default)]
    pub mode: SnapshotMode,
    /// Rows read at once.
    #[serde(default = "chunk_rows")]
    pub chunk_rows: u32,
    /// Chunks read side by side, each on a connection of its own.
    #[serde(default = "parallel")]
    pub parallel: u16,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::default(),
            chunk_rows: chunk_rows(),
            parallel: parallel(),
        }
    }
}

/// When tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// On the first start, and for every table that is added later.
    #[default]
    Initial,
    /// Only when an operator asks for it.
    OnDemand,
}

/// What to do about a lost slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLostSlot {
    /// Stop and say so: somebody decides.
    #[default]
    Stop,
    /// Create it again and read all tables, at most three times an hour.
    Snapshot,
}

/// How much of a row an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fullness {
    /// Whole rows.
    #[default]
    Fat,
    /// Keys only: consumers fetch the rest where they are allowed to.
    Thin,
}

/// Which changes by origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// All.
    #[default]
    Any,
    /// Only those made in this database.
    None,
}

/// The outbox table and its columns.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// `schema.table`. It must be among `tables`.
    pub table: String,
    /// The column with the event's id.
    #[serde(default = "id_column")]
    pub id: String,
    /// The column with the event's `type`.
    #[serde(default = "type_column")]
    pub r#type: String,
    /// The column whose value becomes the extension attribute `topic`, for `route: { topic: "{topic}" }`.
    #[serde(default = "topic_column")]
    pub topic: String,
    /// The column with the event's key.
    #[serde(default = "key_column")]
    pub key: String,
    /// The column with the event's data: `json` and `jsonb` are the data as they are, `bytea` its bytes, others their text.
    #[serde(default = "payload_column")]
    pub payload: String,
}

fn yes() -> bool {
    true
}

fn as_string() -> Numbers {
    Numbers::String
}

fn spool_bytes() -> ByteSize {
    ByteSize::from_mb(20_000)
}

fn heartbeat() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn chunk_rows() -> u32 {
    10_000
}

fn parallel() -> u16 {
    2
}

fn id_column() -> String {
    "id".into()
}

fn type_column() -> String {
    "type".into()
}

fn topic_column() -> String {
    "topic".into()
}

fn key_column() -> String {
    "key".into()
}

fn payload_column() -> String {
    "payload".into()
}

/// Bytes that a name may have in Postgres.
const MAX_NAME_BYTES: usize = 63;

/// A configuration that was checked, and what follows from it.
pub(crate) struct Checked {
    pub(crate) config: Config,
    pub(crate) server: Server,
    /// Takes what a standby cannot.
    pub(crate) primary: Option<Server>,
    pub(crate) slot: String,
    pub(crate) publication: String,
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
        let application = format!("headgate/{}", info.name);
        let server = Server::parse(config.url.expose(), config.ca.clone(), &application)
            .map_err(|message| problem("/url", message))
            .ok();
        let primary = match &config.primary_url {
            Some(url) => Server::parse(url.expose(), config.ca.clone(), &application)
                .map_err(|message| problem("/primary_url", message))
                .ok(),
            None => None,
        };
        if config.tables.is_empty() {
            problem(
                "/tables",
                "name at least one table, such as `public.*`".into(),
            );
        }
        for (i, pattern) in config.tables.iter().enumerate() {
            if pattern.split('.').count() != 2 || pattern.split('.').any(str::is_empty) {
                problem(
                    &format!("/tables/{i}"),
                    format!(
                        "`{pattern}` is no table; write `schema.table` or a pattern such as `public.*`"
                    ),
                );
            }
        }
        for table in config.table_options.keys() {
            if !covers(&config.tables, table) {
                problem(
                    &format!(
                        "/table_options/{}",
                        table.replace('~', "~0").replace('/', "~1")
                    ),
                    format!("`{table}` is not among `tables`"),
                );
            }
        }
        if let Some(outbox) = &config.outbox
            && !covers(&config.tables, &outbox.table)
        {
            problem(
                "/outbox/table",
                format!("`{}` is not among `tables`", outbox.table),
            );
        }
        if config.snapshot.chunk_rows == 0 {
            problem("/snapshot/chunk_rows", "at least 1".into());
        }
        if config.snapshot.parallel == 0 {
            problem("/snapshot/parallel", "at least 1".into());
        }
        if config.heartbeat.get().is_zero() {
            problem("/heartbeat", "longer than nothing, such as `10s`".into());
        }
        let default = name(&format!("{}_{}", info.group, info.name));
        let slot = config.slot.clone().unwrap_or_else(|| default.clone());
        if !is_slot_name(&slot) {
            problem(
                "/slot",
                format!("`{slot}` is no slot name: 1 to 63 of a-z, 0-9 and _"),
            );
        }
        let publication = config.publication.clone().unwrap_or(default);
        if publication.is_empty() || publication.len() > MAX_NAME_BYTES {
            problem(
                "/publication",
                format!("`{publication}` is no name of 1 to 63 bytes"),
            );
        }
        match server {
            Some(server) if problems.is_empty() => Ok(Self {
                config,
                server,
                primary,
                slot,
                publication,
            }),
            _ => Err(BuildError { problems }),
        }
    }

    /// The options of `schema.table`.
    pub(crate) fn options(&self, table: &str) -> Option<&TableOptions> {
        self.config.table_options.get(table)
    }

    /// Whether `schema.table` is captured.
    pub(crate) fn captures(&self, table: &str) -> bool {
        covers(&self.config.tables, table)
    }
}

/// Makes a slot's and publication's name out of any text; one that had to be cut ends in a hash, so that it stays its own.
fn name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '_' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect();
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{}_{}", &name[..MAX_NAME_BYTES - 9], &hash[..8])
}

/// What the names of slots begin with that belong to `group`.
pub(crate) fn group_prefix(group: &str) -> String {
    name(&format!("{group}_"))
}

fn is_slot_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether one of `patterns` matches `table`.
pub(crate) fn covers(patterns: &[String], table: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> SourceInfo {
        SourceInfo {
            name: name.into(),
            tenant: "default".into(),
            urn: format!("urn:headgate:default:postgres:{name}").into(),
            group: "headgate".into(),
            instance: "i".into(),
            public_url: None,
        }
    }

    fn checked(json: serde_json::Value) -> Result<Checked, BuildError> {
        Checked::new(serde_json::from_value(json).unwrap(), &info("Orders-EU"))
    }

    #[test]
    fn names_follow_group_and_source() {
        let config =
            checked(serde_json::json!({ "url": "postgres://u@h/d", "tables": ["public.*"] }))
                .unwrap();
        assert_eq!(
            (config.slot.as_str(), config.publication.as_str()),
            ("headgate_orders_eu", "headgate_orders_eu")
        );
        assert!("a_b_orders_eu".starts_with(&group_prefix("A-b")));
        let long = "x".repeat(80);
        assert_eq!(name(&long).len(), 63);
        assert_ne!(name(&long), name(&format!("{long}y")));
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let Err(error) = checked(serde_json::json!({
            "url": "postgres://:secret@", "tables": ["orders"], "slot": "No", "heartbeat": "0s",
            "outbox": { "table": "public.outbox" }, "table_options": { "a.b": {} }, "snapshot": { "chunk_rows": 0 }
        })) else {
            panic!("it was accepted");
        };
        let text: Vec<String> = error
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.pointer, p.message))
            .collect();
        assert!(!text.join("\n").contains("secret"));
        insta::assert_snapshot!(text.join("\n"), @r"
        /url: the URL names no host
        /tables/0: `orders` is no table; write `schema.table` or a pattern such as `public.*`
        /table_options/a.b: `a.b` is not among `tables`
        /outbox/table: `public.outbox` is not among `tables`
        /snapshot/chunk_rows: at least 1
        /heartbeat: longer than nothing, such as `10s`
        /slot: `No` is no slot name: 1 to 63 of a-z, 0-9 and _
        ");
    }
}
