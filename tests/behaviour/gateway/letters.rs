//! Dead letters and `kill -9`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::crash::{Accepted, send_until_killed};
use crate::{
    kafka::{setting, topic},
    support::{
        consumer::{Found, read_all},
        gateway::{DEADLINE, Place, Running},
        scale, server, unique,
    },
};

async fn ready(running: &Running, place: &Place) {
    let began = Instant::now();
    while !running.is_ready().await {
        assert!(began.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Killed when letters are in the journal and before they are resolved: they still wait, and a second retry does not send them twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_is_killed_between_journal_and_resolution_delivers_once() {
    const LETTERS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let schema = |text: &str| std::fs::write(folder.path().join("schema.json"), text).unwrap();
    schema(r#"{"properties": {"number": {"type": "string"}}}"#);
    let sections = r#"
sources:
  hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret] }
pipeline:
  - validate: { schema: schema.json }
"#;
    let place = Place::new(folder.path(), sections);
    let running = place.start().await;
    for number in 0..LETTERS {
        running.send(format!(r#"{{"number":{number}}}"#)).await;
    }
    place
        .until("dead letters", async || place.letters().len() == LETTERS)
        .await;
    assert!(running.stop().success());
    schema("{}");

    let mut running = place.launch(Some("letters-accepted:1"));
    ready(&running, &place).await;
    let cut = place.command(&["dead-letters", "retry"]);
    assert!(!cut.status.success(), "{cut:?}");
    place
        .until("the process is killed", async || running.ended().is_some())
        .await;

    let running = place.start().await;
    // What is in the journal goes on by itself; the letters do not know yet.
    place
        .until("delivered", async || place.tail().len() == LETTERS)
        .await;
    assert_eq!(place.letters().len(), LETTERS);
    let retried = place.command(&["dead-letters", "retry"]);
    assert!(retried.status.success(), "{retried:?}");
    assert_eq!(place.letters(), Vec::<Value>::new());
    running.send(r#"{"number":"last"}"#.to_owned()).await;
    place
        .until("the last", async || {
            place
                .tail()
                .iter()
                .any(|event| event["data"]["number"] == "last")
        })
        .await;
    assert_eq!(place.tail().len(), LETTERS + 1);
    assert!(running.stop().success());
}

/// What was committed to Kafka just before the process was killed is in no index of `data_dir`. It is no dead letter when the source does not
/// come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_removed_source_only_what_is_not_delivered_becomes_dead_letters() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    for round in 0..scale(3, 20) {
        let topic = topic(&brokers, 1, &[]).await;
        let folder = tempfile::tempdir().unwrap();
        let group = unique("group");
        let sections = |source: &str| {
            format!(
                r#"
group: {group}
shards: 1
sources:
  {source}: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
pipeline:
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#
            )
        };
        let place = Place::new(folder.path(), &sections("hooks"));
        let failpoint = format!("sink-written:{}", 2 + round * 3);
        let mut running = place.launch(Some(&failpoint));
        ready(&running, &place).await;
        let accepted = Accepted::default();
        send_until_killed(running.http, 0, 1, Accepted::clone(&accepted)).await;
        place
            .until("the process is killed", async || running.ended().is_some())
            .await;

        place.configure(&sections("others"));
        let running = place.start().await;
        let accepted = accepted.lock().await.len();
        let delivered = || -> Vec<String> {
            let records = read_all(&brokers, &topic, "read_committed");
            records.iter().map(|r| r.event().id.to_string()).collect()
        };
        let dead = || -> Vec<String> {
            let letters = place.letters().into_iter();
            letters
                .map(|letter| letter["id"].as_str().unwrap().to_owned())
                .collect()
        };
        place
            .until("all are somewhere", async || {
                delivered().len() + dead().len() >= accepted
            })
            .await;
        assert!(running.stop().success());
        let (delivered, dead) = (delivered(), dead());
        assert!(!delivered.is_empty(), "round {round}: killed too early");
        let all: BTreeSet<&String> = delivered.iter().chain(&dead).collect();
        assert_eq!(
            all.len(),
            delivered.len() + dead.len(),
            "round {round}: both delivered and dead: {delivered:?} {dead:?}"
        );
    }
}

/// The last record of each key.
fn last_of_keys(brokers: &str, topic: &str) -> BTreeMap<String, Found> {
    read_all(brokers, topic, "read_committed")
        .into_iter()
        .map(|record| (record.key.clone().unwrap(), record))
        .collect()
}

/// Waits until the topic is made and says what is wanted.
async fn published(
    place: &Place,
    brokers: &str,
    topic: &str,
    is: impl Fn(&BTreeMap<String, Found>) -> bool,
) -> BTreeMap<String, Found> {
    let began = Instant::now();
    loop {
        if crate::kafka::exists(brokers, topic) {
            let found = last_of_keys(brokers, topic);
            if is(&found) {
                return found;
            }
        }
        assert!(began.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What waits is in the topic, without what the pipeline redacts later; what is resolved is gone from it. The originals stay in `data_dir`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_dead_letters_follows_the_store_without_protected_fields() {
    const SECRET: &str = "4711-0815";
    let brokers = server("KAFKA_BROKERS", "kafka");
    let events = topic(&brokers, 1, &[]).await;
    let group = unique("group");
    let letters_topic = format!("{group}.dead-letters");
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
  - redact: {{ fields: [/card] }}
  - route: {{ topic: "{events}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, max_message_bytes: 20kB, publish_dead_letters: true }}
"#
    );
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    // One fails before it is redacted, one is too large for the sink, and with its data for the topic.
    running
        .send(format!(r#"{{"number":1,"card":"{SECRET}"}}"#))
        .await;
    let large = "x".repeat(30_000);
    running
        .send(format!(
            r#"{{"number":"2","card":"{SECRET}","text":"{large}"}}"#
        ))
        .await;
    let found = published(&place, &brokers, &letters_topic, |found| found.len() == 2).await;
    assert_eq!(
        setting(&brokers, &letters_topic, "cleanup.policy").await,
        "compact"
    );
    let kept = place.letters();
    for letter in &kept {
        let of = |name: &str| letter[name].as_str().unwrap().to_owned();
        let key = format!("{}/{}/{}", of("source"), of("id"), of("step"));
        let record = &found[&key];
        let event = record.event();
        assert_eq!(
            (event.id.as_str(), event.event_type.as_str()),
            (&*of("id"), &*of("type"))
        );
        assert_eq!(record.header("headgate-error-step"), Some(&*of("step")));
        assert_eq!(record.header("headgate-error-reason"), Some(&*of("reason")));
        assert_eq!(record.header("headgate-error-time"), Some(&*of("failed")));
        assert_eq!(record.header("headgate-error-attempts"), Some("1"));
        let data = event
            .data
            .bytes()
            .map(|data| String::from_utf8(data.to_vec()).unwrap());
        match &*of("step") {
            "validate" => assert_eq!(data.as_deref(), Some(r#"{"number":1,"card":"*********"}"#)),
            "sink/main" => {
                assert_eq!(data, None);
                let why = record.header("headgate-error-data").unwrap();
                assert!(why.contains("too large"), "{why}");
            }
            other => panic!("nothing fails at {other}"),
        }
    }
    let says_it = |text: &[u8]| {
        text.windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes())
    };
    for record in read_all(&brokers, &letters_topic, "read_uncommitted") {
        assert!(!says_it(record.value.as_deref().unwrap()), "{record:?}");
        assert!(
            !record
                .headers
                .iter()
                .any(|(_, value)| value.as_deref().is_some_and(says_it))
        );
    }
    let first = kept
        .iter()
        .find(|letter| letter["step"] == "validate")
        .unwrap();
    let shown = place.command(&["dead-letters", "show", &first["position"].to_string()]);
    assert!(says_it(&shown.stdout), "the original stays: {shown:?}");
    // It is no topic of events.
    let refused = place.command(&[
        "replay",
        "--dry-run",
        "--from",
        "kafka",
        "--topics",
        &letters_topic,
    ]);
    assert!(!refused.status.success(), "{refused:?}");

    // Resolved with and without a gateway that runs.
    schema("{}");
    let discarded = place.command(&["dead-letters", "discard", "--step", "sink/main"]);
    assert!(discarded.status.success(), "{discarded:?}");
    let gone = |found: &BTreeMap<String, Found>, step: &str| {
        let mut of_step = found.iter().filter(|(key, _)| key.ends_with(step));
        of_step.all(|(_, record)| record.value.is_none())
    };
    let found = published(&place, &brokers, &letters_topic, |found| {
        gone(found, "/sink/main")
    })
    .await;
    assert!(!gone(&found, "/validate"));
    running.kill();
    let retried = place.command(&["dead-letters", "retry"]);
    assert!(retried.status.success(), "{retried:?}\n{}", place.log());
    let running = place.start().await;
    let found = published(&place, &brokers, &letters_topic, |found| {
        gone(found, "/validate")
    })
    .await;
    assert!(gone(&found, "/sink/main"), "{found:?}");
    let how: BTreeSet<_> = found
        .values()
        .map(|record| record.header("headgate-error-resolution"))
        .collect();
    assert_eq!(how, BTreeSet::from([Some("discarded"), Some("retried")]));
    let delivered = read_all(&brokers, &events, "read_committed");
    assert_eq!(delivered.len(), 1);
    assert!(!says_it(delivered[0].value.as_deref().unwrap()));
    assert!(running.stop().success());
}
