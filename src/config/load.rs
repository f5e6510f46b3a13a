//! From a file to a [`Config`], or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headgate_sdk::{BuildError, Str};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::across;
use super::check::check;
use super::error::{ConfigError, Finding, sort};
use super::model::{
    Config, DEFAULT_PIPELINE, DEFAULT_SINK, Globals, Keys, Sink, Source, SourceCommon,
};
use super::parse::parse;
use super::resolve::{Outside, resolve};
use super::schema::schema;
use super::tree::{Node, Origin, Place, Pointer};
use crate::connectors::{Registration, registry};
use crate::pipeline::Pipeline;
use crate::sink;

/// The file that every command reads unless it is told another.
pub const DEFAULT_FILE: &str = "headgate.yaml";

/// A configuration and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but probably not meant, ordered by place.
    pub warnings: Vec<Finding>,
}

/// What commands need of a configuration to find its gateway, read as far as it can be: secrets may be missing, and parts may be
/// wrong.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The top-level keys; the defaults for those that cannot be read.
    pub globals: Globals,
    /// Names and types of the sources.
    pub sources: Vec<(String, String)>,
    /// Names and types of the sinks.
    pub sinks: Vec<(String, String)>,
}

impl Default for Outline {
    fn default() -> Self {
        Self {
            globals: Globals::default(),
            sources: Vec::new(),
            sinks: vec![(DEFAULT_SINK.to_owned(), sink::Common::default().kind)],
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}; `headgate init` writes one, `-c FILE` names another", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was read, and these things are wrong with it.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
}

/// Loads configurations.
pub struct Loader<'a> {
    connectors: &'a [Registration],
    outside: Outside<'a>,
}

impl Loader<'_> {
    /// A loader that knows this build's connectors and fills in from the process's environment.
    pub fn new() -> Self {
        Self {
            connectors: registry(),
            outside: Outside {
                variable: &|name| std::env::var(name).ok(),
                file: &|path| std::fs::read_to_string(path),
            },
        }
    }
}

