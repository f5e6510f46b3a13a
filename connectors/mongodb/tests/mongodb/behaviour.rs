//! What a source does on a good day.

use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::support::{DEADLINE, Shop, data, durable, lane, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_an_idle_collection_moves_with_the_oplog() {
    let shop = Shop::new().await;
    let config = json!({ "collections": ["orders"] });
    let run = shop.start(config.clone());
    shop.is_open().await;
    let first = shop.world.lanes.stored_position(&lane());
    let other = shop.database.collection::<Document>("other");
    let lanes = &shop.world.lanes;
    let moved = async {
        // The position is stored every two seconds at the most, so one write may not be seen.
        while lanes.stored_position(&lane()) == first {
            other.insert_one(doc! {}).await.unwrap();
        }
    };
    within("store a newer token", moved).await;
    assert!(shop.events().is_empty());
    run.stop(DEADLINE).await.unwrap();
    shop.orders().insert_one(doc! { "_id": 1 }).await.unwrap();
    let run = shop.start(config);
    durable(&shop.world.lanes, "resume from it", |events| {
        events.len() == 1
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_dropped_and_made_again_goes_on() {
    let shop = Shop::new().await;
    let config = json!({ "collections": ["orders"] });
    let mut run = shop.start(config.clone());
    shop.is_open().await;
    let mut expected = 0;
    for round in 0..3 {
        shop.orders()
            .insert_one(doc! { "_id": round })
            .await
            .unwrap();
        shop.orders().drop().await.unwrap();
        expected += 3;
        durable(
            &shop.world.lanes,
            "send insert, drop and invalidate",
            |events| events.len() == expected,
        )
        .await;
        if round == 1 {
            // The position is that of the invalidate.
            run.stop(DEADLINE).await.unwrap();
            run = shop.start(config.clone());
        }
    }
    let operations: Vec<_> = shop
        .events()
        .iter()
        .map(|e| data(e)["source"]["operation"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(operations, ["insert", "drop", "invalidate"].repeat(3));
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_deployment_is_watched_by_pattern() {
    let shop = Shop::new().await;
    let run = shop
        .world
        .start::<headgate_mongodb::Mongodb>(json!({
            "url": crate::support::url(), "collections": [format!("{}.or*", shop.name()), format!("{}_b.*", shop.name())],
        }))
        .unwrap();
    shop.is_open().await;
    let other = shop.client.database(&format!("{}_b", shop.name()));
    shop.database
        .collection::<Document>("people")
        .insert_one(doc! { "_id": 0 })
        .await
        .unwrap();
    shop.orders().insert_one(doc! { "_id": 1 }).await.unwrap();
    other
        .collection::<Document>("x")
        .insert_one(doc! { "_id": 2 })
        .await
        .unwrap();
    durable(&shop.world.lanes, "send two", |events| events.len() == 2).await;
    let subjects: Vec<_> = shop
        .events()
        .iter()
        .map(|e| e.subject.clone().unwrap().to_string())
        .collect();
    assert_eq!(
        subjects,
        [
            format!("{}.orders", shop.name()),
            format!("{}_b.x", shop.name())
        ]
    );
    run.stop(DEADLINE).await.unwrap();
    other.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_events_back_and_loses_none() {
    let shop = Shop::new().await;
    let run = shop.start(json!({ "collections": ["orders"] }));
    shop.is_open().await;
    shop.world.lanes.pause(true);
    for id in 0..50 {
        shop.orders().insert_one(doc! { "_id": id }).await.unwrap();
    }
    // The operator is answered meanwhile.
    let status = within("answer", run.control("status", json!({})))
        .await
        .unwrap();
    assert_eq!(status["watches"], json!(format!("{}.orders", shop.name())));
    assert!(shop.events().is_empty());
    shop.world.lanes.pause(false);
    durable(&shop.world.lanes, "send them", |events| events.len() == 50).await;
    run.stop(DEADLINE).await.unwrap();
}
