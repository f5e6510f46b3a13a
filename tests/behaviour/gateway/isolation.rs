//! Several sinks, most of them away: each holds only who needs it.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::Value;

use crate::{
    kafka::topic,
    support::{
        consumer::read_all,
        gateway::{Place, Running},
        http::Client,
        server,
    },
};

const EVENTS: u64 = 40;

/// Sources by which sinks they need besides `main`, and the pipelines of the same names.
const SOURCES: [&str; 4] = ["alone", "required", "buffered", "optional"];

/// The three sinks besides `main` write to these topics of one cluster.
fn sections(brokers: &str, topics: &BTreeMap<&str, String>) -> String {
    let mut text = String::from("limits: { shutdown: 5s }\nsources:\n");
    for source in SOURCES {
        text += &format!(
            "  {source}: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], pipeline: {source} }}\n"
        );
    }
    text += "pipelines:\n  alone: [{ route: { sinks: [main] } }]\n";
    for (name, topic) in topics {
        text +=
            &format!("  {name}: [{{ route: {{ sinks: [main, {name}], topic: \"{topic}\" }} }}]\n");
    }
    text += &format!(
        r#"sinks:
  main: {{ type: log }}
  required: {{ type: kafka, brokers: "{brokers}", timeout: 1s }}
  buffered: {{ type: kafka, brokers: "{brokers}", timeout: 1s, buffer: log }}
  optional: {{ type: kafka, brokers: "{brokers}", timeout: 1s, required: false }}
"#
    );
    text
}

async fn send(running: &Running, source: &str, number: u64) {
    let mut client = Client::connect(running.http).await.unwrap();
    let body = format!(r#"{{"source":"{source}","number":{number}}}"#);
    let headers = [
        ("x-gitlab-token", "s3cret"),
        ("content-type", "application/json"),
    ];
    let path = format!("/webhook/{source}");
    let answer = client.post(&path, &headers, body).await;
    assert_eq!(answer.unwrap().0, StatusCode::ACCEPTED);
}

/// Batches that the lane of each source has under way.
async fn undurable(running: &Running) -> BTreeMap<String, f64> {
    let figures = running.page("/metrics").await;
    let lanes = figures
        .lines()
        .filter_map(|line| line.strip_prefix("headgate_lane_undurable_batches{lane=\""));
    lanes
        .map(|line| {
            let (lane, count) = line.split_once("\"} ").unwrap();
            let source = lane.split('/').next().unwrap().to_owned();
            (source, count.parse().unwrap())
        })
        .collect()
}

/// The numbers in a topic.
fn numbers(brokers: &str, topic: &str) -> Vec<u64> {
    let records = read_all(brokers, topic, "read_committed");
    let number = |value: &[u8]| {
        let data: Value = serde_json::from_slice(value).unwrap();
        data["number"].as_u64().unwrap()
    };
    records
        .iter()
        .map(|record| number(record.value.as_deref().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sink_holds_neither_the_others_nor_the_sources_that_do_not_need_it() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let mut topics = BTreeMap::new();
    for name in &SOURCES[1..] {
        topics.insert(*name, topic(&brokers, 1, &[]).await);
    }
    let folder = tempfile::tempdir().unwrap();
    // Nobody answers there.
    let place = Place::new(folder.path(), &sections("127.0.0.1:1", &topics));
    let running = place.start().await;
    for number in 0..EVENTS {
        for source in SOURCES {
            send(&running, source, number).await;
        }
    }
    // The one that is there has everything, also of the sources that wait for another one too.
    place
        .until("in the log", async || {
            place.tail().len() as u64 == EVENTS * SOURCES.len() as u64
        })
        .await;
    place
        .until("only held where it must be", async || {
            let undurable = undurable(&running).await;
            let free = ["alone", "buffered", "optional"];
            undurable["required"] > 0.0 && free.iter().all(|source| undurable[*source] == 0.0)
        })
        .await;
    place
        .until("told apart", async || {
            let state = running.readiness().await.unwrap();
            assert_eq!(state["ready"], true, "{state:#}");
            let sinks = state["sinks"].as_array().unwrap();
            sinks.iter().all(|sink| {
                let is_there = sink["name"] == "main";
                (sink["state"] == "ready") == is_there
            })
        })
        .await;

    // Of what the optional one has not got nobody waits for anything: the operator does.
    assert!(running.stop().success());
    let missed = place.letters();
    assert!(
        missed
            .iter()
            .all(|letter| letter["step"] == "sink/optional"
                && letter["reason"] == "sink_unavailable"),
        "{missed:#?}"
    );
    assert_eq!(missed.len() as u64, EVENTS, "{}", place.log());

    place.configure(&sections(&brokers, &topics));
    let running = place.start().await;
    for name in ["required", "buffered"] {
        place
            .until("delivered after all", async || {
                let mut found = numbers(&brokers, &topics[name]);
                found.dedup();
                found == (0..EVENTS).collect::<Vec<_>>()
            })
            .await;
    }
    assert_eq!(numbers(&brokers, &topics["optional"]), Vec::<u64>::new());
    send(&running, "optional", EVENTS).await;
    place
        .until("taken by the optional one too", async || {
            numbers(&brokers, &topics["optional"]) == [EVENTS]
        })
        .await;
    assert!(running.stop().success());
}
