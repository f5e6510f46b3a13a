//! What a source of type `files` is told.

mod plan;

pub use plan::{ContentPlan, Folder, Plan};

use headgate_sdk::config::{ByteSize, HumanDuration};
use schemars::JsonSchema;
use serde::Deserialize;

/// Watches folders and turns each complete file, or each of its records, into an event.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folders, watched with everything below them. `{tenant}` as one part of a path stands for any folder name, which is
    /// then the tenant: `/srv/in/{tenant}/drop`.
    pub paths: Vec<String>,
    /// Globs of the files to take, matched against the name and the path in the folder. Empty: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of files not to take.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Extensions to take, any case. Empty: all.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Globs of media types to take, told by content: `application/pdf`, `image/*`. Empty: all.
    #[serde(default)]
    pub media_types: Vec<String>,
    /// Globs of names that mean "still being written": such files are not looked at until they are renamed.
    #[serde(default = "default_temporary_names")]
    pub temporary_names: Vec<String>,
    /// Smallest size to take.
    #[serde(default = "default_min_size")]
    pub min_size: ByteSize,
    /// Largest size to take. Absent: any.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
    /// How long size and times of a file must stand still before it counts as complete.
    #[serde(default = "default_settle")]
    pub settle: HumanDuration,
    /// Suffix of an empty file that says "the file of this name is complete": with `.done`, `a.pdf` waits for `a.pdf.done`.
    #[serde(default)]
    pub marker: Option<String>,
    /// Whether to ask the kernel for events or to look regularly. `auto` looks regularly on nfs, cifs, fuse and other shares.
    #[serde(default)]
    pub watch: Watch,
    /// How often the folders are read as a whole, besides events.
    #[serde(default = "default_scan_interval")]
    pub scan_interval: HumanDuration,
    /// How often they are read where there are no events.
    #[serde(default = "default_poll_interval")]
    pub poll_interval: HumanDuration,
    /// What happens to the same bytes under another name.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// Within what bytes are recognised.
    #[serde(default)]
    pub dedup_scope: Scope,
    /// How long bytes and names are remembered.
    #[serde(default = "default_window")]
    pub dedup_window: HumanDuration,
    /// What an event carries of the content.
    #[serde(default)]
    pub content: Content,
    /// Larger files are not carried inline, but by reference.
    #[serde(default = "default_inline_limit")]
    pub inline_limit: ByteSize,
    /// Reads each file's records, one event each, instead of only announcing the file.
    #[serde(default)]
    pub records: Option<Records>,
    /// `whole`: a file is complete once and for all. `append`: it grows, and only new records are read.
    #[serde(default)]
    pub mode: Mode,
    /// `append`: a last line without a line end counts as a record once the file stood still for so long. What is appended to it later
    /// is a record of its own.
    #[serde(default = "default_last_line_after")]
    pub last_line_after: HumanDuration,
    /// Takes files that belong together as one event.
    #[serde(default)]
    pub bundle: Option<Bundle>,
    /// What happens to a file once its event is durable.
    #[serde(default)]
    pub afterwards: Afterwards,
    /// Where `afterwards: move` puts files: relative to the watched folder, or absolute. Never watched itself.
    #[serde(default = "default_processed")]
    pub processed: String,
    /// Where `move` and `delete` put files that failed as a whole, each with a note. Never watched itself.
    #[serde(default = "default_failed")]
    pub failed: String,
    /// After this time a file that is not yet taken is reported as stuck.
    #[serde(default = "default_stuck_after")]
    pub stuck_after: HumanDuration,
    /// Type of the events of files.
    #[serde(default = "default_event_type")]
    pub event_type: String,
    /// Type of the events of records.
    #[serde(default = "default_record_type")]
    pub record_type: String,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Events on local file systems, regular looks elsewhere.
    #[default]
    Auto,
    /// Events.
    Events,
    /// Regular looks.
    Poll,
}

/// What happens to the same bytes under another name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// No event; counted.
    #[default]
    Skip,
    /// An event with `duplicateof`, the id of the first.
    Mark,
}

/// Within what bytes are recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Within a tenant.
    #[default]
    Tenant,
    /// Within the whole source, across its tenants.
    Source,
}

