//! A configuration that was found right, in the form in which it is used.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use headgate_sdk::{BuildError, Problem, Str};

use super::{
    Afterwards, Bundle, Config, Content, Duplicates, Mode, RecordFormat, Records, Scope, Watch,
};
use crate::{
    choice::{Choice, ChoiceSpec},
    ledger,
    records::{Dialect, Format, Shape},
};

/// Stands for the tenant in a path.
const TENANT: &str = "{tenant}";

/// What an event carries of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentPlan {
    /// Nothing.
    Reference,
    /// Up to so many bytes.
    Inline(u64),
    /// A copy in the store.
    ClaimCheck,
}

/// A configured folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// As configured, without a slash at the end; part of ids.
    pub configured: Str,
    /// The part of the path that is always the same; this is what is watched.
    pub root: PathBuf,
    /// What follows it: fixed names, and `None` for the tenant. Empty without `{tenant}`.
    pattern: Vec<Option<String>>,
}

/// What a source does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folders.
    pub folders: Vec<Folder>,
    /// Which files are taken.
    pub choice: Choice,
    /// How long a file must stand still.
    pub settle: Duration,
    /// How changes are noticed.
    pub watch: Watch,
    /// Between scans with events.
    pub scan_interval: Duration,
    /// Between scans without.
    pub poll_interval: Duration,
    /// What happens to duplicates.
    pub duplicates: ledger::Duplicates,
    /// Whether they are recognised across tenants.
    pub scope: Scope,
    /// How long.
    pub window: Duration,
    /// What events carry of the content.
    pub content: ContentPlan,
    /// How records are read, if they are.
    pub records: Option<Format>,
    /// Whether files grow.
    pub mode: Mode,
    /// When a last line without an end is a record.
    pub last_line_after: Duration,
    /// Which files belong together.
    pub bundle: Option<Bundle>,
    /// What happens to files that are done.
    pub afterwards: Afterwards,
    /// Where they are moved.
    pub processed: PathBuf,
    /// Where failed ones are moved.
    pub failed: PathBuf,
    /// When a file counts as stuck.
    pub stuck_after: Duration,
    /// Type of the events of files.
    pub event_type: Str,
    /// Type of the events of records.
    pub record_type: Str,
}

impl Plan {
    /// Checks a configuration.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn new(config: Config) -> Result<Self, BuildError> {
        let mut problems = Vec::new();
        let folders = folders(&config.paths, &mut problems);
        let choice = choice(&config, &mut problems);
        let records = config
            .records
            .as_ref()
            .and_then(|records| format(records, config.mode, &mut problems));
        combinations(&config, &mut problems);
        for (key, folder) in [("processed", &config.processed), ("failed", &config.failed)] {
            if folder.is_empty() || !is_clean(Path::new(folder)) {
                let message = "write a folder name without `.` and `..`, or an absolute path";
                problems.push(problem(format!("/{key}"), message));
            }
        }
        for (key, event_type) in [
            ("event_type", &config.event_type),
            ("record_type", &config.record_type),
        ] {
            check_type(key, event_type, &mut problems);
        }
        let (Some(choice), true) = (choice, problems.is_empty()) else {
            return Err(BuildError { problems });
        };
        Ok(Self {
            folders,
            choice,
            settle: config.settle.get(),
            watch: config.watch,
            scan_interval: config.scan_interval.get(),
            poll_interval: config.poll_interval.get(),
            duplicates: match config.duplicates {
                Duplicates::Skip => ledger::Duplicates::Skip,
                Duplicates::Mark => ledger::Duplicates::Mark,
            },
            scope: config.dedup_scope,
            window: config.dedup_window.get(),
            content: match config.content {
                Content::Reference => ContentPlan::Reference,
                Content::Inline => ContentPlan::Inline(config.inline_limit.bytes()),
                Content::ClaimCheck => ContentPlan::ClaimCheck,
            },
            records,
            mode: config.mode,
            last_line_after: config.last_line_after.get(),
            bundle: config.bundle,
            afterwards: config.afterwards,
            processed: config.processed.into(),
            failed: config.failed.into(),
            stuck_after: config.stuck_after.get(),
            event_type: config.event_type.into(),
            record_type: config.record_type.into(),
        })
    }

    /// Whether the relative folder `path` of `folder` is one into which files are put away, which is never watched.
    #[must_use]
    pub fn is_shelf(&self, folder: &Folder, path: &Path) -> bool {
        [&self.processed, &self.failed].into_iter().any(|shelf| {
            if shelf.is_absolute() {
                folder.root.join(path).starts_with(shelf)
            } else {
                let home = folder.pattern.len();
                let inside: PathBuf = path.components().skip(home).collect();
                path.components().count() > home && inside.starts_with(shelf)
            }
        })
    }
}

