//! A source whose changes are all filtered out: its position moves in Kafka without an event, and the server may let go of its log.

use std::collections::BTreeMap;

use super::database::Database;
use crate::support::{
    consumer::{read_all, read_events},
    gateway::Place,
    server, unique,
};

/// The last position of each lane that the topic of checkpoints has.
fn positions(brokers: &str, group: &str) -> BTreeMap<String, String> {
    let records = read_all(brokers, &format!("{group}.checkpoints"), "read_committed");
    let position = |record: crate::support::consumer::Found| {
        let key = record.key.filter(|key| key.starts_with("p:"))?;
        Some((key, String::from_utf8(record.value?.to_vec()).unwrap()))
    };
    records.into_iter().filter_map(position).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_move_in_transactions_that_hold_no_event() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let topic = crate::kafka::topic(&brokers, 1, &[]).await;
    let group = unique("group");
    let database = Database::with_numbers().await;
    let sections = format!(
        r#"
group: {group}
shards: 1
sources:
  rows: {source}
pipeline:
  - filter: {{ keep: '%op != "c"' }}
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", mode: structured, delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#,
        source = database.source(),
    );
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    let mut seen = Vec::new();
    for round in 0..3 {
        let (from, to) = (round * 10, round * 10 + 9);
        let rows = format!("INSERT INTO numbers SELECT generate_series({from}, {to})");
        database.run(&rows).await;
        // Confirmed is what a checkpoint says that is committed.
        database.all_confirmed().await;
        let now = tokio::task::block_in_place(|| positions(&brokers, &group));
        assert_eq!(now.len(), 1, "{now:?}");
        assert!(!seen.contains(&now), "{now:?} after {seen:?}");
        seen.push(now);
    }
    let events = tokio::task::block_in_place(|| read_events(&brokers, &topic));
    let rows = events.iter().filter(|event| event["op"] == "c");
    assert_eq!(rows.count(), 0, "{events:?}");

    // Also across a crash: what comes next comes, and nothing of before.
    running.kill();
    let running = place.start().await;
    database
        .run("UPDATE numbers SET id = 100 WHERE id = 7")
        .await;
    database.all_confirmed().await;
    let events = tokio::task::block_in_place(|| read_events(&brokers, &topic));
    let deleted = events.iter().filter(|event| event["op"] == "d");
    assert_eq!(deleted.count(), 1, "{events:?}");
    assert!(running.stop().success());
    database.drop_all().await;
}
