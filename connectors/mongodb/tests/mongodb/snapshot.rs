//! Reading what exists while it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use headgate_sdk::{Op, conformance::Run};
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::support::{Shop, data, durable, scale, within};

async fn fill(shop: &Shop, documents: usize) {
    let mut next = 0;
    while next < documents {
        let end = (next + 1000).min(documents);
        let page: Vec<_> = (next..end)
            .map(|i| doc! { "_id": i64::try_from(i).unwrap(), "version": 0 })
            .collect();
        shop.orders().insert_many(page).await.unwrap();
        next = end;
    }
}

/// Versions only grow: an older copy never comes after a newer event.
fn assert_nothing_stale(shop: &Shop) {
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    for event in shop.events() {
        let data = data(&event);
        if let Some(version) = data["after"]["version"].as_i64() {
            let known = versions
                .entry(data["after"]["_id"].to_string())
                .or_insert(version);
            // An update is looked up, so it may show a later version early; a read may never show an earlier one late.
            if event.op == Some(Op::Read) {
                assert!(
                    version >= *known,
                    "{} went back from {known} to {version}",
                    data["after"]["_id"]
                );
            }
            *known = version.max(*known);
        }
    }
}

/// What a source says about its only snapshot.
async fn snapshot(run: &Run) -> Value {
    let status = run.control("status", json!({})).await.unwrap();
    status["snapshots"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_three_crashes_under_concurrent_writes() {
    let documents = scale(3_000, 200_000);
    let shop = Shop::new().await;
    fill(&shop, documents).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (orders, stop) = (shop.orders(), Arc::clone(&stop));
        async move {
            let mut random = fastrand::Rng::with_seed(3);
            let mut version = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let id = random.i64(..i64::try_from(documents).unwrap());
                let query = doc! { "_id": id };
                match random.u32(..10) {
                    0 => drop(orders.delete_one(query).await.unwrap()),
                    1..4 => drop(
                        orders
                            .replace_one(query, doc! { "_id": id, "version": version })
                            .upsert(true)
                            .await
                            .unwrap(),
                    ),
                    _ => drop(
                        orders
                            .update_one(query, doc! { "$set": { "version": version } })
                            .await
                            .unwrap(),
                    ),
                }
            }
            version
        }
    });
    let chunk = scale(30, 2_000);
    let config = json!({ "collections": ["orders"], "snapshot": { "chunk_documents": chunk } });
    let reads = |events: &[headgate_sdk::Envelope]| {
        events.iter().filter(|e| e.op == Some(Op::Read)).count()
    };
    for round in 1..=3 {
        let run = shop.start(config.clone());
        let enough = u64::try_from(round * documents / 5).unwrap();
        within("read a part", async {
            while snapshot(&run).await["documents"].as_u64().unwrap_or(0) < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        run.kill().await;
        shop.world.lanes.crash();
    }
    let before = reads(&shop.events());
    assert!(before < documents, "nothing was left for the last run");
    let run = shop.start(config);
    within("complete the snapshot", async {
        while snapshot(&run).await["done"] != json!(true) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    assert!(
        writer.await.unwrap() > 100,
        "there were no concurrent writes to speak of"
    );
    shop.is_rebuilt(&["orders"]).await;
    assert_nothing_stale(&shop);
    let events = shop.events();
    let distinct: BTreeSet<_> = events.iter().map(|e| &e.id).collect();
    assert_eq!(
        distinct.len(),
        events.len(),
        "an event became durable twice"
    );
    let names: BTreeSet<_> = events
        .iter()
        .filter(|e| e.op == Some(Op::Read))
        .map(|e| e.id.split('/').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 1, "the snapshot began anew: {names:?}");
    run.stop(crate::support::DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_all_types_are_read_across_chunks() {
    let shop = Shop::new().await;
    let ids: Vec<Bson> = vec![
        Bson::Null,
        1.into(),
        2_i64.into(),
        2.5.into(),
        "a".into(),
        "b".into(),
        doc! { "x": 1 }.into(),
        true.into(),
        false.into(),
        mongodb::bson::oid::ObjectId::new().into(),
        mongodb::bson::DateTime::from_millis(-5).into(),
        Bson::MaxKey,
        "1.5".parse::<mongodb::bson::Decimal128>().unwrap().into(),
    ];
    for id in &ids {
        shop.orders().insert_one(doc! { "_id": id }).await.unwrap();
    }
    let run = shop.start(json!({ "snapshot": { "chunk_documents": 2 } }));
    shop.is_rebuilt(&["orders"]).await;
    let keys: BTreeSet<_> = shop
        .events()
        .iter()
        .map(|e| e.partitionkey.clone())
        .collect();
    assert_eq!(keys.len(), ids.len());
    run.stop(crate::support::DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_rise_through_several_collections_without_an_event_between() {
    let shop = Shop::new().await;
    for name in ["a", "b", "c"] {
        let documents = (0..5).map(|id| doc! { "_id": id });
        shop.database
            .collection::<Document>(name)
            .insert_many(documents)
            .await
            .unwrap();
    }
    let config = json!({ "tombstones": true, "snapshot": { "chunk_documents": 2 } });
    let run = shop.start(config.clone());
    durable(&shop.world.lanes, "read a part", |events| events.len() >= 4).await;
    run.kill().await;
    shop.world.lanes.crash();
    let run = shop.start(config);
    durable(&shop.world.lanes, "read the rest", |events| {
        events.len() == 15
    })
    .await;
    let last = shop.database.collection::<Document>("c");
    last.delete_one(doc! { "_id": 0 }).await.unwrap();
    run.control("snapshot", json!({ "collection": "a" }))
        .await
        .unwrap();
    durable(&shop.world.lanes, "delete and read again", |events| {
        events.len() == 22
    })
    .await;
    let sequences: Vec<_> = shop.events().iter().map(|e| e.sequence.clone()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    let distinct: BTreeSet<_> = sequences.iter().collect();
    assert_eq!(distinct.len(), sequences.len());
    run.stop(crate::support::DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_demand_reads_what_the_filter_asks_for_and_nothing_before() {
    let shop = Shop::new().await;
    fill(&shop, 20).await;
    let run = shop.start(json!({ "snapshot": { "mode": "on_demand", "chunk_documents": 3 } }));
    shop.is_open().await;
    assert!(shop.events().is_empty());
    for (what, arguments) in [
        (
            "another collection",
            json!({ "collection": "other.people" }),
        ),
        (
            "a collection that is not there",
            json!({ "collection": "people" }),
        ),
        ("a table", json!({ "table": "orders" })),
        (
            "no filter",
            json!({ "collection": "orders", "where": "status = 'open'" }),
        ),
    ] {
        assert!(
            run.control("snapshot", arguments).await.is_err(),
            "{what} was accepted"
        );
    }
    let answer = run
        .control(
            "snapshot",
            json!({ "collection": "orders", "where": "{\"_id\":{\"$gte\":12}}" }),
        )
        .await
        .unwrap();
    assert_eq!(
        answer["collections"],
        json!([format!("{}.orders", shop.name())])
    );
    durable(&shop.world.lanes, "read eight documents", |events| {
        events.len() >= 8
    })
    .await;
    shop.orders().insert_one(doc! { "_id": 100 }).await.unwrap();
    durable(&shop.world.lanes, "go on with changes", |events| {
        events.iter().any(|e| e.op == Some(Op::Create))
    })
    .await;
    let read: Vec<_> = shop
        .events()
        .iter()
        .filter(|e| e.op == Some(Op::Read))
        .map(|e| data(e)["after"]["_id"].as_i64().unwrap())
        .collect();
    assert_eq!(read, (12..20).collect::<Vec<_>>());
    run.stop(crate::support::DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_that_the_configuration_adds_are_read_and_the_others_are_not_read_again() {
    let shop = Shop::new().await;
    shop.database
        .collection::<Document>("a")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    shop.database
        .collection::<Document>("b")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    let run = shop.start(json!({ "collections": ["a", "x"] }));
    durable(&shop.world.lanes, "read the first", |events| {
        events.len() == 1
    })
    .await;
    run.stop(crate::support::DEADLINE).await.unwrap();
    let run = shop.start(json!({ "collections": ["a", "b", "x"] }));
    durable(&shop.world.lanes, "read the second", |events| {
        events.len() >= 2
    })
    .await;
    shop.is_rebuilt(&["a", "b"]).await;
    assert_eq!(shop.events().len(), 2);
    run.stop(crate::support::DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_only_in_part_is_read_again() {
    // Without lookups an update tells its fields alone, so a document that changes under the reader is read once more.
    let shop = Shop::new().await;
    fill(&shop, 400).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (orders, stop) = (shop.orders(), Arc::clone(&stop));
        async move {
            let mut version = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                orders
                    .update_one(
                        doc! { "_id": version % 400 },
                        doc! { "$set": { "version": version } },
                    )
                    .await
                    .unwrap();
            }
        }
    });
    let run =
        shop.start(json!({ "full_document": "default", "snapshot": { "chunk_documents": 100 } }));
    let all_read = |events: &[headgate_sdk::Envelope]| {
        events
            .iter()
            .filter(|e| e.op == Some(Op::Read))
            .map(|e| e.partitionkey.clone())
            .collect::<BTreeSet<_>>()
            .len()
            == 400
    };
    durable(&shop.world.lanes, "read every document in full", all_read).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    run.stop(crate::support::DEADLINE).await.unwrap();
}
