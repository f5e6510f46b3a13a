//! Dead letters and replays as an operator asks for them: which, how many, how fast, to where.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    kafka::topic,
    support::{
        consumer::read_all,
        gateway::{Place, Running},
        scale, server, unique,
    },
};

/// Runs a command that must succeed; what it said on both outputs.
fn run(place: &Place, arguments: &[&str]) -> (String, String) {
    let done = place.command(arguments);
    assert!(done.status.success(), "{done:?}\n{}", place.log());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(done.stdout), text(done.stderr))
}

/// `headgate dead-letters …` with further conditions.
fn letters(place: &Place, what: &[&str], conditions: &[&str]) -> String {
    run(place, &[&["dead-letters"], what, conditions].concat()).0
}

/// What was discarded so far.
fn audit(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("data/dead-letters/audit.jsonl"));
    let text = text.unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn numbered(running: &Running, kind: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = format!(r#"{{"kind":"{kind}","number":{number}}}"#);
        running.send(body).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_chosen_counted_retried_and_discarded_as_asked() {
    const LINES: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let schema = |text: &str| std::fs::write(folder.path().join("schema.json"), text).unwrap();
    schema(r#"{"properties": {"number": {"type": "string"}}}"#);
    let sections = format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], event_type: raw.v1 }}
  inbox: {{ type: files, paths: ["{}"], settle: 50ms, records: {{ format: json_lines }}, record_type: line.read.v1 }}
pipeline:
  - filter: {{ keep: '%type != "file.uploaded.v1"' }}
  - transform: {{ name: naming, types: [raw.v1], vrl: '%type = string!(.kind)' }}
  - validate: {{ schema: schema.json, types: [order.*, test.*, line.*] }}
"#,
        inbox.display()
    );
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    numbered(&running, "order.placed.v1", 0..6).await;
    numbered(&running, "test.pinged.v1", 6..9).await;
    running.send(r#"{"number":9}"#).await;
    running.send(r#"{"number":10}"#).await;
    let lines: String = (0..LINES)
        .map(|n| format!("{{\"number\":{n}}}\n"))
        .collect();
    std::fs::write(inbox.join("lines.jsonl"), lines).unwrap();
    let all = 11 + LINES;
    place
        .until("all dead", async || place.letters().len() == all)
        .await;

    // How many it would be: by each condition, and by several.
    let listed = place.letters();
    let count = |conditions: &[&str]| {
        let said = letters(&place, &["retry", "--dry-run"], conditions);
        said.trim_end()
            .trim_end_matches(" dead letters")
            .parse::<usize>()
            .unwrap()
    };
    let (first, last) = (&listed[0], &listed[all - 1]);
    let text = |letter: &Value, name: &str| letter[name].as_str().unwrap().to_owned();
    let attribute = text(first, "source");
    let id = text(first, "id");
    let position = first["position"].to_string();
    let failed = text(last, "failed");
    // Not as text: whole tenths of a second are written with fewer digits.
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let before = listed
        .iter()
        .filter(|letter| at(&text(letter, "failed")) < at(&failed))
        .count();
    for (conditions, expected) in [
        (&[][..], all),
        (&["--source", "hooks"], 11),
        (&["--source", &attribute], 11),
        (&["--source", "inbox"], LINES),
        (&["--source", "nobody"], 0),
        (&["--type", "test.*"], 3),
        (&["--type", "order.placed.v1"], 6),
        (&["--step", "naming"], 2),
        (&["--reason", "script_failed"], 2),
        (&["--reason", "invalid_data"], all - 2),
        (&["--since", "1h"], all),
        (&["--until", "1h"], 0),
        (&["--until", &failed], before),
        (&["--since", &failed], all - before),
        (&["--id", &id], 1),
        (&["--position", &position], 1),
        (
            &["--source", "hooks", "--type", "test.*", "--since", "1h"],
            3,
        ),
        (&["--source", "inbox", "--type", "test.*"], 0),
    ] {
        assert_eq!(count(conditions), expected, "{conditions:?}");
    }
    let some = ["--type", "test.*", "--step", "validate"];
    assert_eq!(
        letters(&place, &["discard", "--dry-run"], &some),
        "3 dead letters\n"
    );
    assert_eq!(
        letters(&place, &["list", "--json"], &some).lines().count(),
        3
    );
    assert_eq!(place.letters().len(), all, "counting changes nothing");
    assert_eq!(audit(folder.path()), Vec::<Value>::new());
    let refused = place.command(&["dead-letters", "list", "--since", "yesterday"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    // What is discarded leaves a record, also when everything else is lost.
    let pings: Vec<&Value> = listed
        .iter()
        .filter(|letter| text(letter, "type").starts_with("test."))
        .collect();
    let discard = &["discard"];
    assert_eq!(
        letters(&place, discard, &["--type", "test.*"]),
        "3 discarded\n"
    );
    running.kill();
    let recorded = audit(folder.path());
    assert_eq!(recorded.len(), 3);
    for (record, letter) in recorded.iter().zip(pings) {
        for name in [
            "position", "source", "id", "type", "step", "reason", "failed",
        ] {
            assert_eq!(record[name], letter[name], "{record}");
        }
        let discarded: jiff::Timestamp = text(record, "discarded").parse().unwrap();
        assert!(
            discarded > text(record, "failed").parse().unwrap(),
            "{record}"
        );
    }
    // With no gateway running, too.
    assert_eq!(
        letters(&place, discard, &["--step", "naming"]),
        "2 discarded\n"
    );
    assert_eq!(audit(folder.path()).len(), 5);
    assert_eq!(place.letters().len(), all - 5);

    // No faster than asked, and it is said how far it is.
    schema("{}");
    let running = place.start().await;
    let asked = Instant::now();
    let some = ["--source", "hooks", "--rate", "3"];
    assert_eq!(letters(&place, &["retry"], &some), "6 retried\n");
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "six at three a second"
    );
    let (said, progress) = run(&place, &["dead-letters", "retry", "--source", "inbox"]);
    assert_eq!(said, format!("{LINES} retried\n"));
    let expected = format!("{LINES} of {LINES}, ");
    assert!(progress.contains(&expected), "{progress}");
    place
        .until("delivered", async || place.tail().len() == 6 + LINES)
        .await;
    let ids: BTreeSet<String> = place.tail().iter().map(|event| text(event, "id")).collect();
    let retried = listed.iter().filter(|letter| {
        letter["step"] == "validate" && !text(letter, "type").starts_with("test.")
    });
    assert_eq!(ids, retried.map(|letter| text(letter, "id")).collect());
    assert_eq!(place.letters(), Vec::<Value>::new());
    assert!(running.stop().success());
}

/// Killed wherever a retried letter is on its way into Kafka, and asked again: each is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_into_kafka_is_exactly_once_wherever_it_is_killed() {
    /// More than go into the journal as one record.
    const LETTERS: u64 = 40;
    let brokers = server("KAFKA_BROKERS", "kafka");
    let points = [
        "letters-accepted",
        "sink-written",
        "transaction-filled",
        "transaction-written",
        "transaction-committed",
        "journal-released",
    ];
    let rounds = scale(1, 3) as usize;
    for (round, point) in points
        .iter()
        .cycle()
        .take(rounds * points.len())
        .enumerate()
    {
        let topic = topic(&brokers, 1, &[]).await;
        let folder = tempfile::tempdir().unwrap();
        let schema = |text: &str| std::fs::write(folder.path().join("schema.json"), text).unwrap();
        schema(r#"{"properties": {"number": {"type": "string"}}}"#);
        let sections = format!(
            r#"
group: {group}
shards: 1
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
pipeline:
  - validate: {{ schema: schema.json }}
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#,
            group = unique("group"),
        );
        let place = Place::new(folder.path(), &sections);
        let running = place.start().await;
        numbered(&running, "any.v1", 0..LETTERS).await;
        place
            .until("all dead", async || place.letters().len() as u64 == LETTERS)
            .await;
        assert!(running.stop().success());
        schema("{}");

        let failpoint = format!("{point}:{}", 1 + round / points.len());
        let mut running = place.launch(Some(&failpoint));
        place
            .until("ready", async || running.is_ready().await)
            .await;
        // It may be done before the process is killed.
        let _cut_off = place.command(&["dead-letters", "retry"]);
        place
            .until("killed", async || running.ended().is_some())
            .await;

        let running = place.start().await;
        run(&place, &["dead-letters", "retry"]);
        let numbers = || -> Vec<u64> {
            let records = read_all(&brokers, &topic, "read_committed");
            let number = |value: &[u8]| {
                let data: Value = serde_json::from_slice(value).unwrap();
                data["number"].as_u64().unwrap()
            };
            let values = records
                .iter()
                .map(|record| record.value.as_deref().unwrap());
            values.map(number).collect()
        };
        place
            .until("delivered", async || numbers().len() as u64 >= LETTERS)
            .await;
        assert!(running.stop().success());
        let expected: Vec<u64> = (0..LETTERS).collect();
        assert_eq!(numbers(), expected, "{failpoint}");
        assert_eq!(place.letters(), Vec::<Value>::new(), "{failpoint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_to_where_and_as_fast_as_asked() {
    const EVENTS: u64 = 10;
    let brokers = server("KAFKA_BROKERS", "kafka");
    let topic = topic(&brokers, 1, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], event_type: raw.v1 }}
pipeline:
  - transform: {{ vrl: '%type = string!(.kind)' }}
  - route: {{ topic: first, sinks: [main] }}
sinks:
  main: {{ type: log }}
  copy: {{ type: kafka, brokers: "{brokers}", required: false }}
"#
    );
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    let begun = jiff::Timestamp::now().to_string();
    numbered(&running, "order.placed.v1", 0..EVENTS).await;
    numbered(&running, "test.pinged.v1", EVENTS..EVENTS + 2).await;
    let all = EVENTS as usize + 2;
    place
        .until("delivered", async || place.tail().len() == all)
        .await;

    let one = place.tail()[3]["id"].as_str().unwrap().to_owned();
    let count = |from: &str, conditions: &[&str]| {
        let said = run(
            &place,
            &[&["replay", "--dry-run", "--from", from], conditions].concat(),
        );
        said.0
            .trim_end()
            .trim_end_matches(" events")
            .parse()
            .unwrap()
    };
    for (from, kind) in [("log", "test.*"), ("journal", "raw.*")] {
        // The journal has events as they were accepted.
        let of_kind = if from == "log" { 2 } else { all };
        for (conditions, expected) in [
            (&["--source", "hooks"][..], all),
            (&["--type", kind], of_kind),
            (&["--id", &one], 1),
            (&["--tenant", "acme"], 0),
            (&["--since", &begun], all),
            (&["--until", &begun], 0),
            (&["--source", "hooks", "--type", "nothing.*"], 0),
        ] {
            let found: usize = count(from, conditions);
            assert_eq!(found, expected, "{from} {conditions:?}");
        }
    }
    assert_eq!(place.tail().len(), all, "counting changes nothing");

    let asked = Instant::now();
    let to = ["--to", "copy", "--topic", &topic, "--type", "order.*"];
    let how = [
        "replay",
        "--from",
        "log",
        "--replayid",
        "drill",
        "--rate",
        "5",
    ];
    let (said, _) = run(&place, &[&how[..], &to].concat());
    assert_eq!(said, format!("{EVENTS} events replayed as drill\n"));
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "ten at five a second"
    );
    let copied = read_all(&brokers, &topic, "read_committed");
    let replayids = copied.iter().map(|record| record.event().replayid);
    assert_eq!(
        replayids.collect::<Vec<_>>(),
        vec![Some("drill".into()); EVENTS as usize],
        "{:#?}",
        place.letters()
    );
    assert_eq!(place.tail().len(), all, "and only there");

    for (wrong, word) in [
        (
            &["--from", "log", "--to", "nobody"][..],
            "there are main, copy",
        ),
        (
            &["--from", "journal", "--to", "copy"],
            "goes where its pipeline sends it",
        ),
        (&["--from", "kafka"], "needs `--topics`"),
        (
            &["--from", "log", "--replayid", "a b"],
            "a `replayid` is made of",
        ),
        (
            &["--from", "log", "--after", "x"],
            "hand back what an earlier part said",
        ),
    ] {
        let refused = place.command(&[&["replay"], wrong].concat());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{wrong:?}: {said}");
        assert!(said.contains(word), "{wrong:?}: {said}");
    }
    assert!(running.stop().success());
}
