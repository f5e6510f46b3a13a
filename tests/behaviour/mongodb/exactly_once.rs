//! Into Kafka exactly once, as a reader of what is committed sees it: each change once and in order, whenever the gateway is killed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ::mongodb::Client;

use super::{
    crash::namespaced,
    fold::{everything, fold, show_difference},
    url,
    workload::{COLLECTIONS, Workload},
};
use crate::support::{
    consumer::read_events,
    gateway::{DEADLINE, Place},
    scale, server, unique,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_folds_into_the_database_and_has_each_event_once_whenever_it_is_killed() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    // One partition shows the order of everything.
    let topic = crate::kafka::topic(&brokers, 1, &[]).await;
    let name = unique("headgate").replace('-', "_");
    let client = Client::with_uri_str(url()).await.unwrap();
    let database = client.database(&name);
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        r#"
group: {group}
shards: 1
sources:
  shop: {{ type: mongodb, url: "{url}", database: {name}, snapshot: {{ chunk_documents: 7 }} }}
pipeline:
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", mode: structured, delivery: exactly_once, transactions: {{ interval: 20ms }} }}
"#,
        group = unique("group"),
        url = url(),
    );
    let place = Place::new(folder.path(), &sections);
    let mut workload = Workload::new(database.clone(), 3);
    for _ in 0..150 {
        workload.step().await;
    }
    let mut deaths = 0;
    for round in 0..scale(9, 90) {
        let failpoint = match round % 3 {
            0 => Some(format!("transaction-written:{}", 1 + round % 5)),
            1 => Some(format!("transaction-committed:{}", 1 + round % 5)),
            _ => None,
        };
        let mut running = match &failpoint {
            Some(_) => place.launch(failpoint.as_deref()),
            None => place.start().await,
        };
        let began = Instant::now();
        for step in 0.. {
            // Those without a failpoint are never at rest either when they are killed.
            let is_over = match failpoint {
                Some(_) => running.ended().is_some(),
                None => step > 20 + round * 13 % 40,
            };
            if is_over {
                break;
            }
            assert!(began.elapsed() < DEADLINE, "it lives: {}", place.log());
            workload.step().await;
        }
        match failpoint {
            Some(_) => deaths += 1,
            None => running.kill(),
        }
    }
    assert!(workload.transactions > 0 && deaths > 0);

    let running = place.start().await;
    let read = || tokio::task::block_in_place(|| read_events(&brokers, &topic));
    let expected = everything(&database, &COLLECTIONS).await;
    let began = Instant::now();
    loop {
        let got = fold(namespaced(&read()));
        if got == expected {
            break;
        }
        if began.elapsed() > 2 * DEADLINE {
            show_difference(&expected, &got);
            panic!("the topic does not fold into what the database holds");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(running.stop().success());
    let events = read();
    assert_eq!(fold(namespaced(&events)), expected);
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    let mut last = "";
    for event in &events {
        *times.entry(event["id"].as_str().unwrap()).or_default() += 1;
        if event["op"] != "r" {
            let sequence = event["sequence"].as_str().unwrap_or(last);
            assert!(last <= sequence, "{sequence} came after {last}");
            last = sequence;
        }
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        twice.is_empty(),
        "events are in the topic more than once: {twice:?}"
    );
    database.drop().await.unwrap();
}