impl Default for Loader<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Loader<'a> {
    /// Takes variables from `variable` instead of the environment.
    #[must_use]
    pub fn variables(mut self, variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        self.outside.variable = variable;
        self
    }

    /// Takes the contents of secret files from `file` instead of the file system.
    #[must_use]
    pub fn files(mut self, file: &'a dyn Fn(&Path) -> std::io::Result<String>) -> Self {
        self.outside.file = file;
        self
    }

    /// Knows these connectors instead of this build's.
    #[must_use]
    pub fn connectors(mut self, connectors: &'a [Registration]) -> Self {
        self.connectors = connectors;
        self
    }

    /// Loads a file.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`], or [`LoadError::Invalid`] with everything that is wrong.
    pub fn load(&self, file: &Path) -> Result<Loaded, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            file: file.to_owned(),
            source,
        };
        let bytes = std::fs::read(file).map_err(unreadable)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                let message = "this line is not UTF-8; save the file in UTF-8";
                let finding = Finding::new(file, Place { line, column: 1 }, String::new(), message);
                return Err(ConfigError::new(vec![finding]).into());
            }
        };
        Ok(self.read(file, &text)?)
    }

    /// Loads `text`, calling it `file` in errors.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(&self, file: &Path, text: &str) -> Result<Loaded, ConfigError> {
        let mut refused = Vec::new();
        let root = parse(text, &mut refused);
        let mut findings: Vec<Finding> = refused
            .into_iter()
            .map(|refused| Finding::new(file, refused.place, String::new(), refused.message))
            .collect();
        let Some(mut root) = root else {
            return Err(ConfigError::new(findings));
        };

        let schema = schema(self.connectors);
        let missing = resolve(&mut root, &schema, &self.outside);
        let mut judge = Judge {
            file,
            root: &root,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        for (pointer, message) in missing {
            judge.value(&pointer, message);
        }
        check(&mut judge, &schema);
        let config = self.config(&mut judge);
        across::across(&mut judge, &config);

        findings.extend(judge.mistakes.into_iter().map(|(_, finding)| finding));
        let mut warnings = judge.warnings;
        sort(&mut warnings);
        if findings.is_empty() {
            Ok(Loaded { config, warnings })
        } else {
            Err(ConfigError::new(findings))
        }
    }

    /// Reads the outline of a file. The default file may be absent; then the defaults count.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read, or is no YAML.
    pub fn outline(&self, file: &Path) -> Result<Outline, LoadError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && file == Path::new(DEFAULT_FILE) =>
            {
                return Ok(Outline::default());
            }
            Err(source) => {
                return Err(LoadError::Unreadable {
                    file: file.to_owned(),
                    source,
                });
            }
        };
        let mut refused = Vec::new();
        let Some(mut root) = parse(&text, &mut refused) else {
            let findings = refused
                .into_iter()
                .map(|refused| Finding::new(file, refused.place, String::new(), refused.message));
            return Err(ConfigError::new(findings.collect()).into());
        };
        let schema = schema(self.connectors);
        resolve(&mut root, &schema, &self.outside);
        let mut judge = Judge {
            file,
            root: &root,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        check(&mut judge, &schema);
        let globals = judge.globals();
        let kinds = |section, short: Option<(&'static str, &str)>| -> Vec<(String, String)> {
            let short =
                short.and_then(|(key, name)| Some((name, Pointer::default(), root.get(key)?)));
            let kind = |node: &Node| {
                node.get("type")
                    .and_then(Node::text)
                    .unwrap_or_default()
                    .to_owned()
            };
            entries(&root, section)
                .chain(short)
                .map(|(name, _, node)| (name.to_owned(), kind(node)))
                .collect()
        };
        let mut sinks = kinds("sinks", Some(("sink", DEFAULT_SINK)));
        if sinks.is_empty() {
            sinks = Outline::default().sinks;
        }
        Ok(Outline {
            globals,
            sources: kinds("sources", None),
            sinks,
        })
    }

    /// Reads every part that has no mistake so far. What comes back is whole only if the judge found nothing.
    fn config(&self, judge: &mut Judge<'_>) -> Config {
        let root = judge.root;
        let globals = judge.globals();
        let sources = entries(root, "sources")
            .filter_map(|(name, at, node)| self.source(judge, &globals, name, &at, node))
            .collect();

        let mut pipelines: BTreeMap<String, Pipeline> =
            BTreeMap::from([(DEFAULT_PIPELINE.to_owned(), Pipeline::default())]);
        let short = root
            .get("pipeline")
            .map(|node| (DEFAULT_PIPELINE, Pointer::new(["pipeline"]), node));
        for (name, at, node) in entries(root, "pipelines").chain(short) {
            let mut steps = Vec::new();
            for (n, item) in node.items().iter().enumerate() {
                let at = at.join(n);
                if let Some(step) = judge.typed(&at, item.to_json()) {
                    across::step(judge, &at, &step);
                    steps.push((at, step));
                }
            }
            across::pipeline(judge, &steps);
            let pipeline: Pipeline = steps.into_iter().map(|(_, step)| step).collect();
            pipelines.insert(name.to_owned(), pipeline);
        }

        let short = root
            .get("sink")
            .map(|node| (DEFAULT_SINK, Pointer::new(["sink"]), node));
        let mut sinks: Vec<Sink> = entries(root, "sinks")
            .chain(short)
            .filter_map(|(name, at, node)| {
                let (common, kind, keys) = split::<sink::Common>(node.to_json());
                if !judge.is_clean(&at) {
                    judge.rest(&at, |keys| {
                        let (_, kind, keys) = split::<sink::Common>(keys);
                        let kind = Json::Object(Map::from_iter([(kind, keys)]));
                        serde_json::from_value::<sink::Kind>(kind)
                            .map(|kind| kind.problems())
                            .unwrap_or_default()
                    });
                    return None;
                }
                let common = judge.typed(&at, common)?;
                let kind: sink::Kind =
                    judge.typed_under(&at, 1, Json::Object(Map::from_iter([(kind, keys)])))?;
                for (pointer, message) in kind.problems() {
                    judge.value(&at.extend(&Pointer::from_json(&pointer)), message);
                }
                Some(Sink {
                    name: Str::from(name),
                    common,
                    kind,
                })
            })
            .collect();
        if root.get("sink").is_none() && root.get("sinks").is_none() {
            sinks.push(Sink {
                name: Str::new_static(DEFAULT_SINK),
                common: sink::Common::default(),
                kind: sink::Kind::default(),
            });
        }
        Config {
            globals,
            sources,
            pipelines,
            sinks,
        }
    }

    fn source(
        &self,
        judge: &mut Judge<'_>,
        globals: &Globals,
        name: &str,
        at: &Pointer,
        node: &Node,
    ) -> Option<Source> {
        let connector = *self
            .connectors
            .iter()
            .find(|known| Some(known.name) == node.get("type").and_then(Node::text))?;
        let name = Str::from(name);
        let problems = |keys: Json, common: &SourceCommon| {
            let unknown = Str::new_static("unknown");
            let info = globals.source_info(&name, common, connector.name, &unknown);
            let found = (connector.build)(keys, &info).err();
            let found = found.map(|BuildError { problems }| problems);
            let found = found.unwrap_or_default().into_iter();
            found
                .map(|problem| (problem.pointer, problem.message))
                .collect::<Vec<_>>()
        };
        if !judge.is_clean(at) {
            judge.rest(at, |keys| {
                let (common, _, keys) = split::<SourceCommon>(keys);
                problems(keys, &serde_json::from_value(common).unwrap_or_default())
            });
            return None;
        }
        let (common, _, keys) = split::<SourceCommon>(node.to_json());
        let common: SourceCommon = judge.typed(at, common)?;
        for (pointer, message) in problems(keys.clone(), &common) {
            judge.value(&at.extend(&Pointer::from_json(&pointer)), message);
        }
        Some(Source {
            name,
            common,
            connector,
            keys: Keys::new(keys),
        })
    }
}

