//! What only the sections together can say.

use std::collections::BTreeMap;

use headgate_sdk::Str;

use super::load::{Judge, entries};
use super::model::{Config, DEFAULT_PIPELINE, DEFAULT_SINK};
use super::suggest::{nearest, one_of};
use super::tree::{Node, Pointer};
use crate::pipeline::{Step, set::misspelt};
use crate::sink::{Kind, config::Buffer, kafka::Delivery};

/// Reports names that point nowhere, things given twice, and what nobody uses.
pub(super) fn across(judge: &mut Judge<'_>, config: &Config) {
    either(judge, "pipeline", "pipelines", DEFAULT_PIPELINE);
    either(judge, "sink", "sinks", DEFAULT_SINK);
    pipelines_exist(judge);
    sinks_exist(judge);
    listeners_differ(judge, config);
    one_claim_check(judge, config);
    paths_differ(judge, config);
    sources_warn(judge, config);
    exactly_once_stands_alone(judge, config);
    types_are_facts(judge);
}

/// Payloads lie in one place, and whoever signs for it does so wholly.
fn one_claim_check(judge: &mut Judge<'_>, config: &Config) {
    let at = Pointer::new(["claim_check"]);
    let store = &config.globals.claim_check;
    let Some(bucket) = &store.s3 else {
        return;
    };
    if store.folder.is_some() {
        judge.key(
            &at.join("folder"),
            "payloads lie in a folder or in a bucket: keep one of `folder` and `s3`".to_owned(),
        );
    }
    if bucket.access_key_id.is_some() != bucket.secret_access_key.is_some() {
        let message = "write `access_key_id` and `secret_access_key` both, or neither (then the environment or the machine gives them)";
        judge.key(&at.join("s3"), message.to_owned());
    }
}

/// An event says what happened. A name that says what to do makes a queue of commands out of it.
fn types_are_facts(judge: &mut Judge<'_>) {
    let root = judge.root();
    for (_, at, source) in entries(root, "sources") {
        for key in ["event_type", "record_type"] {
            is_fact(judge, &at.join(key), source.get(key));
        }
    }
    for (at, step) in steps(root) {
        let fields = step.get("set").and_then(|set| set.get("fields"));
        let at = at.join("set").join("fields").join("type");
        is_fact(judge, &at, fields.and_then(|fields| fields.get("type")));
    }
}

fn is_fact(judge: &mut Judge<'_>, at: &Pointer, name: Option<&Node>) {
    let Some(name) = name.and_then(Node::text) else {
        return;
    };
    if let Some(verb) = name.split('.').find(|word| IMPERATIVES.contains(word)) {
        judge.warn(
            at,
            format!(
                "`{name}` tells somebody to `{verb}`; an event is a fact: name what happened, like `invoice.received.v1`"
            ),
        );
    }
}

