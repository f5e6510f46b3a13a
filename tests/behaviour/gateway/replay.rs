//! Events once more: from topics, from the embedded log, from the journal, with a gateway running and without one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;

use crate::{
    kafka::topic,
    support::{
        consumer::{Found, read_all},
        gateway::{DEADLINE, Place},
        server, unique,
    },
};

const EVENTS: usize = 60;

/// Waits until the topic holds so many committed records.
async fn arrived(brokers: &str, topic: &str, count: usize) -> Vec<Found> {
    let asked = Instant::now();
    loop {
        let found = read_all(brokers, topic, "read_committed");
        if found.len() >= count {
            assert_eq!(found.len(), count);
            return found;
        }
        assert!(asked.elapsed() < DEADLINE, "{} in `{topic}`", found.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs `headgate replay`; what it says on standard output.
fn replay(place: &Place, arguments: &[&str]) -> String {
    let done = place.command(&[&["replay"], arguments].concat());
    assert!(done.status.success(), "{done:?}\n{}", place.log());
    String::from_utf8(done.stdout).unwrap()
}

/// The ids of each key, in order.
fn by_key(records: &[Found]) -> BTreeMap<Option<String>, Vec<String>> {
    let mut keys: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for record in records {
        let ids = keys.entry(record.key.clone()).or_default();
        ids.push(record.event().id.to_string());
    }
    keys
}

/// Writes what is not to be replayed: a record of somebody else, and an event in a transaction that is aborted.
fn write_others(brokers: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", unique("other"))
        .create()
        .unwrap();
    let patience = Duration::from_secs(30);
    producer.init_transactions(patience).unwrap();
    let header = |key, value| Header {
        key,
        value: Some(value),
    };
    let headers = OwnedHeaders::new()
        .insert(header("ce_specversion", "1.0"))
        .insert(header("ce_id", "aborted"))
        .insert(header("ce_source", "urn:headgate:default:webhook:hooks"))
        .insert(header("ce_type", "aborted.v1"));
    producer.begin_transaction().unwrap();
    let aborted = BaseRecord::<str, str>::to(topic)
        .payload("{}")
        .headers(headers);
    producer.send(aborted).unwrap();
    producer.flush(patience).unwrap();
    producer.abort_transaction(patience).unwrap();
    producer.begin_transaction().unwrap();
    let other = BaseRecord::<str, str>::to(topic).payload("of another");
    producer.send(other).unwrap();
    producer.commit_transaction(patience).unwrap();
}

/// Writes to the topic without end until told otherwise.
fn keep_writing(brokers: &str, topic: &str) -> (Arc<AtomicBool>, std::thread::JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .create()
        .unwrap();
    let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
    let writing = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let record = BaseRecord::<str, str>::to(&topic).payload("more");
            let _full = producer.send(record);
            producer.poll(Duration::from_millis(1));
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    });
    (stop, writing)
}

async fn replays_from_topics(delivery: &str) {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let from = topic(&brokers, 3, &[]).await;
    let to = topic(&brokers, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        r#"
group: {group}
shards: 2
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
pipeline:
  - route: {{ topic: "{from}", key: "{{/key}}", headers: {{ x-number: "{{/number}}" }} }}
sink: {{ type: kafka, brokers: "{brokers}", {delivery} }}
"#,
        group = unique("group"),
    );
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    for number in 0..EVENTS {
        running
            .send(format!(
                r#"{{"number":{number},"key":"key-{}"}}"#,
                number % 7
            ))
            .await;
    }
    let original = arrived(&brokers, &from, EVENTS).await;
    write_others(&brokers, &from);

    let topics = ["--from", "kafka", "--topics", from.as_str()];
    let with = |more: &[&str]| replay(&place, &[&topics[..], more].concat());
    let all = format!("{EVENTS} events\n");
    assert_eq!(with(&["--dry-run"]), all);
    assert_eq!(
        with(&["--dry-run", "--source", "hooks", "--since", "1h"]),
        all
    );
    assert_eq!(with(&["--dry-run", "--tenant", "default"]), all);
    let one = original[0].event();
    assert_eq!(with(&["--dry-run", "--id", &one.id]), "1 events\n");
    assert_eq!(with(&["--dry-run", "--type", &one.event_type]), all);
    for nothing in [
        ["--tenant", "another"],
        ["--type", "another.*"],
        ["--source", "another"],
        ["--until", "2020-01-01T00:00:00Z"],
        ["--since", "2099-01-01T00:00:00Z"],
    ] {
        assert_eq!(with(&[&["--dry-run"], &nothing[..]].concat()), "0 events\n");
    }

    // It comes to an end, however fast the topic grows; a few at a time, so that it goes on several times.
    let (stop, writing) = keep_writing(&brokers, &from);
    let said = with(&["--topic", &to, "--replayid", "drill", "--rate", "40"]);
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    assert_eq!(said, format!("{EVENTS} events replayed as drill\n"));
    let again = arrived(&brokers, &to, EVENTS).await;
    assert_eq!(by_key(&again), by_key(&original));
    for record in &again {
        let event = record.event();
        let before = original.iter().find(|one| one.event().id == event.id);
        let before = before.unwrap();
        assert_eq!(event.replayid.as_deref(), Some("drill"));
        assert_eq!(record.key, before.key);
        assert_eq!(event.data.bytes(), before.event().data.bytes());
        assert_eq!(record.header("x-number"), before.header("x-number"));
        assert_eq!(event.recordedtime, before.event().recordedtime);
    }
    // What it wrote is never taken by it again; by another it is.
    let others = [
        "--from",
        "kafka",
        "--topics",
        &to,
        "--dry-run",
        "--replayid",
    ];
    assert_eq!(
        replay(&place, &[&others[..], &["drill"]].concat()),
        "0 events\n"
    );
    assert_eq!(replay(&place, &[&others[..], &["other"]].concat()), all);

    // With no gateway running, into the topic from which it reads.
    assert!(running.stop().success());
    let to_itself = ["--from", "kafka", "--topics", &to, "--replayid", "offline"];
    assert_eq!(
        replay(&place, &to_itself),
        format!("{EVENTS} events replayed as offline\n")
    );
    arrived(&brokers, &to, 2 * EVENTS).await;
    assert_eq!(with(&["--dry-run"]), all);

    // And it is known when the last drill was.
    let running = place.start().await;
    let asked = Instant::now();
    loop {
        let text = running.page("/metrics").await;
        let mut lines = text.lines();
        let age = lines.find_map(|line| line.strip_prefix("headgate_replay_age_seconds "));
        if let Some(age) = age {
            assert!(age.parse::<f64>().unwrap() < 600.0, "{age}");
            break;
        }
        assert!(asked.elapsed() < DEADLINE, "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(running.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_replayed_as_they_are_and_come_to_an_end() {
    replays_from_topics("delivery: at_least_once, mode: structured").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_replayed_in_transactions() {
    replays_from_topics("delivery: exactly_once, transactions: { interval: 10ms }").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_gateway_running_log_journal_and_dead_letters_go_again() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |text: &str| std::fs::write(folder.path().join("schema.json"), text).unwrap();
    schema(r#"{"properties": {"number": {"maximum": 9}}}"#);
    let sections = |more: &str| {
        format!(
            r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
pipeline:
{more}  - validate: {{ schema: schema.json }}
  - route: {{ topic: "first" }}
"#
        )
    };
    let place = Place::new(folder.path(), &sections(""));
    let running = place.start().await;
    // The last two are wrong.
    for number in 0..12 {
        running.send(format!(r#"{{"number":{number}}}"#)).await;
    }
    let sent = Instant::now();
    while place.tail().len() < 10 {
        assert!(sent.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(running.stop().success());

    let done = replay(
        &place,
        &["--from", "log", "--topic", "again", "--replayid", "a"],
    );
    assert_eq!(done, "10 events replayed as a\n");
    let logged = place.tail();
    let of = |logged: &[Value], replayid: &str| -> Vec<Value> {
        let is_of = |event: &&Value| event["replayid"] == replayid;
        logged.iter().filter(is_of).cloned().collect()
    };
    assert_eq!((logged.len(), of(&logged, "a").len()), (20, 10));

    // What was accepted goes through the pipeline as it is now.
    place.configure(&sections("  - set: { fields: { subject: present } }\n"));
    let done = replay(&place, &["--from", "journal", "--replayid", "b"]);
    assert_eq!(done, "12 events replayed as b\n");
    let again = of(&place.tail(), "b");
    assert_eq!(again.len(), 10);
    assert!(again.iter().all(|event| event["subject"] == "present"));

    schema("{}");
    let retried = place.command(&["dead-letters", "retry"]);
    assert!(retried.status.success(), "{retried:?}");
    let numbers = |events: &[Value]| -> Vec<u64> {
        let mut numbers: Vec<u64> = events
            .iter()
            .map(|event| event["data"]["number"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers
    };
    // The replay's letters have taken the place of the first ones.
    let logged = place.tail();
    assert_eq!(numbers(&of(&logged, "b")), (0..12).collect::<Vec<_>>());
    assert_eq!(place.letters(), Vec::<Value>::new());

    // Nothing of it comes a second time.
    let running = place.start().await;
    running.send(r#"{"number":99}"#.to_owned()).await;
    let sent = Instant::now();
    let present = loop {
        let present = place.tail();
        if numbers(&present).contains(&99) {
            break present;
        }
        assert!(sent.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(present.len(), logged.len() + 1);
    assert!(running.stop().success());
}
