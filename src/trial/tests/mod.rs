mod examples;

use std::path::Path;

use super::*;
use crate::config::tests::CONNECTORS;
use crate::config::{Loader, document};

const CONFIG: &str = r#"
sources:
  shop: { type: push, secrets: [s], tenant: acme }
pipeline:
  - filter: { keep: '%type != "ping.v1"' }
  - transform: { types: ["order.*"], vrl: '.total = to_float!(.total)' }
  - route:
      topic: "{tenantid}.{type}"
      key: "{/id}"
      rules:
        - { when: "(to_float(.total) ?? 0.0) > 1000", sinks: [main] }
        - { sinks: [audit] }
sinks:
  main: { type: stdout }
  audit: { type: stdout }
"#;

fn outcome(case: &str) -> (Case, Result<Outcome, TrialError>) {
    let loaded = Loader::new()
        .connectors(CONNECTORS)
        .read(Path::new("headgate.yaml"), CONFIG)
        .unwrap_or_else(|error| panic!("{error}"));
    let file: CaseFile =
        document(Path::new("cases.test.yaml"), case).unwrap_or_else(|error| panic!("{error}"));
    let case = file.tests.into_iter().next().unwrap();
    let outcome = Trial::new(&loaded.config).run(&case, Path::new(""));
    (case, outcome)
}

fn verdict(case: &str) -> Result<(), Mismatch> {
    let (case, outcome) = outcome(case);
    compare(&case.expect, &outcome.unwrap())
}

#[test]
fn a_case_that_holds_passes() {
    verdict(
        r#"
tests:
  - name: large orders go to main
    event: { type: order.paid.v1, data: { id: 7, total: "1200.5", n: 1.0 } }
    expect:
      sinks:
        main: [{ topic: acme.order.paid.v1, key: "7", /total: 1200.5, /note: null, tenantid: acme, subject: null, data: { id: 7, total: 1200.5, n: 1 } }]
"#,
    )
    .unwrap();
    verdict("tests: [{ name: pings, event: { type: ping.v1 }, expect: { dropped: true } }]")
        .unwrap();
    verdict(
        r#"
tests:
  - name: no number
    event: { type: order.paid.v1, data: { total: much } }
    expect: { dead_letters: [{ step: transform, reason: script_failed, message: to_float }] }
"#,
    )
    .unwrap();
}

#[test]
fn a_case_that_does_not_hold_shows_the_difference() {
    let mismatch = verdict(
        r#"
tests:
  - name: wrong
    event: { type: order.paid.v1, data: { id: 7, total: 5 } }
    expect: { sinks: { main: [{ key: "7", data: { id: 7, total: 5 } }] } }
"#,
    )
    .unwrap_err();
    let lines: Vec<String> = diff(&mismatch)
        .into_iter()
        .map(|(sign, line)| format!("{sign}{line}"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    let reports = [Report {
        file: "a.test.yaml".into(),
        name: "a <b> & \"c\"\u{1}".into(),
        result: Err(Failed::Mismatch(mismatch)),
        took: std::time::Duration::from_millis(3),
    }];
    insta::assert_snapshot!(junit(&reports));
}

#[test]
fn what_comes_unexpected_fails() {
    for case in [
        "tests: [{ name: a, event: { type: order.paid.v1, data: { total: much } }, expect: {} }]",
        "tests: [{ name: a, event: { type: x.v1, data: {} }, expect: { dropped: true } }]",
        "tests: [{ name: a, event: { type: x.v1, data: {} }, expect: { sinks: {} } }]",
        "tests: [{ name: a, event: { type: ping.v1 }, expect: { sinks: { nosuch: [{ key: a }] } } }]",
        "tests: [{ name: a, event: { type: ping.v1 }, expect: { dead_letters: [{ reason: x }] } }]",
    ] {
        assert!(verdict(case).is_err(), "{case}");
    }
}

#[test]
fn a_case_that_cannot_be_tried_says_why() {
    for (case, told) in [
        (
            "tests: [{ name: a, source: shpo, event: {}, expect: {} }]",
            "there is no source `shpo`; there are `shop`",
        ),
        (
            "tests: [{ name: a, event: { hop: much }, expect: {} }]",
            "`hop` must be an integer of 32 bits",
        ),
        (
            "tests: [{ name: a, event: { My: 1 }, expect: {} }]",
            "`My` is no attribute name",
        ),
        (
            "tests: [{ name: a, event: { tpye: a.v1 }, expect: {} }]",
            "there is no attribute `tpye`; did you mean `type`?",
        ),
        (
            "tests: [{ name: a, event: { file: nowhere.json }, expect: {} }]",
            "`nowhere.json` cannot be read",
        ),
    ] {
        let error = outcome(case).1.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let wrong = document::<CaseFile>(
        Path::new("c.test.yaml"),
        "tests:\n  - name: a\n    evnt: {}\n    expect: {}\n",
    );
    let error = wrong.unwrap_err().to_string();
    assert!(
        error.contains("c.test.yaml:3:5: tests[0].evnt: unknown key; did you mean `event`?"),
        "{error}"
    );
    let wrong = document::<CaseFile>(Path::new("c.test.yaml"), "tests: []\ncolour: red\n");
    let error = wrong.unwrap_err().to_string();
    assert!(
        error.contains("c.test.yaml:2:1: colour: unknown key; the keys here are `tests`"),
        "{error}"
    );
}

#[test]
fn steps_are_seen_one_after_the_other() {
    let (_, outcome) = outcome(
        "tests: [{ name: a, event: { type: order.paid.v1, data: { total: '5' } }, expect: {} }]",
    );
    let seen: Vec<(String, usize)> = outcome
        .unwrap()
        .seen
        .iter()
        .map(|seen| (seen.step.to_string(), seen.events.len()))
        .collect();
    let expected = [("input", 1), ("filter", 1), ("transform", 1), ("route", 0)]
        .map(|(step, count)| (step.to_owned(), count));
    assert_eq!(seen, expected);
}
