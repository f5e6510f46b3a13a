//! `headgate test`, as it is run before a deployment.

use super::process::{Ended, Folder};

const CONFIG: &str = r#"
sources:
  shop: { type: webhook, scheme: github, secrets: [a-long-enough-secret], tenant: acme }
pipeline:
  - filter: { keep: '%type != "github.ping.v1"' }
  - transform: { types: ["order.*"], vrl: '.total = to_float!(.total)' }
  - redact: { fields: [/card], keep_last: 4 }
  - route: { topic: "{tenantid}.{type}", key: "{/id}" }
"#;

const CASES: &str = r#"
tests:
  - name: an order is keyed by its number
    event: { type: order.placed.v1, data: { id: 7, total: "12.5", card: "4111111111111111" } }
    expect: { sinks: { main: [{ topic: acme.order.placed.v1, key: "7", /total: 12.5 }] } }
  - name: pings are dropped
    event: { type: github.ping.v1 }
    expect: { dropped: true }
  - name: a total that is no number
    event: { type: order.placed.v1, data: { id: 8, total: much } }
    expect: { dead_letters: [{ step: transform, reason: script_failed }] }
"#;

/// The third one is wrong about its total.
const WRONG: &str = r#"
tests:
  - name: an order is <keyed> & its total is 13
    event: { type: order.placed.v1, data: { id: 7, total: "12.5" } }
    expect: { sinks: { main: [{ key: "7", /total: 13 }] } }
"#;

fn folder() -> Folder {
    let folder = Folder::with(CONFIG);
    folder.write("headgate.test.yaml", CASES);
    folder
}