impl Folder {
    /// The tenant of a file at the relative `path`: its own, `default` where the folder names none, `None` if the path does not fit the
    /// pattern (it lies beside the tenants' folders).
    #[must_use]
    pub fn tenant(&self, path: &Path, default: &Str) -> Option<Str> {
        if self.pattern.is_empty() {
            return Some(default.clone());
        }
        let mut parts = path.components();
        let mut tenant = None;
        for expected in &self.pattern {
            let part = parts.next()?.as_os_str();
            match expected {
                Some(name) if part == OsStr::new(name) => {}
                Some(_) => return None,
                None => tenant = Some(Str::from(crate::name::encode(Path::new(part)).as_ref())),
            }
        }
        // The file itself.
        parts.next()?;
        tenant
    }

    /// Whether the relative folder `path` may hold files: it fits the pattern as far as it goes.
    #[must_use]
    pub fn fits(&self, path: &Path) -> bool {
        path.components()
            .zip(&self.pattern)
            .all(|(part, expected)| {
                expected
                    .as_ref()
                    .is_none_or(|name| part.as_os_str() == OsStr::new(name))
            })
    }

    /// Splits the relative `path` of a file into the tenant's folder and the rest.
    #[must_use]
    pub fn split_home(&self, path: &Path) -> (PathBuf, PathBuf) {
        let mut parts = path.components();
        let home: PathBuf = parts.by_ref().take(self.pattern.len()).collect();
        (self.root.join(home), parts.as_path().to_owned())
    }
}

fn problem(pointer: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem {
        pointer: pointer.into(),
        message: message.into(),
    }
}

fn is_clean(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
}

fn folders(paths: &[String], problems: &mut Vec<Problem>) -> Vec<Folder> {
    if paths.is_empty() {
        problems.push(problem("/paths", "name at least one folder to watch"));
    }
    let mut folders: Vec<Folder> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let pointer = format!("/paths/{index}");
        match folder(path) {
            Err(message) => problems.push(problem(pointer, message)),
            Ok(folder) => {
                let clash = folders.iter().find(|other| {
                    folder.root.starts_with(&other.root) || other.root.starts_with(&folder.root)
                });
                if let Some(other) = clash {
                    let message = format!(
                        "overlaps with `{}`: folders are watched with everything below them, so name only the upper one, or use two \
                         sources with `exclude`",
                        other.configured
                    );
                    problems.push(problem(pointer, message));
                }
                folders.push(folder);
            }
        }
    }
    if u16::try_from(folders.len()).is_err() {
        problems.push(problem("/paths", "a source watches at most 65535 folders"));
    }
    folders
}

fn folder(path: &str) -> Result<Folder, String> {
    let trimmed = match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/",
        trimmed => trimmed,
    };
    if trimmed.is_empty() {
        return Err("write a folder, such as `/srv/inbox`".into());
    }
    let mut root = PathBuf::new();
    let mut pattern: Vec<Option<String>> = Vec::new();
    for part in Path::new(trimmed).components() {
        match part {
            Component::ParentDir => {
                return Err("write the folder without `..`".into());
            }
            Component::CurDir => {}
            Component::Normal(name) if name == OsStr::new(TENANT) => {
                if pattern.contains(&None) {
                    return Err(format!("`{TENANT}` may stand only once in a path"));
                }
                pattern.push(None);
            }
            Component::Normal(name) if name.as_bytes().contains(&b'{') => {
                return Err(format!(
                    "only `{TENANT}` can stand for a name, and only for a whole one"
                ));
            }
            part if pattern.is_empty() => root.push(part),
            part => pattern.push(Some(part.as_os_str().to_string_lossy().into_owned())),
        }
    }
    if root.as_os_str().is_empty() {
        if !pattern.is_empty() {
            return Err(format!("write a folder before `{TENANT}`"));
        }
        root.push(".");
    }
    Ok(Folder {
        configured: trimmed.into(),
        root,
        pattern,
    })
}