/// Takes away what is at `path`, lists as a whole, since their items are known by their place; true if that is all of `json`.
fn take_out(json: &mut Json, path: &[String]) -> bool {
    match (json, path) {
        (_, []) | (Json::Array(_), _) => true,
        (Json::Object(map), [key, rest @ ..]) => {
            if map
                .get_mut(key)
                .is_some_and(|inside| take_out(inside, rest))
            {
                map.remove(key);
            }
            false
        }
        _ => false,
    }
}

/// The named entries of a top-level map, with the pointers to them.
pub(super) fn entries<'n>(
    root: &'n Node,
    section: &'static str,
) -> impl Iterator<Item = (&'n str, Pointer, &'n Node)> {
    let all = root.get(section).map(Node::entries).unwrap_or_default();
    all.iter()
        .map(move |(key, node)| (key.name.as_str(), Pointer::new([section, &key.name]), node))
}

/// Parts the keys that all kinds have (`C`) from a kind's own; returns the common ones, the `type` and the rest.
fn split<C: JsonSchema>(json: Json) -> (Json, String, Json) {
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<C>();
    let is_common = |key: &str| {
        schema
            .get("properties")
            .is_some_and(|properties| properties.get(key).is_some())
    };
    let all = match json {
        Json::Object(all) => all,
        _ => Map::new(),
    };
    let (common, own): (Map<_, _>, Map<_, _>) =
        all.into_iter().partition(|(key, _)| is_common(key));
    let kind = common
        .get("type")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    (Json::Object(common), kind, Json::Object(own))
}

/// The JSON pointer of a place that serde was at.
pub fn json_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let escape = |step: &str| step.replace('~', "~0").replace('/', "~1");
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(escape(key)),
            Segment::Enum { variant } => Some(escape(variant)),
            Segment::Unknown => None,
        })
        .flat_map(|step| ["/".to_owned(), step])
        .collect()
}

/// Collects what is wrong, each thing with its place.
pub(super) struct Judge<'a> {
    file: &'a Path,
    root: &'a Node,
    mistakes: Vec<(Pointer, Finding)>,
    warnings: Vec<Finding>,
}

