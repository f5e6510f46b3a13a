//! Commands against a running gateway.

use std::net::TcpListener;

use super::process::{Folder, free_port, wait};

/// A configuration with a folder and ports of its own.
fn config(http: u16, admin: u16, more: &str) -> String {
    format!(
        "http: {{ listen: 127.0.0.1:{http} }}\nadmin: {{ listen: 127.0.0.1:{admin} }}\nsources:\n  inbox: {{ type: files, paths: [./inbox], settle: 50ms, scan_interval: 1s }}\n{more}"
    )
}

fn folder(more: &str) -> Folder {
    let folder = Folder::with(&config(free_port(), free_port(), more));
    folder.write("inbox/first.txt", "hello");
    folder
}

#[test]
fn the_operator_sees_and_steers_it() {
    let folder = folder("");
    let running = folder.start(&[]);
    let status: serde_json::Value =
        serde_json::from_str(&folder.run(&["status", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(
        (
            status["ready"].as_bool(),
            status["sources"][0]["name"].as_str()
        ),
        (Some(true), Some("inbox"))
    );
    assert!(folder.run(&["status"]).expect(0).stdout.contains("inbox"));

    let state = || {
        let listed = folder.run(&["sources", "list", "--json"]).expect(0).stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed[0]["state"].as_str().unwrap().to_owned()
    };
    wait(|| (state() == "ready").then_some(()), state);
    folder.run(&["sources", "pause", "inbox"]).expect(0);
    assert_eq!(state(), "paused");
    folder.run(&["sources", "resume", "inbox"]).expect(0);
    wait(|| (state() == "ready").then_some(()), state);
    folder.run(&["sources", "restart", "inbox"]).expect(0);
    wait(|| (state() == "ready").then_some(()), state);
    let unknown = folder.run(&["sources", "pause", "nope"]).expect(2);
    assert!(
        unknown.stderr.contains("there are `inbox`"),
        "{}",
        unknown.stderr
    );
    assert!(running.stop().success());
}

#[test]
fn tail_gives_one_event_a_line_and_goes_on_after_a_position() {
    let folder = folder("");
    let running = folder.start(&[]);
    let tail = |more: &[&str]| {
        let ended = folder
            .run(&[&["tail", "--from-start", "--no-follow"], more].concat())
            .expect(0);
        ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .collect::<Vec<_>>()
    };
    let first = wait(|| tail(&[]).into_iter().next(), || running.said.text());
    assert_eq!(
        (first["specversion"].as_str(), first["type"].as_str()),
        (Some("1.0"), Some("file.uploaded.v1"))
    );

    folder.write("inbox/second.txt", "again");
    let both = wait(
        || Some(tail(&[])).filter(|events| events.len() == 2),
        || running.said.text(),
    );
    let after = first["logposition"].to_string();
    let rest = folder
        .run(&["tail", "--no-follow", "--after", &after])
        .expect(0)
        .stdout;
    assert_eq!(rest.lines().count(), 1);
    assert!(rest.contains(both[1]["id"].as_str().unwrap()));

    assert_eq!(tail(&["--type", "file.*"]).len(), 2);
    assert_eq!(tail(&["--type", "other.*"]).len(), 0);
    assert_eq!(tail(&["--source", "nope"]).len(), 0);
    assert_eq!(tail(&["--since", "1h"]).len(), 2);
    let group = || {
        folder
            .run(&["tail", "--no-follow", "--group", "mine"])
            .expect(0)
            .stdout
            .lines()
            .count()
    };
    assert_eq!((group(), group()), (2, 0));
    assert!(running.stop().success());

    let offline = folder
        .run(&["tail", "--from-start", "--no-follow"])
        .expect(0)
        .stdout;
    assert_eq!(
        offline.lines().count(),
        2,
        "the log is read without a gateway as well"
    );
}

#[test]
fn a_reload_changes_what_it_must_and_a_wrong_file_changes_nothing() {
    let (http, admin) = (free_port(), free_port());
    let folder = Folder::with(&config(http, admin, ""));
    let running = folder.start(&[]);
    assert_eq!(
        folder.run(&["reload"]).expect(0).stdout,
        "nothing changed\n"
    );

    folder.write(
        "headgate.yaml",
        &config(http, admin, "  other: { type: files, path: [./other] }\n"),
    );
    let refused = folder.run(&["reload"]).expect(1);
    assert!(
        refused
            .stderr
            .contains("sources.other.path: unknown key; did you mean `paths`?"),
        "{}",
        refused.stderr
    );
    assert!(
        !folder
            .run(&["sources", "list"])
            .expect(0)
            .stdout
            .contains("other")
    );

    folder.write(
        "headgate.yaml",
        &config(http, admin, "  other: { type: files, paths: [./other] }\n"),
    );
    assert_eq!(folder.run(&["reload"]).expect(0).stdout, "other: started\n");
    assert!(
        folder
            .run(&["sources", "list"])
            .expect(0)
            .stdout
            .contains("other")
    );

    for (key, more) in [
        ("group", "group: another\n"),
        ("tenant", "tenant: acme\n"),
        ("data_dir", "data_dir: ./elsewhere\n"),
        ("shards", "shards: 7\n"),
        ("limits", "limits: { shutdown: 1m }\n"),
        ("sinks", "sinks: { main: { type: stdout } }\n"),
    ] {
        folder.write("headgate.yaml", &config(http, admin, more));
        let refused = folder.run(&["reload"]).expect(3);
        assert!(
            refused
                .stderr
                .contains(&format!("`{key}` has changed, which needs a restart")),
            "{key}: {}",
            refused.stderr
        );
    }
    assert!(running.stop().success());
}

#[test]
fn checkpoints_are_shown_and_moved_while_nothing_runs() {
    let folder = folder("");
    let running = folder.start(&[]);
    let show = || {
        let shown = folder
            .run(&["checkpoints", "show", "--json"])
            .expect(0)
            .stdout;
        serde_json::from_str::<Vec<serde_json::Value>>(&shown).unwrap()
    };
    let lane = wait(
        || {
            show()
                .first()
                .map(|first| first["lane"].as_str().unwrap().to_owned())
        },
        || running.said.text(),
    );
    let refused = folder.run(&["checkpoints", "set", &lane, "null"]).expect(3);
    assert!(
        refused.stderr.contains("stop the gateway"),
        "{}",
        refused.stderr
    );
    assert!(running.stop().success());

    folder
        .run(&["checkpoints", "set", &lane, "{\"moved\": true}"])
        .expect(0);
    assert_eq!(show()[0]["position"], serde_json::json!({ "moved": true }));
    folder
        .run(&["checkpoints", "set", &lane, "not json"])
        .expect(2);
    folder
        .run(&["checkpoints", "set", "no/lane", "1"])
        .expect(2);
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for config in [config(port, free_port(), ""), config(free_port(), port, "")] {
        let ended = Folder::with(&config).run(&["run"]).expect(3);
        let told: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("headgate: "))
            .collect();
        assert!(
            told.len() == 1 && told[0].contains(&port.to_string()),
            "{}",
            ended.stderr
        );
    }

    let folder = folder("data_dir: ./state\n");
    let running = folder.start(&[]);
    folder.write(
        "second.yaml",
        &config(free_port(), free_port(), "data_dir: ./state\n"),
    );
    let second = folder.run(&["run", "-c", "second.yaml"]).expect(3);
    assert!(
        second.stderr.contains("in use by another gateway"),
        "{}",
        second.stderr
    );
    assert!(running.stop().success());

    folder.write("state.txt", "a file");
    for data_dir in ["./state.txt", "./state.txt/below", "/proc/no-such"] {
        folder.write(
            "third.yaml",
            &config(free_port(), free_port(), &format!("data_dir: {data_dir}\n")),
        );
        let third = folder.run(&["run", "-c", "third.yaml"]).expect(3);
        let told = third.stderr.trim_end();
        assert!(
            told.lines().count() == 1
                && told.starts_with("headgate: data_dir")
                && told.contains("a directory that this user may write to"),
            "{told}"
        );
    }
}

#[test]
fn a_gateway_goes_on_without_what_it_cannot_read() {
    let folder = Folder::with(&config(free_port(), free_port(), ""));
    folder.write("inbox", "this is a file");
    let running = folder.start(&[]);
    let source = || {
        let status = folder.run(&["status", "--json"]).expect(0).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["ready"], true, "a source never makes it unready");
        status["sources"][0].clone()
    };
    let troubled = wait(
        || Some(source()).filter(|source| source["warnings"].is_object()),
        || running.said.text(),
    );
    assert!(troubled.to_string().contains("inbox"), "{troubled}");
    std::fs::remove_file(folder.path().join("inbox")).unwrap();
    folder.write("inbox/now.txt", "readable");
    wait(
        || {
            let tail = folder.run(&["tail", "--from-start", "--no-follow"]);
            tail.stdout.contains("now.txt").then_some(())
        },
        || running.said.text(),
    );
    assert!(!running.said.text().contains("panicked"));
    assert!(running.stop().success());
}

#[test]
fn a_position_that_was_set_is_where_the_next_start_goes_on_also_after_a_kill() {
    let (http, admin) = (free_port(), free_port());
    let folder = Folder::with(&format!(
        "http: {{ listen: 127.0.0.1:{http} }}\nadmin: {{ listen: 127.0.0.1:{admin} }}\nsources:\n  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}\n"
    ));
    let logged = || {
        let tail = folder
            .run(&["tail", "--from-start", "--no-follow"])
            .expect(0);
        let ids = tail.stdout.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["data"]["n"].as_u64().unwrap()
        });
        ids.collect::<Vec<_>>()
    };
    let running = folder.start(&[]);
    for n in 0..3 {
        let body = format!("{{\"n\":{n}}}");
        let send = ["webhook", "send", "--source", "hooks", "--body", &body];
        wait(
            || (folder.run(&send).code == Some(0)).then_some(()),
            || running.said.text(),
        );
    }
    wait(
        || (logged().len() == 3).then_some(()),
        || running.said.text(),
    );
    // Killed: the index may not have the last checkpoints of the log yet.
    drop(running);
    let shown = folder.run(&["checkpoints", "show", "--json"]).expect(0);
    let shown: Vec<serde_json::Value> = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["position"]["sequence"], 3, "{shown:?}");
    let lane = shown[0]["lane"].as_str().unwrap();
    folder.run(&["checkpoints", "set", lane, "1"]).expect(0);

    let running = folder.start(&[]);
    wait(
        || (logged().len() >= 5).then_some(()),
        || running.said.text(),
    );
    assert_eq!(logged(), [0, 1, 2, 1, 2]);
    assert!(running.stop().success());

    // And forward: what is left out is left out.
    let running = folder.start(&[]);
    assert!(running.stop().success());
    folder.run(&["checkpoints", "set", lane, "3"]).expect(0);
    let running = folder.start(&[]);
    let body = [
        "webhook",
        "send",
        "--source",
        "hooks",
        "--body",
        "{\"n\":3}",
    ];
    wait(
        || (folder.run(&body).code == Some(0)).then_some(()),
        || running.said.text(),
    );
    wait(
        || (logged().len() == 6).then_some(()),
        || running.said.text(),
    );
    assert_eq!(logged(), [0, 1, 2, 1, 2, 3]);
    assert!(running.stop().success());
}

#[test]
fn signals_end_it_well() {
    for signal in ["TERM", "INT"] {
        let folder = folder("");
        let running = folder.start(&[]);
        running.signal(signal);
        running.said.wait_for("stopped");
        assert_eq!(running.stop().code(), Some(0));
    }
}
