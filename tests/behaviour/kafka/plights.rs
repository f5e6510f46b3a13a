//! Everything that Kafka may do to a sink, at the whole gateway: what becomes of the events, what `/readyz` says, what is counted.
//!
//! One gateway has a sink for each plight, so that it is also shown that none of them holds up another.

use std::{collections::HashSet, path::Path, time::Instant};

use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::Value;

use super::{brokers, topic};
use crate::support::{
    consumer::read_all,
    figures::Figures,
    gateway::{DEADLINE, Place, Running},
    http::Client,
    kafka_tools, server, unique,
};

/// What a sink is to show at one moment.
struct Shown {
    sink: &'static str,
    state: &'static str,
    /// In its reason or in one of its warnings.
    says: &'static str,
    breaker: &'static str,
    /// Figures that are above zero, each with a label besides the sink's.
    counted: &'static [(&'static str, (&'static str, &'static str))],
}

const OPEN: (&str, (&str, &str)) = ("headgate_sink_breaker_state", ("state", "open"));
const FIRST: (&str, (&str, &str)) = ("headgate_sink_first_attempts_total", ("", ""));

async fn figures(running: &Running) -> Figures {
    let mut client = Client::connect(running.admin).await.unwrap();
    let (_, body) = client.get("/metrics").await.unwrap();
    Figures::told(&body)
}

/// What is not yet as wanted.
fn missing(wanted: &Shown, readiness: &Value, figures: &Figures) -> Option<String> {
    let sinks = readiness["sinks"].as_array().unwrap();
    let sink = sinks.iter().find(|sink| sink["name"] == wanted.sink);
    let sink = sink.unwrap();
    let breakers: Vec<&str> = wanted.breaker.split('|').collect();
    let is_shown = sink["state"] == wanted.state
        && sink.to_string().contains(wanted.says)
        && breakers.contains(&sink["breaker"].as_str().unwrap());
    if !is_shown {
        return Some(format!("/readyz has {sink:#}, not {}", wanted.says));
    }
    let uncounted = wanted.counted.iter().find(|(name, label)| {
        let mut labels = vec![("sink", wanted.sink)];
        labels.extend(Some(*label).filter(|(name, _)| !name.is_empty()));
        figures.sum(name, &labels) == 0.0
    });
    uncounted.map(|(name, label)| format!("{name} of {} {label:?} is 0", wanted.sink))
}