impl<'a> Judge<'a> {
    pub(super) fn root(&self) -> &'a Node {
        self.root
    }

    /// The folder of the file, which relative paths start from.
    pub(super) fn folder(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// The value at `pointer` is wrong.
    pub(super) fn value(&mut self, pointer: &Pointer, message: impl Into<String>) {
        let place = self.root.find(pointer).value_place();
        self.mistake(pointer, place, message.into());
    }

    /// The key at `pointer`, or something missing below it, is wrong.
    pub(super) fn key(&mut self, pointer: &Pointer, message: impl Into<String>) {
        let place = self.root.find(pointer).key_place();
        self.mistake(pointer, place, message.into());
    }

    /// The file as a whole is wrong.
    pub(super) fn whole(&mut self, message: impl Into<String>) {
        self.mistake(&Pointer::default(), Place::default(), message.into());
    }

    /// What stands at `pointer` is allowed, but probably not meant.
    pub(super) fn warn(&mut self, pointer: &Pointer, message: impl Into<String>) {
        let place = self.root.find(pointer).key_place();
        self.warnings.push(Finding::new(
            self.file,
            place,
            pointer.key_path(self.root),
            message,
        ));
    }

    /// The line on which `pointer` was written.
    pub(super) fn line(&self, pointer: &Pointer) -> usize {
        self.root.find(pointer).key_place().line
    }

    /// Whether nothing at or below `pointer` is wrong, so far.
    pub(super) fn is_clean(&self, pointer: &Pointer) -> bool {
        !self
            .mistakes
            .iter()
            .any(|(at, _)| at.starts_with(pointer) || pointer.starts_with(at))
    }

    /// Judges the rest of a part in which something is wrong: `problems` gets it without the mistakes, and what it finds counts
    /// where nothing was found so far. First with the texts whose variables or secrets are missing, as they stand in the file;
    /// then without them, for they may be the reason why it found nothing.
    fn rest(&mut self, pointer: &Pointer, problems: impl Fn(Json) -> Vec<(String, String)>) {
        for without_missing in [false, true] {
            let found: Vec<_> = problems(self.sound(pointer, without_missing))
                .into_iter()
                .map(|(below, message)| (pointer.extend(&Pointer::from_json(&below)), message))
                .filter(|(at, _)| self.is_clean(at))
                .collect();
            if !found.is_empty() {
                found
                    .iter()
                    .for_each(|(at, message)| self.value(at, message));
                return;
            }
        }
    }

    /// The part at `pointer` without what is wrong in it.
    fn sound(&self, pointer: &Pointer, without_missing: bool) -> Json {
        let mut json = self.root.find(pointer).node.to_json();
        for (at, _) in &self.mistakes {
            let missing = self.root.find(at).node.origin == Origin::Missing;
            if let Some(below) = at.0.strip_prefix(pointer.0.as_slice())
                && (without_missing || !missing)
            {
                let _all_of_it = take_out(&mut json, below);
            }
        }
        json
    }

    fn mistake(&mut self, pointer: &Pointer, place: Place, message: String) {
        self.mistakes.push((
            pointer.clone(),
            Finding::new(self.file, place, pointer.key_path(self.root), message),
        ));
    }

    /// Reads the part at `pointer`, unless something in it is wrong already.
    fn typed<T: DeserializeOwned>(&mut self, pointer: &Pointer, json: Json) -> Option<T> {
        self.typed_under(pointer, 0, json)
    }

    /// As [`typed`](Self::typed), where `json` is wrapped in `wrappers` maps that the file does not have.
    fn typed_under<T: DeserializeOwned>(
        &mut self,
        pointer: &Pointer,
        wrappers: usize,
        json: Json,
    ) -> Option<T> {
        if !self.is_clean(pointer) {
            return None;
        }
        match serde_path_to_error::deserialize(json) {
            Ok(value) => Some(value),
            Err(error) => {
                let below = Pointer::from_json(&json_pointer(error.path()));
                let below = Pointer(below.0.into_iter().skip(wrappers).collect());
                let at = self.root.longest(&pointer.extend(&below));
                let message = match self.root.find(&at).node.origin {
                    Origin::Literal => error.into_inner().to_string(),
                    Origin::Resolved | Origin::Missing => {
                        "the value that was filled in here is not accepted".to_owned()
                    }
                };
                self.value(&at, message);
                None
            }
        }
    }

    /// The top-level keys that are not sections of their own; the defaults for those in which something is wrong.
    fn globals(&mut self) -> Globals {
        let own: Map<String, Json> = self
            .root
            .entries()
            .iter()
            .filter(|(key, _)| {
                !matches!(
                    &*key.name,
                    "sources" | "pipeline" | "pipelines" | "sink" | "sinks"
                )
            })
            .filter(|(key, _)| self.is_clean(&Pointer::new([&key.name])))
            .map(|(key, node)| (key.name.clone(), node.to_json()))
            .collect();
        match serde_path_to_error::deserialize(Json::Object(own)) {
            Ok(globals) => globals,
            Err(error) => {
                let at = Pointer::from_json(&json_pointer(error.path()));
                self.value(&at, error.into_inner().to_string());
                Globals::default()
            }
        }
    }
}