fn choice(config: &Config, problems: &mut Vec<Problem>) -> Option<Choice> {
    let max_bytes = config.max_size.map_or(u64::MAX, |size| size.bytes());
    if max_bytes < config.min_size.bytes() {
        let message = "smaller than `min_size`: no file can be taken";
        problems.push(problem("/max_size", message));
    }
    if config.marker.as_deref() == Some("") {
        let message = "write a suffix, such as `.done`";
        problems.push(problem("/marker", message));
    }
    match Choice::new(ChoiceSpec {
        include: &config.include,
        exclude: &config.exclude,
        temporary: &config.temporary_names,
        extensions: &config.extensions,
        media_types: &config.media_types,
        min_bytes: config.min_size.bytes(),
        max_bytes,
        marker: config.marker.as_deref(),
    }) {
        Ok(choice) => Some(choice),
        Err(errors) => {
            for error in errors {
                problems.push(problem(format!("/{}", error.key), error.to_string()));
            }
            None
        }
    }
}

fn format(records: &Records, mode: Mode, problems: &mut Vec<Problem>) -> Option<Format> {
    let before = problems.len();
    let encoding = encoding_rs::Encoding::for_label(records.encoding.as_bytes());
    if encoding.is_none() {
        let message = format!(
            "`{}` is not an encoding; write for example `utf-8`, `windows-1252` or `utf-16le`",
            records.encoding
        );
        problems.push(problem("/records/encoding", message));
    }
    let delimiter = match records.delimiter.as_bytes() {
        b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(*byte),
        _ => None,
    };
    if delimiter.is_none() {
        let message = "write one ASCII character, such as `;`, or `\\t` for a tabulator";
        problems.push(problem("/records/delimiter", message));
    }
    let quote = match records.quote.as_bytes() {
        [] => Some(None),
        [byte] if byte.is_ascii() && Some(*byte) != delimiter => Some(Some(*byte)),
        _ => None,
    };
    if quote.is_none() {
        let message = "write one ASCII character other than the delimiter, or nothing";
        problems.push(problem("/records/quote", message));
    }
    let may_grow = mode == Mode::Append;
    if may_grow && records.format == RecordFormat::JsonArray {
        let message = "an array cannot grow: use `json_lines`, or `mode: whole`";
        problems.push(problem("/records/format", message));
    }
    if may_grow && encoding.is_some_and(|encoding| encoding != encoding_rs::UTF_8) {
        let message = "files that grow are read as UTF-8: write `utf-8`, or `mode: whole`";
        problems.push(problem("/records/encoding", message));
    }
    if problems.len() > before {
        return None;
    }
    Some(Format {
        shape: match records.format {
            RecordFormat::Csv => Shape::Csv(Dialect {
                delimiter: delimiter?,
                quote: quote?,
                header: records.header,
            }),
            RecordFormat::JsonLines => Shape::JsonLines,
            RecordFormat::JsonArray => Shape::JsonArray,
            RecordFormat::Lines => Shape::Lines,
        },
        encoding: encoding?,
        max_record_bytes: records.max_record_size.as_usize(),
        max_inflated_bytes: records.max_inflated_size.bytes(),
        may_grow,
    })
}

