//! `kill -9` of a gateway that delivers to Kafka exactly once, while webhooks arrive and files appear.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::task::JoinSet;

use super::crash::{Accepted, send_until_killed, under_way};
use crate::{
    kafka::topic,
    support::{
        consumer::read_all,
        gateway::{DEADLINE, Place},
        scale, server, unique,
    },
};

const CLIENTS: u64 = 4;
const LINES: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_and_files_are_in_kafka_exactly_once_after_kill_9() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let topic = topic(&brokers, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let sections = format!(
        r#"
group: {group}
shards: 2
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
  inbox: {{ type: files, paths: ["{inbox}"], settle: 100ms, event_type: line.read.v1, records: {{ format: json_lines }} }}
pipeline:
  - route: {{ topic: "{topic}", key: "{{type}}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#,
        group = unique("group"),
        inbox = inbox.display(),
    );
    let place = Place::new(folder.path(), &sections);
    let accepted = Accepted::default();
    let mut next: Vec<u64> = (0..CLIENTS).map(|client| client * 1_000_000).collect();
    let rounds = scale(5, 60);
    for round in 0..rounds {
        let running = place.start().await;
        let lines = round * LINES..(round + 1) * LINES;
        let text: String = lines.map(|n| format!("{{\"line\":{n}}}\n")).collect();
        std::fs::write(inbox.join(format!("{round}.jsonl.part")), text).unwrap();
        std::fs::rename(
            inbox.join(format!("{round}.jsonl.part")),
            inbox.join(format!("{round}.jsonl")),
        )
        .unwrap();
        let mut clients = JoinSet::new();
        for (client, number) in next.iter().copied().enumerate() {
            let (address, accepted) = (running.http, Accepted::clone(&accepted));
            clients.spawn(async move {
                (
                    client,
                    send_until_killed(address, number, 1, accepted).await,
                )
            });
        }
        // A different moment each round, without chance: what fails once fails again.
        tokio::time::sleep(Duration::from_millis(150 + round * 137 % 700)).await;
        under_way(&place, &accepted, (round + 1) * 25).await;
        running.kill();
        while let Some(ended) = clients.join_next().await {
            let (client, number) = ended.unwrap();
            next[client] = number;
        }
    }
    let running = place.start().await;
    let accepted = accepted.lock().await;
    let wanted_lines = rounds * LINES;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let (hooks, lines) = found(&brokers, &topic);
        let complete = accepted.keys().all(|number| hooks.contains_key(number))
            && lines.len() as u64 == wanted_lines;
        if complete {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} of {} webhooks and {} of {wanted_lines} lines arrived: {}",
            hooks.len(),
            accepted.len(),
            lines.len(),
            place.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(running.stop().success());
    let (hooks, lines) = found(&brokers, &topic);
    assert!(
        accepted.len() > 100,
        "too little was under way: {}",
        accepted.len()
    );
    let twice: BTreeSet<_> = hooks
        .iter()
        .chain(&lines)
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
}

/// How often each webhook and each line is in the topic, for a consumer that reads what is committed; asserts their order.
fn found(brokers: &str, topic: &str) -> (BTreeMap<u64, u32>, BTreeMap<u64, u32>) {
    let (mut hooks, mut lines) = (BTreeMap::new(), BTreeMap::new());
    let mut last_of_client = BTreeMap::new();
    for record in read_all(brokers, topic, "read_committed") {
        let data: serde_json::Value =
            serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        if let Some(line) = data["line"].as_u64() {
            *lines.entry(line).or_default() += 1;
        } else if let Some(number) = data["number"].as_u64() {
            *hooks.entry(number).or_default() += 1;
            let before = last_of_client.insert(number / 1_000_000, number);
            assert!(
                before.is_none_or(|before| before <= number),
                "{number} after {before:?}"
            );
        }
    }
    (hooks, lines)
}