/// The steps of all pipelines, with their places.
fn steps(root: &Node) -> Vec<(Pointer, &Node)> {
    let short = root
        .get("pipeline")
        .map(|node| ("", Pointer::new(["pipeline"]), node));
    entries(root, "pipelines")
        .chain(short)
        .flat_map(|(_, at, pipeline)| {
            let steps = pipeline.items().iter().enumerate();
            steps
                .map(move |(n, step)| (at.join(n), step))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Verbs that commands are made of.
const IMPERATIVES: [&str; 32] = [
    "add", "apply", "approve", "archive", "cancel", "charge", "check", "create", "delete", "do",
    "execute", "export", "generate", "handle", "import", "insert", "invoke", "notify", "pay",
    "process", "publish", "refund", "remove", "run", "send", "start", "stop", "submit", "sync",
    "trigger", "update", "validate",
];

/// Where another sink decides too when an event is done, no transaction of this one can.
fn exactly_once_stands_alone(judge: &mut Judge<'_>, config: &Config) {
    for sink in &config.sinks {
        let Kind::Kafka(kafka) = &sink.kind else {
            continue;
        };
        if kafka.delivery != Delivery::ExactlyOnce {
            continue;
        }
        let at = if judge.root().get("sink").is_some() {
            Pointer::new(["sink"])
        } else {
            Pointer::new(["sinks", sink.name.as_str()])
        };
        let at = at.join("delivery");
        if sink.common.buffer == Buffer::Log {
            judge.value(
                &at,
                "cannot be `exactly_once` behind `buffer: log`, which is read again after a crash; remove `buffer`",
            );
        }
        let other = config
            .sinks
            .iter()
            .find(|other| other.name != sink.name && other.common.required);
        if !sink.common.required {
            judge.value(
                &at,
                "cannot be `exactly_once` with `required: false`: nobody waits for this sink; remove `required`",
            );
        } else if let Some(other) = other {
            judge.value(
                &at,
                format!(
                    "cannot be `exactly_once` beside `{}`, which sources wait for too; write `required: false` there",
                    other.name
                ),
            );
        }
    }
}

fn either(judge: &mut Judge<'_>, short: &'static str, long: &'static str, name: &str) {
    if judge.root().get(short).is_some() && judge.root().get(long).is_some() {
        judge.key(
            &Pointer::new([short]),
            format!("`{short}` is short for `{long}` with a single `{name}`; keep one of the two"),
        );
    }
}

fn names<'n>(
    root: &'n Node,
    short: &'static str,
    long: &'static str,
    default: &'n str,
) -> Vec<&'n str> {
    let mut names: Vec<&str> = entries(root, long).map(|(name, ..)| name).collect();
    if root.get(short).is_some() || root.get(long).is_none() {
        names.push(default);
    }
    names
}

fn pipelines_exist(judge: &mut Judge<'_>) {
    let root = judge.root();
    let mut known = names(root, "pipeline", "pipelines", DEFAULT_PIPELINE);
    known.push(DEFAULT_PIPELINE);
    let mut used = Vec::new();
    for (_, at, node) in entries(root, "sources") {
        let Some(pipeline) = node.get("pipeline").and_then(Node::text) else {
            used.push(DEFAULT_PIPELINE);
            continue;
        };
        used.push(pipeline);
        if !known.contains(&pipeline) {
            judge.value(
                &at.join("pipeline"),
                unknown("pipeline", pipeline, &known, "pipelines"),
            );
        }
    }
    for (name, at, _) in entries(root, "pipelines") {
        if !used.contains(&name) {
            judge.warn(&at, format!("no source names this pipeline; add `pipeline: {name}` to a source, or remove it"));
        }
    }
    if entries(root, "sources").next().is_none() {
        judge.warn(
            &Pointer::default(),
            "there are no sources, so nothing will arrive; add one under `sources`",
        );
    }
}

fn sinks_exist(judge: &mut Judge<'_>) {
    let root = judge.root();
    let known = names(root, "sink", "sinks", DEFAULT_SINK);
    for (at, step) in steps(root) {
        let Some(route) = step.get("route") else {
            continue;
        };
        let at = at.join("route");
        listed_sinks_exist(judge, &at, route, &known);
        let rules = route.get("rules").map(Node::items).unwrap_or_default();
        for (m, rule) in rules.iter().enumerate() {
            listed_sinks_exist(judge, &at.join("rules").join(m), rule, &known);
        }
    }
}

fn listed_sinks_exist(judge: &mut Judge<'_>, at: &Pointer, keys: &Node, known: &[&str]) {
    let listed = keys.get("sinks").map(Node::items).unwrap_or_default();
    for (m, sink) in listed.iter().enumerate() {
        let Some(name) = sink.text().filter(|name| !known.contains(name)) else {
            continue;
        };
        judge.value(
            &at.join("sinks").join(m),
            unknown("sink", name, known, "sinks"),
        );
    }
}

/// What a step alone can say.
pub(super) fn step(judge: &mut Judge<'_>, at: &Pointer, step: &Step) {
    match step {
        Step::Filter(filter) if filter.equals.is_empty() && filter.keep.is_none() => judge.key(
            &at.join("filter"),
            "this filter has neither `equals` nor `keep`, so that everything passes; write what to keep",
        ),
        Step::Route(route) => {
            for (rule, message) in route.unreachable_rules() {
                judge.key(&at.join("route").join("rules").join(rule), message);
            }
        }
        Step::Filter(filter) => {
            for name in filter.equals.keys() {
                if let Some(known) = misspelt(name) {
                    judge.key(
                        &at.join("filter").join("equals").join(name),
                        format!("there is no attribute `{name}`, so that no event matches; did you mean `{known}`?"),
                    );
                }
            }
        }
        Step::Redact(redact) => {
            if let Some((key, message)) = redact.contradiction() {
                judge.value(&at.join("redact").join(key), message);
            }
        }
        Step::Validate(validate) => {
            if let Err(message) = validate.schema.load(judge.folder()) {
                judge.value(&at.join("validate").join("schema"), message);
            }
        }
        Step::RateLimit(limit) => {
            if let Some((key, message)) = limit.contradiction() {
                judge.value(&at.join("rate_limit").join(key), message);
            }
        }
        _ => {}
    }
}

/// What the steps of one pipeline have to agree on.
pub(super) fn pipeline(judge: &mut Judge<'_>, steps: &[(Pointer, Step)]) {
    let mut names = BTreeMap::new();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut routed = false;
    for (at, step) in steps {
        let earlier = kinds.entry(step.kind()).or_default();
        let name = step.name(*earlier);
        *earlier += 1;
        match step {
            Step::Route(_) if routed => judge.key(
                &at.join("route"),
                "a pipeline has one `route`, and this one is never asked; add its rules to the first",
            ),
            Step::Route(_) => routed = true,
            _ if routed => judge.key(
                &at.join(step.kind()),
                "this step stands behind `route`, which decides last; move it before `route`",
            ),
            _ => {}
        }
        if let Some(first) = names.insert(name.clone(), at) {
            judge.key(
                &at.join(step.kind()),
                format!(
                    "the step `{name}` is there already (`{}`); figures, dead letters and state are kept by name: give one of them another `name`",
                    first.key_path(judge.root())
                ),
            );
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&str], section: &str) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("there is no {what} `{name}`; did you mean `{near}`?"),
        None => {
            let mut known: Vec<&str> = known.to_vec();
            known.sort_unstable();
            known.dedup();
            format!(
                "there is no {what} `{name}`; write {}, or add `{name}` under `{section}`",
                one_of(known)
            )
        }
    }
}