/// Waits until every sink was seen as wanted.
async fn all_shown(running: &Running, place: &Place, mut wanted: Vec<Shown>) {
    let began = Instant::now();
    while !wanted.is_empty() {
        let (readiness, figures) = tokio::join!(running.readiness(), figures(running));
        let readiness = readiness.unwrap();
        assert_eq!(readiness["ready"], true, "webhooks would be accepted");
        wanted.retain(|wanted| missing(wanted, &readiness, &figures).is_some());
        if began.elapsed() > 2 * DEADLINE {
            let left: Vec<_> = wanted
                .iter()
                .filter_map(|wanted| missing(wanted, &readiness, &figures))
                .collect();
            assert!(left.is_empty(), "{left:#?}\n{}", place.log());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Appears in the folder at once, whole.
fn put(inbox: &Path, name: &str, text: &str) {
    let part = inbox.join(format!("{name}.part"));
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, inbox.join(format!("{name}.jsonl"))).unwrap();
}

/// Waits until the topic has so many events. Returns how many are there more than once.
async fn arrived(brokers: &str, topic: &str, count: usize, place: &Place) -> usize {
    let began = Instant::now();
    loop {
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let read = move || read_all(&brokers, &topic, "read_committed");
        let records = tokio::task::spawn_blocking(read).await.unwrap();
        let ids: HashSet<_> = records.iter().map(|record| record.event().id).collect();
        let found = ids.len();
        if found >= count {
            return records.len() - found;
        }
        assert!(began.elapsed() < 2 * DEADLINE, "{found}: {}", place.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plight_is_in_readyz_and_in_the_metrics_and_holds_up_no_other_sink() {
    let brokers = brokers();
    let plain = topic(&brokers, 1, &[]).await;
    let revoked = topic(&brokers, 1, &[]).await;
    let small = topic(&brokers, 1, &[("max.message.bytes", "2000")]).await;
    let compacted = topic(&brokers, 1, &[("cleanup.policy", "compact")]).await;
    let nowhere = unique("nowhere");
    let grant = |operation: &str| {
        format!(
            "kafka-acls.sh --add --allow-principal User:restricted --operation {operation} --topic {revoked}"
        )
    };
    // Whoever is named for one thing may do nothing else.
    kafka_tools::run(&brokers, &grant("Describe")).await;

    let cluster = || {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 1, 1).unwrap();
        cluster
    };
    // A real broker of one node has always enough replicas, and one whose only disk is full ends.
    let (replicas, full_disk, slow) = (cluster(), cluster(), cluster());
    replicas.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000],
    );
    full_disk.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 1000],
    );

    let ca = server("KAFKA_CA", "kafka");
    let user = |user: &str, password: &str| {
        format!("sasl: {{ mechanism: PLAIN, username: {user}, password: {password} }}")
    };
    let password = server("KAFKA_PASSWORD", "kafka");
    let sasl = server("KAFKA_SASL_PLAINTEXT_BROKERS", "kafka");
    let trust = format!("tls: {{ ca: \"{ca}\" }}");
    let sinks: Vec<(&str, String, String, &str)> = vec![
        ("fine", brokers.clone(), String::new(), &plain),
        ("away", "127.0.0.1:1".into(), String::new(), "events"),
        (
            "expired",
            server("KAFKA_EXPIRED_BROKERS", "kafka"),
            trust,
            "events",
        ),
        (
            "unknown-authority",
            server("KAFKA_SSL_BROKERS", "kafka"),
            "tls: {}".into(),
            "events",
        ),
        ("password", sasl.clone(), user("headgate", "no"), "events"),
        ("revoked", sasl, user("restricted", &password), &revoked),
        (
            "replicas",
            replicas.bootstrap_servers(),
            String::new(),
            "events",
        ),
        (
            "full-disk",
            full_disk.bootstrap_servers(),
            String::new(),
            "events",
        ),
        ("slow", slow.bootstrap_servers(), String::new(), "events"),
        ("large", brokers.clone(), String::new(), &small),
        ("rules", brokers.clone(), String::new(), &compacted),
        ("nowhere", brokers.clone(), String::new(), &nowhere),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (mut sources, mut routes, mut targets) = (String::new(), String::new(), String::new());
    for (name, brokers, more, topic) in &sinks {
        let inbox = folder.path().join(name);
        std::fs::create_dir(&inbox).unwrap();
        sources += &format!(
            "  {name}: {{ type: files, paths: [\"{}\"], records: {{ format: json_lines }}, settle: 100ms, pipeline: {name} }}\n",
            inbox.display()
        );
        routes += &format!(
            "  {name}: [{{ route: {{ topic: \"{topic}\", key: \"{{/key}}\", sinks: [{name}] }} }}]\n"
        );
        let more = match more.as_str() {
            "" => String::new(),
            more => format!(", {more}"),
        };
        targets += &format!(
            "  {name}: {{ type: kafka, brokers: \"{brokers}\", timeout: 20s, retry: {{ attempts: 2, initial: 20ms, max: 200ms }}{more} }}\n"
        );
    }
    targets = targets.replace(
        &format!("brokers: \"{}\", timeout: 20s", slow.bootstrap_servers()),
        &format!("brokers: \"{}\", timeout: 1s", slow.bootstrap_servers()),
    );
    let place = Place::new(
        folder.path(),
        &format!("sources:\n{sources}pipelines:\n{routes}sinks:\n{targets}"),
    );
    let running = place.start().await;
    // Once it is connected: what is slow is the answer to what it writes.
    let connected = Shown {
        sink: "slow",
        state: "ready",
        says: "",
        breaker: "closed",
        counted: &[],
    };
    all_shown(&running, &place, vec![connected]).await;
    slow.broker_round_trip_time(1, std::time::Duration::from_secs(8))
        .unwrap();
    for (name, ..) in &sinks {
        let padding = "x".repeat(if *name == "large" { 5000 } else { 10 });
        let key = if *name == "rules" {
            ""
        } else {
            r#""key":"k","#
        };
        let random: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(padding.len())
            .collect();
        let line = format!("{{{key}\"text\":\"{random}\"}}\n");
        put(&folder.path().join(name), "one", &line);
    }

    let waits = |sink, says, counted| Shown {
        sink,
        state: "waiting",
        says,
        breaker: "open|half_open",
        counted,
    };
    all_shown(
        &running,
        &place,
        vec![
            waits(
                "away",
                "no broker answers; check `brokers`",
                &[
                    OPEN,
                    (
                        "headgate_kafka_errors_total",
                        ("error", "BrokerTransportFailure"),
                    ),
                ],
            ),
            waits(
                "expired",
                "check `tls.ca` and the certificates' dates",
                &[OPEN, ("headgate_kafka_errors_total", ("error", "SSL"))],
            ),
            waits(
                "unknown-authority",
                "check `tls.ca`",
                &[OPEN, ("headgate_kafka_errors_total", ("error", "SSL"))],
            ),
            waits(
                "password",
                "check `sasl`",
                &[
                    OPEN,
                    ("headgate_kafka_errors_total", ("error", "Authentication")),
                ],
            ),
            waits(
                "revoked",
                "grant WRITE and DESCRIBE on it",
                &[
                    OPEN,
                    (
                        "headgate_kafka_errors_total",
                        ("error", "TopicAuthorizationFailed"),
                    ),
                    ("headgate_sink_retries_total", ("", "")),
                ],
            ),
            Shown {
                sink: "replicas",
                state: "waiting",
                says: "check that the topics' replicas are in sync",
                breaker: "closed|open|half_open",
                counted: &[
                    ("headgate_kafka_stalled_seconds", ("producer", "main")),
                    FIRST,
                ],
            },
            Shown {
                sink: "full-disk",
                state: "waiting",
                says: "brokers are connected, but take nothing",
                breaker: "closed|open|half_open",
                counted: &[
                    ("headgate_kafka_stalled_seconds", ("producer", "main")),
                    FIRST,
                ],
            },
            waits(
                "slow",
                "no outcome within 1s; what was sent may still arrive",
                &[OPEN],
            ),
        ],
    )
    .await;
    let fine = |sink| Shown {
        sink,
        state: "ready",
        says: "",
        breaker: "closed",
        counted: &[FIRST],
    };
    all_shown(
        &running,
        &place,
        vec![fine("fine"), fine("large"), fine("rules"), fine("nowhere")],
    )
    .await;
    arrived(&brokers, &plain, 1, &place).await;
    let figures = figures(&running).await;
    for (sink, reason) in [
        ("large", "too_large"),
        ("rules", "refused_by_broker"),
        ("nowhere", "unknown_topic"),
    ] {
        let labels = [("step", &*format!("sink/{sink}")), ("reason", reason)];
        let letters = figures.sum("headgate_dead_letters_total", &labels);
        assert!(letters > 0.0, "{sink}: {letters}");
    }
    assert!(figures.sum("headgate_sink_sent_events_total", &[("sink", "fine")]) > 0.0);

    // Once it is mended, each goes on by itself with what it kept.
    kafka_tools::run(&brokers, &grant("Write")).await;
    replicas.clear_request_errors(RDKafkaApiKey::Produce);
    full_disk.clear_request_errors(RDKafkaApiKey::Produce);
    slow.broker_round_trip_time(1, std::time::Duration::ZERO)
        .unwrap();
    for (brokers, topic) in [
        (&brokers, revoked.as_str()),
        (&replicas.bootstrap_servers(), "events"),
        (&full_disk.bootstrap_servers(), "events"),
        (&slow.bootstrap_servers(), "events"),
    ] {
        arrived(brokers, topic, 1, &place).await;
    }
    let mended = ["revoked", "replicas", "full-disk", "slow"];
    all_shown(&running, &place, mended.map(fine).into()).await;
    let readiness = running.readiness().await.unwrap();
    for sink in readiness["sinks"].as_array().unwrap() {
        if mended.iter().any(|name| sink["name"] == *name) {
            assert!(!sink.to_string().contains("check"), "{sink:#}");
        }
    }
    running.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_transactions_too_what_is_refused_is_shown_and_goes_on_once_granted() {
    let brokers = brokers();
    let (events, group) = (topic(&brokers, 1, &[]).await, unique("group"));
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let sections = format!(
        r#"
group: {group}
shards: 1
sources:
  inbox: {{ type: files, paths: ["{inbox}"], records: {{ format: json_lines }}, settle: 100ms }}
pipeline: [{{ route: {{ topic: "{events}" }} }}]
sinks:
  main:
    type: kafka
    brokers: "{sasl}"
    delivery: exactly_once
    retry: {{ attempts: 2, initial: 20ms, max: 200ms }}
    sasl: {{ mechanism: PLAIN, username: restricted, password: {password} }}
"#,
        inbox = inbox.display(),
        sasl = server("KAFKA_SASL_PLAINTEXT_BROKERS", "kafka"),
        password = server("KAFKA_PASSWORD", "kafka"),
    );
    let grant = |user: &str, operations: &str, resource: &str| {
        format!("kafka-acls.sh --add --allow-principal User:{user} {operations} {resource}")
    };
    let (write, describe) = ("--operation Write", "--operation Describe");
    let id = format!("--transactional-id {group}- --resource-pattern-type prefixed");
    let of_topic = format!("--topic {events}");
    // What somebody is named for is closed to all others, and whoever is named for one thing may do nothing else.
    kafka_tools::run(&brokers, &grant("somebody", write, &id)).await;
    kafka_tools::run(&brokers, &grant("restricted", describe, &of_topic)).await;
    let place = Place::new(folder.path(), &sections);
    put(&inbox, "one", "{\"n\":1}\n{\"n\":2}\n");
    let running = place.launch(None);
    let began = Instant::now();
    while running.readiness().await.is_none() {
        assert!(began.elapsed() < 2 * DEADLINE, "{}", place.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let shown = |state, says, breaker, counted| {
        vec![Shown {
            sink: "main",
            state,
            says,
            breaker,
            counted,
        }]
    };
    all_shown(
        &running,
        &place,
        shown(
            "waiting",
            "grant WRITE and DESCRIBE on the transactional ids that begin with the group's name",
            "closed",
            &[(
                "headgate_kafka_errors_total",
                ("error", "TransactionalIdAuthorizationFailed"),
            )],
        ),
    )
    .await;
    kafka_tools::run(&brokers, &grant("restricted", write, &id)).await;
    all_shown(
        &running,
        &place,
        shown(
            "waiting",
            "grant WRITE and DESCRIBE on it",
            "open|half_open",
            &[
                OPEN,
                ("headgate_kafka_transactions_total", ("result", "aborted")),
                (
                    "headgate_kafka_errors_total",
                    ("error", "TopicAuthorizationFailed"),
                ),
            ],
        ),
    )
    .await;
    kafka_tools::run(&brokers, &grant("restricted", write, &of_topic)).await;
    arrived(&brokers, &events, 2, &place).await;
    let committed: &[_] = &[("headgate_kafka_transactions_total", ("result", "committed"))];
    all_shown(&running, &place, shown("ready", "", "closed", committed)).await;
    assert!(running.stop().success());
    let repeats = arrived(&brokers, &events, 2, &place).await;
    assert_eq!(repeats, 0);
}