/// What an event carries of the content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Nothing: the path says where it lies.
    #[default]
    Reference,
    /// All of it, as text or base64.
    Inline,
    /// A copy in the claim-check store, `dataref` says where.
    ClaimCheck,
}

/// How a file's records are read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// What a file consists of.
    pub format: RecordFormat,
    /// `csv`: between fields, one ASCII character; `\t` for a tabulator.
    #[serde(default = "default_delimiter")]
    pub delimiter: String,
    /// `csv`: around fields that hold a delimiter or a line end; empty for none.
    #[serde(default = "default_quote")]
    pub quote: String,
    /// `csv`: whether the first record names the fields.
    #[serde(default = "default_true")]
    pub header: bool,
    /// Encoding of the text, by its name on the web: `utf-8`, `windows-1252`, `utf-16le`, `shift_jis`.
    #[serde(default = "default_encoding")]
    pub encoding: String,
    /// A larger record goes to the dead letters.
    #[serde(default = "default_max_record")]
    pub max_record_size: ByteSize,
    /// A `.gz` or `.zst` file that inflates to more fails.
    #[serde(default = "default_max_inflated")]
    pub max_inflated_size: ByteSize,
}

/// What a file of records consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordFormat {
    /// Comma-separated values.
    Csv,
    /// One JSON text a line.
    JsonLines,
    /// One JSON array.
    JsonArray,
    /// One record a line.
    Lines,
}

/// Whether files grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A file is complete once and for all; other bytes are another version.
    #[default]
    Whole,
    /// Records are appended: logs and growing exports.
    Append,
}

/// Files that belong together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// What makes them belong together.
    pub by: BundleBy,
    /// `stem`: the extensions that make it complete; without them, and for `window`, it is complete when `window` has passed.
    #[serde(default)]
    pub complete: Vec<String>,
    /// How long a bundle stays open after its first file. An incomplete one is sent then as it is.
    #[serde(default = "default_bundle_window")]
    pub window: HumanDuration,
    /// Type of the bundle's event.
    #[serde(default = "default_bundle_type")]
    pub event_type: String,
}

/// What makes files belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BundleBy {
    /// The same folder and the same name up to the extension.
    Stem,
    /// The same folder and the same time.
    Window,
}

/// What happens to a file once its event is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    /// It stays.
    #[default]
    Leave,
    /// It moves to `processed`.
    Move,
    /// It is deleted.
    Delete,
}

fn default_temporary_names() -> Vec<String> {
    crate::choice::TEMPORARY_NAMES
        .iter()
        .map(|&name| name.to_owned())
        .collect()
}

const fn default_min_size() -> ByteSize {
    ByteSize::from_bytes(0)
}

const fn default_settle() -> HumanDuration {
    HumanDuration::from_secs(2)
}

const fn default_scan_interval() -> HumanDuration {
    HumanDuration::from_secs(60)
}

const fn default_poll_interval() -> HumanDuration {
    HumanDuration::from_secs(5)
}

const fn default_window() -> HumanDuration {
    HumanDuration::from_secs(30 * 24 * 3600)
}

const fn default_inline_limit() -> ByteSize {
    ByteSize::from_mib(1)
}

const fn default_max_record() -> ByteSize {
    ByteSize::from_mib(1)
}

const fn default_max_inflated() -> ByteSize {
    ByteSize::from_mib(16 * 1024)
}

const fn default_bundle_window() -> HumanDuration {
    HumanDuration::from_secs(60)
}

const fn default_last_line_after() -> HumanDuration {
    HumanDuration::from_secs(300)
}

const fn default_stuck_after() -> HumanDuration {
    HumanDuration::from_secs(3600)
}

const fn default_true() -> bool {
    true
}

fn default_processed() -> String {
    "processed".into()
}

fn default_failed() -> String {
    "failed".into()
}

fn default_event_type() -> String {
    "file.uploaded.v1".into()
}

fn default_record_type() -> String {
    "file.record.received.v1".into()
}

fn default_bundle_type() -> String {
    "file.bundle.received.v1".into()
}

fn default_delimiter() -> String {
    ",".into()
}

fn default_quote() -> String {
    "\"".into()
}

fn default_encoding() -> String {
    "utf-8".into()
}
