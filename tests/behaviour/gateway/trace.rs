//! Where an event is, as `headgate trace` tells it, against what a plain consumer sees.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    kafka::topic,
    support::{
        consumer::{Found, read_all},
        gateway::{DEADLINE, Place, Running},
        server, unique,
    },
};

const EVENTS: usize = 40;

/// A gateway with a webhook and a folder before a Kafka sink of these further settings.
fn place(folder: &Path, brokers: &str, topic: &str, sink: &str) -> Place {
    let inbox = folder.join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let sections = format!(
        r#"
group: {group}
shards: 2
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], max_body: 1MB }}
  inbox: {{ type: files, paths: ["{inbox}"], settle: 100ms, event_type: line.read.v1, records: {{ format: json_lines }} }}
pipeline:
  - route: {{ topic: "{topic}", key: "{{id}}" }}
sink: {{ type: kafka, brokers: "{brokers}", {sink} }}
"#,
        group = unique("group"),
        inbox = inbox.display(),
    );
    Place::new(folder, &sections)
}

/// What the command says about an event once `enough` of it is there; the ledger is a second behind.
async fn trace(place: &Place, arguments: &[&str], enough: impl Fn(&Value) -> bool) -> Value {
    let asked = Instant::now();
    let arguments = [&["trace", "--json"], arguments].concat();
    loop {
        let said = place.command(&arguments);
        let found = serde_json::from_slice(&said.stdout).unwrap_or(Value::Null);
        if enough(&found) {
            return found;
        }
        assert!(asked.elapsed() < DEADLINE, "{said:?}\n{}", place.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn assert_is_at(told: &Value, record: &Found) {
    let delivered = &told["delivered"][0];
    assert_eq!(told["delivered"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!(delivered["partition"], record.partition, "{told:#}");
    assert_eq!(delivered["offset"], record.offset, "{told:#}");
    assert_eq!(delivered["run"]["attempts"], 1, "{told:#}");
    assert_eq!(told["gaps"], Value::Null, "{told:#}");
}

async fn is_told_where_it_is(sink: &str) {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let topic = topic(&brokers, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), &brokers, &topic, sink);
    let running = place.start().await;
    for number in 0..EVENTS {
        running.send(format!(r#"{{"number":{number}}}"#)).await;
    }
    let lines: String = (0..EVENTS).map(|n| format!("{{\"line\":{n}}}\n")).collect();
    std::fs::write(folder.path().join("inbox/a.jsonl"), lines).unwrap();
    let sent = Instant::now();
    let records = loop {
        let records = read_all(&brokers, &topic, "read_committed");
        // And one that says that the file was read.
        if records.len() == 2 * EVENTS + 1 {
            break records;
        }
        assert!(
            sent.elapsed() < DEADLINE,
            "{}: {}",
            records.len(),
            place.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let has = |record: &Found, word: &str| {
        let value = record.value.as_deref().unwrap();
        value
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    let hooks: Vec<&Found> = records.iter().filter(|r| has(r, "\"number\"")).collect();
    let lines: Vec<&Found> = records.iter().filter(|r| has(r, "\"line\":")).collect();
    let found = |told: &Value| told["delivered"][0]["run"].is_object();
    for record in [hooks[0], hooks[EVENTS / 2], hooks[EVENTS - 1]] {
        let id = record.event().id;
        let told = trace(&place, &[&id], found).await;
        assert_is_at(&told, record);
        assert_eq!(told["received"][0]["waits"], false, "{told:#}");
        let lane = told["delivered"][0]["lane"].as_str().unwrap();
        let from_buffer = lane.starts_with("buffer:");
        assert!(
            from_buffer || told["received"][0]["lane"] == lane,
            "{told:#}"
        );
    }
    // Nobody has journaled the lines: their topic is looked through.
    for record in [lines[0], lines[EVENTS - 1]] {
        let id = record.event().id;
        let told = trace(&place, &[&id, "--since", "10m"], found).await;
        assert_is_at(&told, record);
    }
    let id = hooks[1].event().id;
    let said = place.command(&["trace", &id]);
    let text = String::from_utf8(said.stdout).unwrap();
    let expected = format!(
        "to sink main, topic {topic}, partition {}, offset {},",
        hooks[1].partition, hooks[1].offset
    );
    assert!(text.contains(&expected), "{text}");

    until_sent(&running, 2 * EVENTS + 1).await;

    // With no gateway running.
    assert!(running.stop().success());
    let told = trace(&place, &[&id], found).await;
    assert_is_at(&told, hooks[1]);
}

/// The sink's figure says how many events Kafka has.
async fn until_sent(running: &Running, events: usize) {
    let asked = Instant::now();
    let expected = format!("headgate_sink_sent_events_total{{sink=\"main\"}} {events}");
    loop {
        let text = running.page("/metrics").await;
        if text.lines().any(|line| line == expected) {
            return;
        }
        assert!(asked.elapsed() < DEADLINE, "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_partition_and_offset() {
    is_told_where_it_is("delivery: at_least_once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_partition_and_offset_of_what_came_in_transactions() {
    is_told_where_it_is(
        "delivery: exactly_once, transactions: { interval: 20ms }, mode: structured",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_partition_and_offset_of_what_came_through_a_buffer() {
    is_told_where_it_is("buffer: log").await;
}

/// Events that a sink refuses, and events that nobody can look for now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_the_step_of_a_dead_letter_and_says_what_it_did_not_look_through() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let topic = topic(&brokers, 1, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), &brokers, &topic, "max_message_bytes: 20kB");
    let running = place.start().await;
    running
        .send(format!(r#"{{"text":"{}"}}"#, "x".repeat(30_000)))
        .await;
    running.send(r#"{"text":"short"}"#.to_owned()).await;
    place
        .until("dead", async || !place.letters().is_empty())
        .await;
    let letter = place.letters().remove(0);
    let id = letter["id"].as_str().unwrap();
    let told = trace(&place, &[id], |told| {
        told["received"][0]["runs"][0].is_object()
    })
    .await;
    assert_eq!(told["delivered"], serde_json::json!([]), "{told:#}");
    assert_eq!(told["dead_letters"][0]["step"], "sink/main", "{told:#}");
    assert_eq!(told["dead_letters"][0]["reason"], "too_large", "{told:#}");
    assert_eq!(told["received"][0]["runs"][0]["refused"], 1, "{told:#}");
    assert!(running.stop().success());

    // The topic is gone: what the ledger says is still told, and that no more is.
    let short = read_all(&brokers, &topic, "read_committed")[0].event().id;
    crate::kafka::delete_topic(&brokers, &topic).await;
    let told = trace(&place, &[&short], |told| told["gaps"].is_array()).await;
    let gap = told["gaps"][0].as_str().unwrap();
    assert!(gap.contains("does not exist"), "{gap}");
    let stretch = &told["received"][0]["runs"][0]["topics"][0];
    assert_eq!(
        (&stretch["topic"], &stretch["first"]),
        (&topic.into(), &0.into())
    );
}
