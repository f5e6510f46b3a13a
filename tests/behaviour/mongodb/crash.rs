//! `kill -9` of the gateway while a random workload writes.

use std::collections::BTreeMap;

use ::mongodb::{Client, bson::doc};
use serde_json::Value;

use super::{
    called,
    faults::Faults,
    fold::{everything, fold, show_difference},
    url,
    workload::{COLLECTIONS, Workload},
};
use crate::support::{
    gateway::{DEADLINE, Place},
    scale, unique,
};

fn sections(url: &str, database: &str, more: &str) -> String {
    format!(
        "sources:\n  shop: {{ type: mongodb, url: \"{url}\", database: {database}, snapshot: {{ chunk_documents: 7 }}{more} }}\n"
    )
}

pub(super) fn namespaced(events: &[Value]) -> impl Iterator<Item = (String, Value)> {
    events.iter().map(|event| {
        let namespace = event["subject"].as_str().unwrap_or_default().to_owned();
        (namespace, event["data"].clone())
    })
}

/// Waits until what is in the log folds into what the database holds; everything in the log.
async fn rebuilt(place: &Place, database: &mongodb::Database) -> Vec<Value> {
    let expected = everything(database, &COLLECTIONS).await;
    let began = std::time::Instant::now();
    loop {
        let events = place.tail();
        let got = fold(namespaced(&events));
        if got == expected {
            return events;
        }
        if began.elapsed() > 2 * DEADLINE {
            show_difference(&expected, &got);
            panic!("the log does not fold into what the database holds");
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// What an id stands for, of each event that is a change.
fn changes(events: &[Value]) -> BTreeMap<String, (Value, Value, Value)> {
    let changes = events.iter().filter(|event| event["op"] != "r");
    changes
        .map(|event| {
            let data = &event["data"];
            let what = (
                event["sequence"].clone(),
                data["source"]["operation"].clone(),
                data["documentKey"].clone(),
            );
            (event["id"].as_str().unwrap().to_owned(), what)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_folds_into_the_database_after_kill_9_and_holds_each_event_once() {
    let name = unique("headgate").replace('-', "_");
    let client = Client::with_uri_str(url()).await.unwrap();
    let database = client.database(&name);
    let source = called(&url(), &name);
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections(&source, &name, ""));
    let mut workload = Workload::new(database.clone(), 8);
    for _ in 0..150 {
        workload.step().await;
    }
    // Before the first event that is not part of the snapshot, in whole seconds as the server counts them.
    let since = jiff::Timestamp::now();
    for round in 0..scale(8, 60) {
        let running = place.start().await;
        let faults = match round % 3 {
            1 => {
                let faults = Faults::of(&client, &name).await;
                let how = match round % 2 {
                    0 => doc! { "closeConnection": true },
                    _ => doc! { "errorCode": 91, "errorLabels": ["ResumableChangeStreamError"] },
                };
                faults
                    .set(doc! { "times": 2 }, &["getMore", "aggregate"], how)
                    .await;
                Some(faults)
            }
            _ => None,
        };
        for _ in 0..20 + round * 13 % 40 {
            workload.step().await;
        }
        // Never at rest: some of what was just written is on its way.
        running.kill();
        drop(faults);
        for _ in 0..5 {
            workload.step().await;
        }
    }
    assert!(workload.transactions > 0);
    let running = place.start().await;
    let events = rebuilt(&place, &database).await;
    assert!(running.stop().success());
    let logged = place.tail();
    assert_eq!(logged.len(), events.len());

    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for event in &logged {
        *times.entry(event["id"].as_str().unwrap()).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        twice.is_empty(),
        "events are in the log more than once: {twice:?}"
    );

    // Another gateway that reads the same changes gives each the same id.
    let again = tempfile::tempdir().unwrap();
    let since = since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let more = format!(", start_at: \"{since}\"");
    let again = Place::new(
        again.path(),
        &sections(&source, &name, &more).replace("chunk_documents: 7", "mode: on_demand"),
    );
    let running = again.start().await;
    let first = changes(&logged);
    let began = std::time::Instant::now();
    loop {
        let second = changes(&again.tail());
        let seen = first.iter().filter(|(id, _)| second.contains_key(*id));
        // The first gateway may have begun later than that second.
        if seen.clone().count() == first.len() {
            assert!(seen.into_iter().all(|(id, what)| second[id] == *what));
            break;
        }
        assert!(
            began.elapsed() < 2 * DEADLINE,
            "{} of {} ids came again",
            seen.count(),
            first.len()
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(running.stop().success());
    database.drop().await.unwrap();
}
