//! A random workload with crashes and errors in between: folding the events gives the collections.

use std::collections::{BTreeMap, BTreeSet};

use headgate_sdk::{Envelope, Str};
use mongodb::bson::{Bson, doc};
use serde_json::json;

use crate::{
    support::{Shop, scale},
    workload::{COLLECTIONS, Workload},
};

/// Everything that was ever sent: an id stands for one occurrence, also when it is sent again.
fn remember(
    ids: &mut BTreeMap<Str, (Option<Str>, Bson)>,
    events: impl IntoIterator<Item = Envelope>,
) {
    for event in events {
        // What was looked up may be newer the second time; what happened may not differ.
        let data = crate::support::data(&event);
        let what = Bson::String(format!(
            "{} {}",
            data["source"]["operation"], data["documentKey"]
        ));
        let known = ids
            .entry(event.id.clone())
            .or_insert_with(|| (event.sequence.clone(), what.clone()));
        if event.op != Some(headgate_sdk::Op::Read) {
            assert_eq!(
                *known,
                (event.sequence.clone(), what),
                "the id {} was given twice",
                event.id
            );
        }
    }
}

async fn rebuilds(seed: u64, more: serde_json::Value) {
    let rounds = scale(4, 60);
    let steps = scale(120, 150);
    let shop = Shop::new().await;
    let mut workload = Workload::new(shop.database.clone(), seed);
    for _ in 0..steps {
        workload.step().await;
    }
    let mut ids = BTreeMap::new();
    shop.world.lanes.hold();
    for round in 0..rounds {
        let run = shop.start(more.clone());
        if round % 2 == 1 {
            // Errors that a driver calls resumable, by label and by code, and a cut connection.
            let how = match round % 3 {
                0 => doc! { "errorCode": 91, "errorLabels": ["ResumableChangeStreamError"] },
                1 => doc! { "errorCode": 43 },
                _ => doc! { "closeConnection": true },
            };
            shop.fail(doc! { "times": 3 }, &["getMore", "aggregate"], how)
                .await;
        }
        for _ in 0..steps {
            workload.step().await;
            if workload.random.u32(..10) == 0 {
                shop.world.lanes.release_up_to(workload.random.usize(..4));
            }
        }
        remember(
            &mut ids,
            shop.world
                .lanes
                .sent()
                .into_values()
                .flat_map(|s| s.durable.into_iter().chain(s.pending)),
        );
        run.kill().await;
        shop.calm().await;
        shop.world.lanes.crash();
    }
    shop.world.lanes.release();
    let run = shop.start(more);
    shop.is_rebuilt(&COLLECTIONS).await;
    assert!(workload.transactions > 0);
    let events = shop.events();
    remember(&mut ids, events.clone());
    let distinct: BTreeSet<_> = events.iter().map(|e| &e.id).collect();
    assert_eq!(
        distinct.len(),
        events.len(),
        "an event became durable twice"
    );
    let sequences: Vec<_> = events.iter().filter_map(|e| e.sequence.clone()).collect();
    assert!(sequences.is_sorted(), "events are out of order");
    within_transactions(&events);
    run.stop(crate::support::DEADLINE).await.unwrap();
    shop.database.drop().await.unwrap();
}

/// Events of a transaction are numbered from one without a gap, over all collections and in each.
fn within_transactions(events: &[Envelope]) {
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let mut counts: BTreeMap<(String, Str), u64> = BTreeMap::new();
    for event in events {
        let data = crate::support::data(event);
        let Some(id) = data["transaction"]["id"].as_str() else {
            continue;
        };
        let total = totals.entry(id.to_owned()).or_default();
        *total += 1;
        assert_eq!(
            data["transaction"]["total_order"].as_u64(),
            Some(*total),
            "{id}"
        );
        let count = counts
            .entry((id.to_owned(), event.subject.clone().unwrap_or_default()))
            .or_default();
        *count += 1;
        assert_eq!(
            data["transaction"]["data_collection_order"].as_u64(),
            Some(*count),
            "{id}"
        );
    }
    assert!(
        !totals.is_empty(),
        "no event says that it was of a transaction"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_fold_into_the_collections() {
    rebuilds(1, json!({ "snapshot": { "chunk_documents": 7 } })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_tell_only_what_changed_fold_as_well() {
    rebuilds(2, json!({ "snapshot": { "chunk_documents": 1000 }, "collections": ["*"], "full_document": "default" })).await;
}