/// The output with events cut down to what a step can change.
fn shown(ended: &Ended) -> String {
    let line = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(event) => format!("    {} {}", event["type"], event["data"]),
        Err(_) => line.to_owned(),
    };
    ended
        .stdout
        .lines()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn cases_that_hold_end_with_zero() {
    let ended = folder().run(&["test"]).expect(0);
    insta::assert_snapshot!(ended.stdout, @r"
    pass ./headgate.test.yaml an order is keyed by its number
    pass ./headgate.test.yaml pings are dropped
    pass ./headgate.test.yaml a total that is no number
    3 passed, 0 failed
    ");
    assert_eq!(ended.stderr, "");
}

#[test]
fn steps_show_the_event_behind_each_layer() {
    let ended = folder().run(&["test", "--steps"]).expect(0);
    insta::assert_snapshot!(shown(&ended), @r#"
    pass ./headgate.test.yaml an order is keyed by its number
      input
        "order.placed.v1" {"card":"4111111111111111","id":7,"total":"12.5"}
      filter
        "order.placed.v1" {"card":"4111111111111111","id":7,"total":"12.5"}
      transform
        "order.placed.v1" {"card":"4111111111111111","id":7,"total":12.5}
      redact
        "order.placed.v1" {"card":"************1111","id":7,"total":12.5}
      route
      main: topic acme.order.placed.v1, key 7
    pass ./headgate.test.yaml pings are dropped
      input
        "github.ping.v1" null
      filter
        nothing left here
      transform
        nothing left here
      redact
        nothing left here
      route
    pass ./headgate.test.yaml a total that is no number
      input
        "order.placed.v1" {"id":8,"total":"much"}
      filter
        "order.placed.v1" {"id":8,"total":"much"}
      transform
        dead letter: script_failed: function call error for "to_float" at (9:26): Invalid floating point number "much": invalid float literal
      redact
        nothing left here
      route
    3 passed, 0 failed
    "#);
}

#[test]
fn a_case_that_does_not_hold_ends_with_one_and_shows_the_difference() {
    let folder = folder();
    folder.write("wrong.test.yaml", WRONG);
    // Beside cases that hold, and with both files named.
    let ended = folder
        .run(&["test", "headgate.test.yaml", "wrong.test.yaml"])
        .expect(1);
    insta::assert_snapshot!(ended.stdout, @r#"
    pass headgate.test.yaml an order is keyed by its number
    pass headgate.test.yaml pings are dropped
    pass headgate.test.yaml a total that is no number
    FAIL wrong.test.yaml an order is <keyed> & its total is 13
         - expected, + came
         {
           "dead_letters": [],
           "sinks": {
             "main": [
               {
       -         "/total": 13,
       +         "/total": 12.5,
                 "key": "7"
               }
             ]
           }
         }
    3 passed, 1 failed
    "#);
    assert_eq!(ended.stderr, "");
    assert!(!ended.stdout.contains('\u{1b}'), "a pipe gets no colours");
    folder.run(&["test"]).expect(0);
    folder.run(&["test", "--filter", "pings"]).expect(0);
}

#[test]
fn the_difference_is_coloured_where_colours_are_wanted() {
    let folder = folder();
    folder.write("headgate.test.yaml", WRONG);
    let run = |variables: &[(&str, &str)]| {
        let mut command = folder.command(&["test"]);
        command.env_remove("NO_COLOR").env_remove("FORCE_COLOR");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = run(&[("FORCE_COLOR", "1")]);
    for wanted in [
        "\u{1b}[31mFAIL\u{1b}[0m",
        "\u{1b}[31m   -         \"/total\": 13,\u{1b}[0m",
        "\u{1b}[32m   +         \"/total\": 12.5,\u{1b}[0m",
        "\u{1b}[31m0 passed, 1 failed\u{1b}[0m",
    ] {
        assert!(coloured.contains(wanted), "{wanted:?} in {coloured:?}");
    }
    for plain in [run(&[]), run(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")])] {
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
    }
}

#[test]
fn junit_tells_ci_what_failed_and_why() {
    let folder = folder();
    folder.write("wrong.test.yaml", WRONG);
    folder
        .run(&[
            "test",
            "--junit",
            "results.xml",
            "headgate.test.yaml",
            "wrong.test.yaml",
        ])
        .expect(1);
    let xml = std::fs::read_to_string(folder.path().join("results.xml")).unwrap();
    // Times differ.
    let pieces: Vec<&str> = xml.split(" time=\"").collect();
    let xml = pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| match piece.split_once('"') {
            Some((time, rest)) if n > 0 => {
                assert!(time.parse::<f64>().is_ok(), "{time}");
                rest
            }
            _ => piece,
        })
        .collect::<String>();
    insta::assert_snapshot!(xml, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="headgate" tests="4" failures="1">
      <testsuite name="headgate.test.yaml" tests="3" failures="0">
        <testcase classname="headgate.test.yaml" name="an order is keyed by its number"/>
        <testcase classname="headgate.test.yaml" name="pings are dropped"/>
        <testcase classname="headgate.test.yaml" name="a total that is no number"/>
      </testsuite>
      <testsuite name="wrong.test.yaml" tests="1" failures="1">
        <testcase classname="wrong.test.yaml" name="an order is &lt;keyed&gt; &amp; its total is 13">
          <failure message="something else came out"> {
       &quot;dead_letters&quot;: [],
       &quot;sinks&quot;: {
         &quot;main&quot;: [
           {
    -        &quot;/total&quot;: 13,
    +        &quot;/total&quot;: 12.5,
             &quot;key&quot;: &quot;7&quot;
           }
         ]
       }
     }
    </failure>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn what_is_no_test_is_told_apart_from_one_that_fails() {
    let folder = Folder::with(CONFIG);
    let ended = folder.run(&["test"]).expect(2);
    assert!(
        ended.stderr.contains("there is no `*.test.yaml`"),
        "{}",
        ended.stderr
    );
    folder.write(
        "headgate.test.yaml",
        "tests:\n  - nmae: a\n    event: {}\n    expect: {}\n",
    );
    let ended = folder.run(&["test"]).expect(1);
    assert!(
        ended.stderr.contains("headgate.test.yaml:2:5")
            && ended.stderr.contains("did you mean `name`?"),
        "{}",
        ended.stderr
    );
    folder.write(
        "headgate.test.yaml",
        "tests:\n  - name: a\n    source: shpo\n    event: {}\n    expect: {}\n",
    );
    let ended = folder.run(&["test"]).expect(1);
    assert!(
        ended
            .stdout
            .contains("there is no source `shpo`; there are `shop`"),
        "{}",
        ended.stdout
    );
    // A configuration that is wrong is told before any case.
    folder.write("headgate.yaml", &CONFIG.replace("to_float!", "to_flaot!"));
    let ended = folder.run(&["test"]).expect(1);
    assert!(
        ended.stderr.contains("did you mean \"to_float\"?") && ended.stdout.is_empty(),
        "{}",
        ended.stderr
    );
}