fn combinations(config: &Config, problems: &mut Vec<Problem>) {
    if config.mode == Mode::Append {
        if config.records.is_none() {
            let message = "`append` reads records: say how under `records`";
            problems.push(problem("/mode", message));
        }
        if config.afterwards != Afterwards::Leave {
            let message = "a file that grows is never done: write `leave`, or `mode: whole`";
            problems.push(problem("/afterwards", message));
        }
        if config.marker.is_some() {
            let message = "a file that grows is never complete: leave `marker` out";
            problems.push(problem("/marker", message));
        }
    }
    if let Some(bundle) = &config.bundle {
        if config.records.is_some() {
            let message = "a bundle is one event of several files: leave `records` out";
            problems.push(problem("/bundle", message));
        }
        if config.content != Content::Reference {
            let message = "a bundle carries its files by reference: write `reference`";
            problems.push(problem("/content", message));
        }
        if bundle.by == super::BundleBy::Window && !bundle.complete.is_empty() {
            let message = "extensions complete a bundle `by: stem` only: leave `complete` out";
            problems.push(problem("/bundle/complete", message));
        }
        check_type("bundle/event_type", &bundle.event_type, problems);
    }
    if config.afterwards == Afterwards::Move && config.processed == config.failed {
        let message = "`processed` and `failed` must be two folders";
        problems.push(problem("/failed", message));
    }
}

fn check_type(key: &str, event_type: &str, problems: &mut Vec<Problem>) {
    let versioned = event_type.rsplit_once(".v").is_some_and(|(name, version)| {
        !name.is_empty()
            && !version.is_empty()
            && version.bytes().all(|b| b.is_ascii_digit())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    });
    if !versioned {
        let message = format!(
            "`{event_type}` is not a type: write dotted names and a version, such as `invoice.received.v1`"
        );
        problems.push(problem(format!("/{key}"), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn plan(json: &str) -> Plan {
        Plan::new(config(json)).unwrap()
    }

    #[test]
    fn every_problem_is_reported_with_its_key() {
        let bad = config(
            r#"{"paths": ["", "/a/../b", "/in", "/in/sub/", "/{tenant}x"], "include": ["[x"], "max_size": 1, "min_size": "2KB",
                "mode": "append", "afterwards": "move", "processed": "../up", "event_type": "Invoice",
                "records": {"format": "json_array", "delimiter": "ab", "quote": ",,", "encoding": "klingon"}}"#,
        );
        let problems = Plan::new(bad).unwrap_err().problems;
        let lines: Vec<_> = problems
            .iter()
            .map(|p| format!("{}: {}", p.pointer, p.message))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn no_folder_is_a_problem() {
        let error = Plan::new(config(r#"{"paths": []}"#)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/paths: name at least one folder to watch"
        );
    }

    #[test]
    fn tenants_come_from_the_path() {
        let plan = plan(r#"{"paths": ["/srv/in/{tenant}/drop/", "plain"]}"#);
        let [tenants, plain] = &plan.folders[..] else {
            panic!("two folders");
        };
        let default = Str::from("default");
        let tenant = |path: &str| tenants.tenant(Path::new(path), &default);
        assert_eq!(tenants.root, Path::new("/srv/in"));
        assert_eq!(tenants.configured, "/srv/in/{tenant}/drop");
        assert_eq!(tenant("acme/drop/x/a.pdf"), Some("acme".into()));
        assert_eq!(tenant("acme/drop"), None);
        assert_eq!(tenant("acme/other/a.pdf"), None);
        assert!(tenants.fits(Path::new("acme/drop/x")) && !tenants.fits(Path::new("acme/other")));
        assert_eq!(
            tenants.split_home(Path::new("acme/drop/x/a.pdf")),
            ("/srv/in/acme/drop".into(), "x/a.pdf".into())
        );
        assert_eq!(
            plain.tenant(Path::new("a"), &default),
            Some(default.clone())
        );
        assert_eq!(
            plain.split_home(Path::new("x/a")),
            ("plain".into(), "x/a".into())
        );
    }

    #[test]
    fn folders_of_files_that_are_done_are_not_watched() {
        let plan =
            plan(r#"{"paths": ["/in/{tenant}"], "processed": "/in/acme/out", "failed": "bad"}"#);
        let folder = &plan.folders[0];
        for (path, shelf) in [
            ("acme/bad", true),
            ("acme/bad/x", true),
            ("bad", false),
            ("acme/out", true),
            ("other/out", false),
            ("acme/badly", false),
        ] {
            assert_eq!(plan.is_shelf(folder, Path::new(path)), shelf, "{path}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"paths": [], "colour": "red"}"#).is_err());
    }
}
