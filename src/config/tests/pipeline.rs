//! What is told about pipelines, with the place of each mistake.

use std::path::Path;

use super::{CONNECTORS, load, told};
use crate::config::Loader;

/// A pipeline of `steps`, each on lines of its own.
fn pipeline(steps: &str) -> String {
    format!("sources:\n  a: {{ type: push, secrets: [x] }}\npipeline:\n{steps}")
}

#[test]
fn names_and_units_that_are_misspelt() {
    let steps = r#"  - filtre: { keep: 'true' }
  - filter: { kepe: 'true' }
  - filter: { equals: { tyep: [a.v1] } }
  - max_age: { age: 2hours, on_stale: drop_it }
  - dedup: { key: .id, window: 24 }
  - set: { fields: { subjct: x, /a: "{tyep}", id: y } }
  - rate_limit: { limit: 100/minuet }
  - route: { topic: "{tenantid}.{tpye}", key: "{partitonkey}", headers: { x: "{Subject}" } }
  - remove: { fields: [card] , typse: [a.*] }
  - redact: { fields: [/card], with: masc }
"#;
    insta::assert_snapshot!(told(&pipeline(steps)), @r#"
        headgate.yaml:4:5: pipeline[0].filtre: unknown key; did you mean `filter`?
        headgate.yaml:5:15: pipeline[1].filter.kepe: unknown key; did you mean `keep`?
        headgate.yaml:6:25: pipeline[2].filter.equals.tyep: there is no attribute `tyep`, so that no event matches; did you mean `type`?
        headgate.yaml:7:21: pipeline[3].max_age.age: unknown unit `hours` in `2hours`; the units are ms, s, m (minutes), h, d and w
        headgate.yaml:7:39: pipeline[3].max_age.on_stale: unknown value `drop_it`; did you mean `drop`?
        headgate.yaml:8:32: pipeline[4].dedup.window: `24` has no unit; write for example `24s` for seconds or `24m` for minutes
        headgate.yaml:9:37: pipeline[5].set.fields["/a"]: there is no attribute `tyep`; did you mean `{type}`? (at character 1)
        headgate.yaml:10:26: pipeline[6].rate_limit.limit: unknown period `minuet` in `100/minuet`; the periods are second, minute, hour and day
        headgate.yaml:11:21: pipeline[7].route.topic: there is no attribute `tpye`; did you mean `{type}`? (at character 12)
        headgate.yaml:11:47: pipeline[7].route.key: there is no attribute `partitonkey`; did you mean `{partitionkey}`? (at character 1)
        headgate.yaml:11:78: pipeline[7].route.headers.x: `{Subject}` is neither an attribute, `{/json/pointer}` nor `{lane}` (at character 1)
        headgate.yaml:12:32: pipeline[8].remove.typse: unknown key; did you mean `types`?
        headgate.yaml:13:38: pipeline[9].redact.with: unknown value `masc`; did you mean `mask`?
        "#);
}

#[test]
fn programs_that_do_not_compile() {
    let steps = r#"  - filter: { keep: 'upcas(.a) == "A"' }
  - transform:
      vrl: |
        .a = 1
        .b = to_itn!(.c)
  - filter: { keep: '.total' }
  - filter: { equals: { id: ["1"] }, keep: '.total > 5' }
  - dedup: { key: 'now()', window: 1h }
  - transform: { vrl: '%id = "x"' }
  - route: { rules: [{ when: '.a = 1; true', topic: x }, { topic: y }] }
"#;
    insta::assert_snapshot!(told(&pipeline(steps)), @r#"
        headgate.yaml:4:21: pipeline[0].filter.keep: error[E105]: call to undefined function
          ┌─ line 1, column 1 of the program
          │
        1 │ upcas(.a) == "A"
          │ ^^^^^
          │ │
          │ undefined function
          │ did you mean "upcase"?
          │
          = learn more about error code 105 at https://errors.vrl.dev/105
        headgate.yaml:7:9: pipeline[1].transform.vrl: error[E105]: call to undefined function
          ┌─ line 2, column 6 of the program
          │
        2 │ .b = to_itn!(.c)
          │      ^^^^^^
          │      │
          │      undefined function
          │      did you mean "to_int"?
          │
          = learn more about error code 105 at https://errors.vrl.dev/105
        headgate.yaml:9:21: pipeline[2].filter.keep: a condition is true or false, but the last expression of this one is string, integer, float, boolean, null, undefined, array or object: compare it, as in `.active == true`
        headgate.yaml:10:44: pipeline[3].filter.keep: error[E100]: unhandled error
          ┌─ line 1, column 1 of the program
          │
        1 │ .total > 5
          │ ^^^^^^^^^^
          │ │
          │ expression can result in runtime error
          │ handle the error case to ensure runtime success
          │
          = see documentation about error handling at https://errors.vrl.dev/#handling
          = learn more about error code 100 at https://errors.vrl.dev/100
        headgate.yaml:11:19: pipeline[4].dedup.key: error[E105]: call to undefined function
          ┌─ line 1, column 1 of the program
          │
        1 │ now()
          │ ^^^
          │ │
          │ undefined function
          │
          = learn more about error code 105 at https://errors.vrl.dev/105
          = `now` is left out here: programs have no clock, chance, network, environment or files, so that a replay gives the same result
        headgate.yaml:12:23: pipeline[5].transform.vrl: error[E315]: mutation of read-only value
          ┌─ line 1, column 1 of the program
          │
        1 │ %id = "x"
          │ ^^^^^ mutation of read-only value
        headgate.yaml:13:30: pipeline[6].route.rules[0].when: error[E315]: mutation of read-only value
          ┌─ line 1, column 1 of the program
          │
        1 │ .a = 1; true
          │ ^^^^ mutation of read-only value
        "#);
}

#[test]
fn routes_that_overlap() {
    let steps = r#"  - route:
      rules:
        - { types: ["invoice.*"], topic: invoices }
        - { types: ["invoice.*"], when: 'exists(.large)', topic: large }
        - { types: [invoice.paid.v1, "invoice.*.v2"], topic: paid }
        - { topic: rest }
        - { types: [order.v1], topic: orders }
"#;
    insta::assert_snapshot!(told(&pipeline(steps)), @r"
        headgate.yaml:7:11: pipeline[0].route.rules[1]: no event gets to this rule, because rule 1 before it takes all that it matches; narrow that one, change their order, or write `match: all`
        headgate.yaml:8:11: pipeline[0].route.rules[2]: no event gets to this rule, because rule 1 before it takes all that it matches; narrow that one, change their order, or write `match: all`
        headgate.yaml:10:11: pipeline[0].route.rules[4]: no event gets to this rule, because rule 4 before it takes all that it matches; narrow that one, change their order, or write `match: all`
        ");
    let all = pipeline(&steps.replace("  - route:", "  - route:\n      match: all"));
    assert_eq!(load(&all).unwrap().warnings, []);
}

#[test]
fn steps_that_do_not_go_together() {
    let steps = r#"  - filter: { name: pings, keep: '%type != "ping.v1"' }
  - dedup: { name: pings, key: .id, window: 1h }
  - filter: { keep: 'exists(.a)' }
  - set: { name: filter-2, fields: { /a: 1 } }
  - filter: { keep: 'exists(.b)' }
  - route: { topic: a }
  - remove: { fields: [/a] }
  - route: { topic: b }
"#;
    insta::assert_snapshot!(told(&pipeline(steps)), @r"
        headgate.yaml:5:5: pipeline[1].dedup: the step `pings` is there already (`pipeline[0]`); figures, dead letters and state are kept by name: give one of them another `name`
        headgate.yaml:7:5: pipeline[3].set: the step `filter-2` is there already (`pipeline[2]`); figures, dead letters and state are kept by name: give one of them another `name`
        headgate.yaml:10:5: pipeline[6].remove: this step stands behind `route`, which decides last; move it before `route`
        headgate.yaml:11:5: pipeline[7].route: a pipeline has one `route`, and this one is never asked; add its rules to the first
        ");
}

#[test]
fn redaction_that_contradicts_itself() {
    let steps = r#"  - redact: { fields: [], with: mask }
  - redact: { fields: [/a], with: hash }
  - redact: { fields: [/a], with: hash, key: "${SECRET}" }
  - redact: { fields: [/a], with: remove, keep_last: 4 }
  - redact: { fields: [id, Card, "/a~2"], on_error: pass }
  - keep_fields: { fields: [a, /b, "/c~"] }
"#;
    insta::assert_snapshot!(told(&pipeline(steps)), @r#"
        headgate.yaml:4:15: pipeline[0].redact.fields: the list is empty; write at least one item
        headgate.yaml:5:35: pipeline[1].redact.with: a hash needs a `key`, since without one anybody can try all values until a hash fits; write `key: "${NAME}"`
        headgate.yaml:6:46: pipeline[2].redact.key: the key has fewer than 16 characters; `openssl rand -hex 32` makes a good one
        headgate.yaml:7:54: pipeline[3].redact.keep_last: only `with: mask` leaves something readable; remove `keep_last`, or write `with: mask`
        headgate.yaml:8:24: pipeline[4].redact.fields[0]: the attribute `id` cannot be changed by a step
        headgate.yaml:8:28: pipeline[4].redact.fields[1]: `Card` is neither a JSON pointer like `/name` nor an attribute (1 to 20 lower-case letters and digits)
        headgate.yaml:8:34: pipeline[4].redact.fields[2]: `~` in a JSON pointer is written `~0`, a slash in a name `~1`
        headgate.yaml:8:53: pipeline[4].redact.on_error: unknown value `pass`; write `dead_letter` or `drop`
        headgate.yaml:9:29: pipeline[5].keep_fields.fields[0]: a JSON pointer begins with `/`: write `/name` or `/outer/inner`
        headgate.yaml:9:36: pipeline[5].keep_fields.fields[2]: `~` in a JSON pointer is written `~0`, a slash in a name `~1`
        "#);
}

#[test]
fn schemas_that_do_not_compile_or_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("type.json"), r#"{"properties":{"a":{"type":"objekt"}}}"#).unwrap();
    std::fs::write(at("json.json"), "{\n  \"type\": }").unwrap();
    let steps = "  - validate: { schema: type.json }\n  - validate: { schema: json.json }\n  - validate: { schema: nowhere.json }\n";
    let text = pipeline(steps);
    std::fs::write(at("headgate.yaml"), &text).unwrap();
    let loaded = Loader::new()
        .connectors(CONNECTORS)
        .load(&at("headgate.yaml"));
    let told = loaded.unwrap_err().to_string();
    let told = told.replace(&folder.path().display().to_string(), "");
    insta::assert_snapshot!(told, @r#"
        /headgate.yaml:4:25: pipeline[0].validate.schema: the schema `/type.json` does not compile at `/properties/a/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword
        /headgate.yaml:5:25: pipeline[1].validate.schema: the schema `/json.json` is not valid JSON: expected value at line 2 column 11
        /headgate.yaml:6:25: pipeline[2].validate.schema: the schema `/nowhere.json` cannot be read: No such file or directory (os error 2)
        "#);
}

#[test]
fn a_schema_that_leads_elsewhere_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let text = pipeline("  - validate: { schema: s.json }\n");
    std::fs::write(folder.path().join("headgate.yaml"), &text).unwrap();
    for schema in [
        r#"{"$schema":"https://json-schema.org/draft-8/schema"}"#,
        r##"{"properties":{"a":{"$ref":"other.json#/x"}}}"##,
        r#"{"properties":{"a":{"$ref":"https://example.com/x.json"}}}"#,
    ] {
        std::fs::write(folder.path().join("s.json"), schema).unwrap();
        let loaded = Loader::new()
            .connectors(CONNECTORS)
            .load(&folder.path().join("headgate.yaml"));
        let told = loaded.unwrap_err().to_string();
        assert!(
            told.contains("headgate.yaml:4:25") && told.contains("s.json` does not compile"),
            "{schema}: {told}"
        );
    }
}

#[test]
fn types_that_give_orders_are_warned_of() {
    let text = r#"sources:
  inbox: { type: files, paths: [./in], event_type: import.invoice.v1, records: { format: csv }, record_type: process.line.v1 }
pipeline:
  - set: { types: [a.v1], fields: { type: "{/kind}.send.v1" } }
  - set: { types: [b.v1], fields: { type: invoice.received.v1 } }
"#;
    let loaded = Loader::new()
        .read(Path::new("headgate.yaml"), text)
        .unwrap_or_else(|error| panic!("{error}"));
    let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
        headgate.yaml:2:40: sources.inbox.event_type: `import.invoice.v1` tells somebody to `import`; an event is a fact: name what happened, like `invoice.received.v1`
        headgate.yaml:2:97: sources.inbox.record_type: `process.line.v1` tells somebody to `process`; an event is a fact: name what happened, like `invoice.received.v1`
        headgate.yaml:4:37: pipeline[0].set.fields.type: `{/kind}.send.v1` tells somebody to `send`; an event is a fact: name what happened, like `invoice.received.v1`
        ");
}
