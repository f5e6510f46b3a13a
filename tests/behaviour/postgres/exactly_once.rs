//! Into Kafka exactly once, as a reader of what is committed sees it at any moment: transactions of the database whole or not at
//! all, those that are too large in parts that go on where they were, and in the end each change once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    database::Database,
    fold::{assert_orderly, row_events},
    rebuild::{Random, assert_same_tables, create, work},
};
use crate::support::{
    consumer::read_events,
    gateway::{DEADLINE, Place, Running},
    scale, server, unique,
};

/// Rows of the largest transactions: several times what fits into one of Kafka's here.
const LARGE: u64 = 2_000;

/// How often a transaction of the database has a row in `events`.
fn sizes(events: &[Value]) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for event in row_events(events) {
        let id = event["data"]["transaction"]["id"].as_str().unwrap();
        *sizes.entry(id.to_owned()).or_default() += 1;
    }
    sizes
}

/// A transaction of some megabytes.
fn all_at_once(n: u64) -> String {
    format!(
        "INSERT INTO large SELECT g, {n} FROM generate_series(1, {}) g ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        4 * LARGE
    )
}

/// A transaction of half a megabyte.
fn some_at_once(n: u64) -> String {
    format!(
        "INSERT INTO a SELECT g, repeat(md5(g::text), 80), 'at once' FROM generate_series(1, 200) g \
         ON CONFLICT (id) DO UPDATE SET big = excluded.big, note = '{n}'"
    )
}

async fn dead(running: &mut Running, place: &Place) {
    let began = Instant::now();
    while running.ended().is_none() {
        assert!(began.elapsed() < DEADLINE, "it lives: {}", place.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_has_each_change_once_and_transactions_whole_whenever_it_is_killed() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    // One partition shows the order of everything.
    let topic = crate::kafka::topic(&brokers, 1, &[]).await;
    let database = Database::new().await;
    create(&database).await;
    database.slot(&database.name).await;
    let sections = format!(
        r#"
group: {group}
shards: 1
sources:
  rows: {source}
pipeline:
  - route: {{ topic: "{topic}" }}
sink:
  type: kafka
  brokers: "{brokers}"
  mode: structured
  delivery: exactly_once
  # By size, not by time: a source that gives nothing for so long counts as silent, even on a machine that is busy.
  transactions: {{ interval: 3s, bytes: 100kB, max_bytes: 1MB, timeout: 30s }}
"#,
        group = unique("group"),
        source = database.source(),
    );
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let read = || tokio::task::block_in_place(|| read_events(&brokers, &topic));
    // What was seen at some moment: how much of which transaction.
    let mut seen = Vec::new();
    for round in 0..scale(6, 60) {
        let failpoint = match round % 3 {
            0 => Some("transaction-written"),
            1 => Some("transaction-committed"),
            _ => None,
        };
        let failpoint = failpoint.map(|name| format!("{name}:{}", 1 + random.next(3)));
        let mut running = match &failpoint {
            Some(_) => place.launch(failpoint.as_deref()),
            None => place.start().await,
        };
        let most = 10 + random.next(20);
        for step in 0..most {
            if running.ended().is_some() {
                break;
            }
            work(&database, &mut random, round * 100 + step, LARGE).await;
        }
        if failpoint.is_some() {
            // However few steps it were: this is enough to get it there.
            let rows = all_at_once(round);
            database.run(&rows).await;
            dead(&mut running, &place).await;
        } else {
            tokio::time::sleep(Duration::from_millis(random.next(300))).await;
            running.kill();
        }
        seen.push(sizes(&read()));
    }
    let running = place.start().await;
    database.all_confirmed().await;
    running.kill();
    // After the first of Kafka's, where one of the database is several batches and fits into one.
    for n in 0..3 {
        let mut running = place.launch(Some("transaction-committed:1"));
        database.run(&some_at_once(n)).await;
        dead(&mut running, &place).await;
        seen.push(sizes(&read()));
    }
    // Between two parts of one transaction.
    let mut running = place.launch(Some("transaction-committed:3"));
    database.run(&all_at_once(1_000)).await;
    dead(&mut running, &place).await;
    seen.push(sizes(&read()));

    let running = place.start().await;
    database.all_confirmed().await;
    assert!(running.stop().success());
    let all = read();
    assert_orderly(&all);
    assert_same_tables(&database, &all, "kafka").await;
    let whole = sizes(&all);
    let parts: BTreeSet<_> = seen
        .iter()
        .flatten()
        .filter(|(id, size)| whole[*id] != **size)
        .map(|(id, size)| (id.as_str(), *size, whole[id]))
        .collect();
    let torn: Vec<_> = parts.iter().filter(|part| part.2 < 1_000).collect();
    assert!(torn.is_empty(), "seen, in all: {torn:?}");
    assert!(
        !parts.is_empty(),
        "nothing was resumed inside a transaction"
    );
    assert!(whole.len() > 50, "{} prove little", whole.len());
    database.drop_all().await;
}
