//! Commands that need no running gateway.

use super::process::{Folder, PROGRAM};
use std::process::{Command, Stdio};

const GOOD: &str = "sources: { inbox: { type: files, paths: [./inbox] } }\n";

#[test]
fn a_good_configuration_is_fine() {
    let folder = Folder::with(GOOD);
    let ended = folder.run(&["validate"]).expect(0);
    assert_eq!(
        ended.stdout,
        "headgate.yaml: fine: 1 source, 1 pipeline, 1 sink\n"
    );
    assert_eq!(ended.stderr, "");
    folder.write("other.yaml", GOOD);
    for arguments in [
        ["validate", "-c", "other.yaml"],
        ["-c", "other.yaml", "validate"],
    ] {
        assert!(
            folder
                .run(&arguments)
                .expect(0)
                .stdout
                .starts_with("other.yaml: fine")
        );
    }
    assert!(
        !folder.path().join("data").exists(),
        "validating does nothing"
    );
}

#[test]
fn a_wrong_configuration_is_told_whole_and_starts_nothing() {
    let folder = Folder::with(
        "tenent: acme\nsources:\n  inbox: { type: files, path: [./inbox], settle: 2 }\n  hooks: { type: webhok }\n",
    );
    for command in ["validate", "run"] {
        let ended = folder.run(&[command]).expect(1);
        assert_eq!(ended.stdout, "");
        for finding in [
            "headgate.yaml:1:1: tenent: unknown key; did you mean `tenant`?",
            "headgate.yaml:3:25: sources.inbox.path: unknown key; did you mean `paths`?",
            "headgate.yaml:3:50: sources.inbox.settle: `2` has no unit; write for example `2s` for seconds or `2m` for minutes",
            "headgate.yaml:4:18: sources.hooks.type: unknown value `webhok`; did you mean `webhook`?",
        ] {
            assert!(
                ended.stderr.contains(finding),
                "{finding}\nis missing from\n{}",
                ended.stderr
            );
        }
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_is() {
    let folder = Folder::new();
    let missing = folder.run(&["validate"]).expect(3);
    assert!(
        missing.stderr.contains("headgate init"),
        "{}",
        missing.stderr
    );
    for usage in [
        &["frobnicate"][..],
        &[],
        &["validate", "--nope"],
        &["connectors", "nope"],
        &["tail", "--since", "yesterday"],
    ] {
        let ended = folder.run(usage).expect(2);
        assert_eq!(ended.stdout, "", "{usage:?}");
    }
    for away in [
        &["status"][..],
        &["sources", "list"],
        &["tail"],
        &["reload"],
        &["checkpoints", "show"],
    ] {
        let ended = folder.run(away).expect(3);
        assert!(
            ended
                .stderr
                .contains("no gateway answers on 127.0.0.1:9600"),
            "{away:?}: {}",
            ended.stderr
        );
    }
    folder.run(&["--help"]).expect(0);
    folder.run(&["--version"]).expect(0);
}

#[test]
fn init_writes_what_validates_and_overwrites_nothing() {
    let folder = Folder::new();
    folder.run(&["init"]).expect(0);
    folder.run(&["validate"]).expect(0);
    let first = std::fs::read_to_string(folder.path().join("headgate.yaml")).unwrap();
    let refused = folder.run(&["init"]).expect(3);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("headgate.yaml")).unwrap(),
        first
    );
    folder.run(&["init", "-c", "sub.yaml"]).expect(0);
    folder.run(&["init", "--force"]).expect(0);
    assert_ne!(
        std::fs::read_to_string(folder.path().join("headgate.yaml")).unwrap(),
        first,
        "each has a secret of its own"
    );
}

#[test]
fn references_are_data() {
    let folder = Folder::new();
    let schema: serde_json::Value =
        serde_json::from_str(&folder.run(&["schema"]).expect(0).stdout).unwrap();
    assert_eq!(schema["title"], "Headgate configuration");
    let openapi: serde_json::Value =
        serde_json::from_str(&folder.run(&["schema", "--openapi"]).expect(0).stdout).unwrap();
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(
        folder
            .run(&["schema", "--page"])
            .expect(0)
            .stdout
            .contains("# The configuration, key by key")
    );
    let connectors = folder.run(&["connectors"]).expect(0).stdout;
    for connector in connectors
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
    {
        assert!(
            folder
                .run(&["connectors", connector])
                .expect(0)
                .stdout
                .contains("| key |"),
            "{connector}"
        );
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&["completions", shell]).expect(0).stdout;
        assert!(
            script.contains("checkpoints") && script.contains("files"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let folder = Folder::new();
    let mut command = Command::new(PROGRAM);
    let mut child = command
        .args(["schema"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn nothing_is_coloured_in_a_pipe() {
    let folder = Folder::with("tenent: a\n");
    for arguments in [&["validate"][..], &["connectors"], &["nope"], &["--help"]] {
        let ended = folder.run(arguments);
        assert!(
            !ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'),
            "{arguments:?}"
        );
    }
}
