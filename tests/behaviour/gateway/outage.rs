//! Kafka goes away while webhooks arrive.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Instant,
};

use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{
    broker::OwnBroker,
    consumer::{Found, read_all},
    gateway::{DEADLINE, Place, Running},
    http::Client,
};

const CLIENTS: u64 = 4;
const EVENTS: u64 = 5_000;
const TOPIC: &str = "events";

fn sections(brokers: &str) -> String {
    format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], pipeline: to-kafka }}
pipelines:
  to-kafka:
    - route: {{ topic: {TOPIC}, key: "{{/client}}" }}
sinks:
  main:
    type: kafka
    brokers: {brokers}
    timeout: 1s
    topics: {{ create: [{TOPIC}], partitions: 3 }}
"#
    )
}

/// Sends the client's events of `numbers`, one after the other; each must be accepted.
async fn send(address: SocketAddr, client: u64, numbers: std::ops::Range<u64>) {
    let mut connection = Client::connect(address).await.unwrap();
    for number in numbers {
        let body = format!(r#"{{"object_kind":"push","client":"c{client}","number":{number}}}"#);
        let headers = [
            ("x-gitlab-token", "s3cret"),
            ("content-type", "application/json"),
        ];
        let (status, _) = connection
            .post("/webhook/hooks", &headers, body)
            .await
            .unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "event {number} of c{client}");
    }
}

/// The state of the sink in `/readyz`, once it is as wanted.
async fn sink(running: &Running, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let readiness = running.readiness().await.unwrap();
        let sink = readiness["sinks"][0].clone();
        if wanted(&sink) {
            return readiness;
        }
        assert!(started.elapsed() < DEADLINE, "the sink stays {sink}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Reads the topic until it has so many different events.
async fn delivered(brokers: &str, events: u64) -> Vec<Found> {
    let started = Instant::now();
    loop {
        let brokers = brokers.to_owned();
        let found =
            tokio::task::spawn_blocking(move || read_all(&brokers, TOPIC, "read_committed"))
                .await
                .unwrap();
        let ids: std::collections::HashSet<_> =
            found.iter().map(|record| record.event().id).collect();
        if ids.len() as u64 >= events {
            return found;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "{} of {events} events came",
            ids.len()
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_accepted_while_kafka_is_away_and_delivered_in_order_once_it_is_back() {
    let broker = OwnBroker::start();
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections(&broker.brokers));
    let running = place.start().await;
    // One event goes through, so that the outage meets a sink that works.
    send(running.http, 0, 0..1).await;
    delivered(&broker.brokers, 1).await;

    broker.stop();
    let share = EVENTS / CLIENTS;
    let halves = [1..share / 2, share / 2..share];
    for (half, numbers) in halves.into_iter().enumerate() {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let from = if client == 0 || half > 0 {
                numbers.start
            } else {
                0
            };
            clients.spawn(send(running.http, client, from..numbers.end));
        }
        clients.join_all().await;
        if half == 0 {
            // The outage is longer than the sink's timeout and every attempt that its breaker allows.
            let readiness = sink(&running, |sink| sink["state"] == "waiting").await;
            assert_eq!(readiness["ready"], true, "webhooks are still accepted");
        }
    }
    assert_eq!(
        running.readiness().await.unwrap()["ready"],
        true,
        "webhooks are still accepted"
    );
    broker.start_again();
    let found = delivered(&broker.brokers, EVENTS).await;
    sink(&running, |sink| sink["state"] == "ready").await;
    assert!(running.stop().success());

    let mut ids: BTreeMap<(String, u64), _> = BTreeMap::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for record in &found {
        let event = record.event();
        let data: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let client = data["client"].as_str().unwrap().to_owned();
        let number = data["number"].as_u64().unwrap();
        assert_eq!(record.key.as_deref(), Some(client.as_str()));
        if let Some(before) = ids.insert((client.clone(), number), event.id.clone()) {
            assert_eq!(before, event.id, "a repetition carries the same id");
            continue;
        }
        let next = last.get(&client).map_or(0, |last| last + 1);
        assert_eq!(number, next, "out of order for {client}");
        last.insert(client, number);
    }
    assert_eq!(ids.len() as u64, EVENTS);
}