fn listeners_differ(judge: &mut Judge<'_>, config: &Config) {
    let (http, admin) = (config.globals.http.listen, config.globals.admin.listen);
    let overlap =
        http.ip() == admin.ip() || http.ip().is_unspecified() || admin.ip().is_unspecified();
    if http.port() == admin.port() && http.port() != 0 && overlap {
        let at = if judge.root().get("admin").is_some() {
            ["admin", "listen"]
        } else {
            ["http", "listen"]
        };
        judge.value(
            &Pointer::new(at),
            format!(
                "`http` and `admin` both listen on port {}; give one of them another port",
                http.port()
            ),
        );
    }
}

fn paths_differ(judge: &mut Judge<'_>, config: &Config) {
    let mut taken: BTreeMap<String, (Str, usize)> = BTreeMap::new();
    for source in &config.sources {
        let at = Pointer::new(["sources", &source.name]);
        if !judge.is_clean(&at) {
            continue;
        }
        let info = config.source_info(source, &Str::new_static("unknown"));
        for path in (source.connector.http_paths)(source.keys.expose(), &info) {
            match taken.get(&path) {
                Some((other, line)) => {
                    let message = format!(
                        "the source `{other}` on line {line} answers on `{path}` already; give one of them another `path`"
                    );
                    judge.key(&at, message);
                }
                None => _ = taken.insert(path, (source.name.clone(), judge.line(&at))),
            }
        }
    }
}

/// What the connectors have to say about sources that would start.
fn sources_warn(judge: &mut Judge<'_>, config: &Config) {
    for source in &config.sources {
        let at = Pointer::new(["sources", &source.name]);
        if !judge.is_clean(&at) {
            continue;
        }
        let info = config.source_info(source, &Str::new_static("unknown"));
        for found in (source.connector.warnings)(source.keys.expose(), &info) {
            judge.warn(
                &at.extend(&Pointer::from_json(&found.pointer)),
                found.message,
            );
        }
    }
}
