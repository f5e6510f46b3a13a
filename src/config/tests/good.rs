//! Files that load.

use headgate_sdk::Str;

use super::{CONNECTORS, load};
use crate::config::{Loader, schema};

const FULL: &str = r#"
group: acme-events
tenant: acme
public_url: https://hooks.acme.example
data_dir: ./state
http: { listen: 127.0.0.1:8081 }
admin: { listen: "${PORT}" }
shards: 4
limits: { lane_in_flight: 16MiB, shutdown: 10s, journal: 2GB }
sources:
  github: { type: push, secrets: ["${SECRET}", "${ABSENT:-fallback}", "file:/run/secrets/key"], max_body: 1MB }
  crm:
    type: pull
    url: ${DB}
    tables: [public.accounts]
    tenant: other
    pipeline: strict
pipelines:
  default:
    - filter: { equals: { type: [a.v1, b.v1] } }
  strict:
    - rate_limit: { per: source, limit: 100/minute, on_limit: wait }
    - route: { topic: "{tenantid}.{type}", sinks: [main] }
sinks:
  main: { type: log }
  console: { type: stdout, required: false }
"#;

#[test]
fn reads_every_section() {
    let loaded = load(FULL).unwrap_or_else(|error| panic!("{error}"));
    let config = &loaded.config;
    assert_eq!(config.globals.group, "acme-events");
    assert_eq!(config.globals.admin.listen.port(), 9000);
    assert_eq!(config.globals.limits.lane_in_flight.bytes(), 16 << 20);
    assert_eq!(config.globals.limits.journal.bytes(), 2_000_000_000);
    let names: Vec<_> = config
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.common.pipeline()))
        .collect();
    assert_eq!(names, [("github", "default"), ("crm", "strict")]);
    assert_eq!(
        config.sources[0].keys.expose()["secrets"],
        serde_json::json!(["hunter2", "fallback", "hunter2"])
    );
    assert_eq!(config.pipelines["strict"].len(), 2);
    assert_eq!(
        config
            .sinks
            .iter()
            .map(|sink| (sink.name.as_str(), sink.common.required))
            .collect::<Vec<_>>(),
        [("main", true), ("console", false)]
    );
    assert_eq!(loaded.warnings, []);

    let info = config.source_info(&config.sources[1], &Str::from("i1"));
    assert_eq!(
        (info.urn.as_str(), info.tenant.as_str()),
        ("urn:headgate:other:pull:crm", "other")
    );
}

#[test]
fn never_prints_a_secret() {
    let printed = format!("{:?}", load(FULL).unwrap());
    assert!(
        printed.contains("github") && !printed.contains("hunter2") && !printed.contains("fallback"),
        "{printed}"
    );
}

#[test]
fn needs_almost_nothing() {
    let config = load("sources: { a: { type: push, secrets: ['${SECRET}'] } }")
        .unwrap()
        .config;
    assert_eq!(config.sinks[0].name, "main");
    assert_eq!(config.sinks[0].kind, crate::sink::Kind::default());
    assert!(config.pipelines["default"].is_empty());
    assert_eq!(config.globals.admin.listen.to_string(), "127.0.0.1:9600");
}

#[test]
fn takes_the_short_forms() {
    let config =
        load("pipeline: [{ filter: { equals: { type: [a.v1] } } }]\nsink: { type: stdout }")
            .unwrap()
            .config;
    assert_eq!(config.pipelines["default"].len(), 1);
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn fills_in_by_what_the_key_wants() {
    let text = "sources:\n  a:\n    type: push\n    secrets: [\"${NUMERIC}\"]\n    concurrency: ${TEN}\n    path: /$${x}\n";
    let config = load(text).unwrap_or_else(|error| panic!("{error}")).config;
    let keys = config.sources[0].keys.expose();
    assert_eq!(keys["secrets"][0], "007");
    assert_eq!(keys["concurrency"], 10);
    assert_eq!(keys["path"], "/${x}");
    let numeric = load("sources:\n  a:\n    type: push\n    secrets:\n      - ${NUMERIC}\n")
        .unwrap()
        .config;
    assert_eq!(numeric.sources[0].keys.expose()["secrets"][0], "007");
}

#[test]
fn aliases_are_copies() {
    let text = "sources:\n  a: { type: push, secrets: &keys ['${SECRET}'] }\n  b: { type: push, secrets: *keys }";
    let config = load(text).unwrap().config;
    assert_eq!(
        config.sources[1].keys.expose()["secrets"],
        serde_json::json!(["hunter2"])
    );
}

#[test]
fn warns_of_what_is_probably_not_meant() {
    let warnings = load("pipelines: { spare: [] }").unwrap().warnings;
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
        headgate.yaml:1:1: there are no sources, so nothing will arrive; add one under `sources`
        headgate.yaml:1:14: pipelines.spare: no source names this pipeline; add `pipeline: spare` to a source, or remove it
        ");
}

#[test]
fn a_missing_file_says_how_to_write_one() {
    let error = Loader::new()
        .load("/nowhere/headgate.yaml".as_ref())
        .unwrap_err();
    insta::assert_snapshot!(error, @"/nowhere/headgate.yaml: cannot read the configuration: No such file or directory (os error 2); `headgate init` writes one, `-c FILE` names another");
}

/// Every object of the schema refuses keys that it does not know, or says what its values are.
#[test]
fn the_schema_refuses_unknown_keys_everywhere() {
    fn judge(at: &str, schema: &serde_json::Value, open: &mut Vec<String>) {
        let conditional = schema.get("allOf").is_some();
        if schema.get("properties").is_some()
            && !conditional
            && !at.ends_with("/if")
            && schema.get("additionalProperties").is_none()
        {
            open.push(at.to_owned());
        }
        match schema {
            serde_json::Value::Object(map) => {
                map.iter()
                    .for_each(|(key, value)| judge(&format!("{at}/{key}"), value, open));
            }
            serde_json::Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(n, value)| judge(&format!("{at}/{n}"), value, open));
            }
            _ => {}
        }
    }
    let mut open = Vec::new();
    judge("", &schema(CONNECTORS), &mut open);
    assert!(open.is_empty(), "these accept any key: {open:?}");
}
