//! What can be told without a process of its own; `tests/behaviour/cli.rs` runs the program.

use clap::Parser;

use super::{Cli, command, init, tail};
use crate::config::Loader;

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_command_takes_the_configuration_file() {
    for line in [
        "validate",
        "init",
        "status",
        "sources list",
        "checkpoints show",
        "reload",
        "tail",
        "schema",
        "connectors",
    ] {
        let words = ["headgate"]
            .into_iter()
            .chain(line.split(' '))
            .chain(["-c", "other.yaml"]);
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(cli.config, std::path::Path::new("other.yaml"));
    }
}

#[test]
fn since_takes_instants_and_durations() {
    assert_eq!(
        tail::instant("2026-05-04T12:00:00+02:00").unwrap(),
        "2026-05-04T10:00:00Z"
    );
    let ago: jiff::Timestamp = tail::instant("10m").unwrap().parse().unwrap();
    let seconds = jiff::Timestamp::now().duration_since(ago).as_secs();
    assert!((600..660).contains(&seconds), "{seconds}");
    assert_eq!(
        tail::instant("yesterday").unwrap_err().code,
        super::exit::USAGE
    );
}

#[test]
fn a_human_line_keeps_the_terminal_safe() {
    let event = r#"{"logposition":7,"time":"2026-05-04T12:00:00Z","type":"a.v1","source":"urn:headgate:acme:webhook:github","subject":"x\u001b[2Jy","data":{"a":"\u0007"}}"#;
    let out = super::output::Output {
        is_terminal: true,
        colours: false,
    };
    insta::assert_snapshot!(tail::human(out, event), @r#"     7 2026-05-04T12:00:00Z a.v1 github x·[2Jy {"a":"\u0007"}"#);
}

/// The starter loads: what it names exists, and no variable needs to be set.
#[test]
fn the_starter_is_a_configuration() {
    let starter = init::starter().unwrap_or_else(|failure| panic!("{:?}", failure.message));
    assert!(!starter.contains("{{"), "a placeholder was left");
    let loaded = Loader::new()
        .variables(&|_| None)
        .read("headgate.yaml".as_ref(), &starter);
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, []);
    assert_ne!(
        starter,
        init::starter().unwrap_or_else(|failure| panic!("{:?}", failure.message)),
        "the secret is not random"
    );
}

#[test]
fn cases_that_hold_are_fine_and_others_are_wrong_also_as_junit() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    write(
        "headgate.yaml",
        "sources: { in: { type: webhook, scheme: github, secrets: [a-long-enough-secret] } }\npipeline: [{ filter: { equals: { type: [a.v1] } } }]\n",
    );
    let run = |words: &[&str]| {
        let words = ["headgate", "test"].iter().chain(words);
        let Cli {
            command: super::Command::Test(args),
            ..
        } = Cli::try_parse_from(words).unwrap()
        else {
            panic!("not `test`");
        };
        let context = super::Context {
            file: file("headgate.yaml"),
            out: super::output::Output {
                is_terminal: false,
                colours: false,
            },
        };
        super::test::run(&args, &context).map_err(|failure| failure.code)
    };
    assert_eq!(run(&[]), Err(super::exit::USAGE));
    write(
        "headgate.test.yaml",
        "tests: [{ name: kept, event: { type: a.v1 }, expect: { sinks: { main: [{ type: a.v1 }] } } }]\n",
    );
    assert_eq!(run(&["--steps"]), Ok(()));
    assert_eq!(run(&["--filter", "nothing"]), Err(super::exit::USAGE));
    write(
        "headgate.test.yaml",
        "tests: [{ name: kept, event: { type: a.v1 }, expect: { dropped: true } }]\n",
    );
    let junit = file("results.xml");
    assert_eq!(
        run(&["--junit", junit.to_str().unwrap()]),
        Err(super::exit::WRONG)
    );
    assert!(
        std::fs::read_to_string(&junit)
            .unwrap()
            .contains("failures=\"1\"")
    );
    write("headgate.test.yaml", "tests: [{ nam: kept }]\n");
    assert_eq!(run(&[]), Err(super::exit::WRONG));
    assert_eq!(run(&["/nowhere.test.yaml"]), Err(super::exit::FAILED));
}

#[test]
fn the_reference_page_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/commands.md");
    let generated = super::reference::page();
    if std::env::var_os("HEADGATE_REFRESH").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "docs/reference/commands.md is stale; refresh it with `HEADGATE_REFRESH=1 cargo test -p headgate --lib is_fresh` and commit it"
    );
}
