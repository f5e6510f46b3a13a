//! Documents before and after a change, and the stages that the server runs.

use headgate_sdk::{Envelope, Op, SourceError};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Shop, data, durable, within};

/// A shop whose `orders` keep pre- and post-images.
async fn with_images() -> Shop {
    let shop = Shop::new().await;
    shop.database.create_collection("orders").await.unwrap();
    images(&shop, true).await;
    shop
}

async fn images(shop: &Shop, enabled: bool) {
    shop.database
        .run_command(
            doc! { "collMod": "orders", "changeStreamPreAndPostImages": { "enabled": enabled } },
        )
        .await
        .unwrap();
}

/// A source of `orders` that reads no snapshot, whose documents would come between the events.
fn only_changes(more: Value) -> Value {
    let mut config = json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" } });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn operations(events: &[Envelope]) -> Vec<String> {
    events
        .iter()
        .map(|e| {
            data(e)["source"]["operation"]
                .as_str()
                .unwrap_or("none")
                .to_owned()
        })
        .collect()
}

async fn set(shop: &Shop, n: impl Into<mongodb::bson::Bson>) {
    shop.orders()
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": n.into() } })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_images_show_the_document_before_and_after() {
    let shop = with_images().await;
    let run = shop.start(only_changes(json!({
        "full_document": "required",
        "full_document_before_change": "required",
        "json": "canonical",
        "tombstones": true,
        "pipeline": [{ "$match": { "operationType": { "$ne": "insert" } } }],
    })));
    shop.is_open().await;
    shop.orders()
        .insert_one(doc! { "_id": 1, "n": 1 })
        .await
        .unwrap();
    set(&shop, 2_i64).await;
    // The tests' server looks post-images up when it is asked: the delete must not come before that.
    durable(&shop.world.lanes, "send the update", |events| {
        events.len() == 1
    })
    .await;
    shop.orders().delete_one(doc! { "_id": 1 }).await.unwrap();
    durable(
        &shop.world.lanes,
        "send update, delete and tombstone",
        |events| events.len() == 3,
    )
    .await;
    let events = shop.events();
    // The server's own stage has kept the insert back.
    assert_eq!(operations(&events), ["update", "delete", "none"]);
    let update = data(&events[0]);
    assert_eq!(update["before"]["n"], json!({ "$numberInt": "1" }));
    assert_eq!(update["after"]["n"], json!({ "$numberLong": "2" }));
    assert_eq!(
        update["updateDescription"]["updatedFields"]["n"],
        json!({ "$numberLong": "2" })
    );
    assert_eq!(update["source"]["after_from"], "post_image");
    let delete = data(&events[1]);
    assert_eq!(
        (events[1].op, &delete["after"]),
        (Some(Op::Delete), &json!(null))
    );
    assert_eq!(delete["before"]["n"], json!({ "$numberLong": "2" }));
    assert!(events[2].data.bytes().is_none());
    assert_eq!(events[2].partitionkey, events[1].partitionkey);
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_says_where_after_comes_from() {
    for (mode, after, from) in [
        ("default", json!(null), "none"),
        ("update_lookup", json!(2), "update_lookup"),
        ("when_available", json!(2), "post_image"),
    ] {
        let shop = with_images().await;
        let run = shop.start(only_changes(json!({ "full_document": mode })));
        shop.is_open().await;
        shop.orders()
            .insert_one(doc! { "_id": 1, "n": 1 })
            .await
            .unwrap();
        set(&shop, 2).await;
        durable(&shop.world.lanes, "send both", |events| events.len() == 2).await;
        let update = data(&shop.events()[1]);
        assert_eq!(update["after"]["n"], after, "{mode}");
        assert_eq!(update["source"]["after_from"], from, "{mode}");
        assert_eq!(update["before"], json!(null), "{mode}");
        assert_eq!(update["updateDescription"]["updatedFields"]["n"], 2);
        run.stop(DEADLINE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_there_is_null_where_it_may_be_and_stops_the_source_where_it_must() {
    let shop = with_images().await;
    images(&shop, false).await;
    let whenever = only_changes(
        json!({ "full_document": "when_available", "full_document_before_change": "when_available" }),
    );
    let run = shop.start(whenever);
    shop.is_open().await;
    assert!(run.status.warnings()["images"].contains("collMod"));
    shop.orders()
        .insert_one(doc! { "_id": 1, "n": 1 })
        .await
        .unwrap();
    set(&shop, 2).await;
    durable(&shop.world.lanes, "send both", |events| events.len() == 2).await;
    let update = data(&shop.events()[1]);
    assert_eq!(
        (&update["before"], &update["after"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(update["source"]["after_from"], "none");
    run.stop(DEADLINE).await.unwrap();

    // Kept when the source starts, and given up while it runs.
    images(&shop, true).await;
    let required = only_changes(json!({ "full_document_before_change": "required" }));
    let run = shop.start(required.clone());
    set(&shop, 3).await;
    durable(&shop.world.lanes, "send one with its image", |events| {
        events.len() == 3
    })
    .await;
    assert_eq!(data(&shop.events()[2])["before"]["n"], 2);
    images(&shop, false).await;
    set(&shop, 4).await;
    match within("stop", run.ended()).await {
        Err(SourceError::Fatal { message, .. }) => assert!(
            message.contains("collMod") && message.contains("when_available"),
            "{message}"
        ),
        other => panic!("the source ended with {other:?}"),
    }
    assert_eq!(
        shop.events().len(),
        3,
        "an event without its image was sent"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_over_16_mb_comes_whole_out_of_its_fragments() {
    let shop = with_images().await;
    let config = only_changes(json!({ "full_document_before_change": "when_available" }));
    let run = shop.start(config.clone());
    shop.is_open().await;
    let large = |letter: &str| doc! { "_id": 1, "text": letter.repeat(9_000_000) };
    shop.orders().insert_one(large("x")).await.unwrap();
    shop.orders()
        .replace_one(doc! { "_id": 1 }, large("y"))
        .await
        .unwrap();
    shop.orders().insert_one(doc! { "_id": 2 }).await.unwrap();
    durable(&shop.world.lanes, "send three", |events| events.len() == 3).await;
    let events = shop.events();
    assert_eq!(operations(&events), ["insert", "replace", "insert"]);
    let replace = data(&events[1]);
    let text = |document: &Value| document["text"].as_str().map(str::len);
    assert_eq!(text(&replace["before"]), Some(9_000_000));
    assert_eq!(text(&replace["after"]), Some(9_000_000));
    assert!(replace["after"]["text"].as_str().unwrap().starts_with('y'));
    assert!(events[1].data.bytes().unwrap().len() > 16 << 20);
    run.stop(DEADLINE).await.unwrap();
    // The position is behind the last fragment.
    shop.orders().insert_one(doc! { "_id": 3 }).await.unwrap();
    let run = shop.start(config);
    durable(&shop.world.lanes, "go on", |events| events.len() == 4).await;
    assert_eq!(operations(&shop.events())[3], "insert");
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_changes_are_events_if_they_are_asked_for() {
    let shop = Shop::new().await;
    let run =
        shop.start(json!({ "show_expanded_events": true, "snapshot": { "mode": "on_demand" } }));
    shop.is_open().await;
    shop.database.create_collection("orders").await.unwrap();
    shop.orders()
        .create_index(
            mongodb::IndexModel::builder()
                .keys(doc! { "status": 1 })
                .build(),
        )
        .await
        .unwrap();
    shop.orders().insert_one(doc! { "_id": 1 }).await.unwrap();
    durable(&shop.world.lanes, "send the insert", |events| {
        events.iter().any(|e| e.op == Some(Op::Create))
    })
    .await;
    let events = shop.events();
    let ddl: Vec<_> = events.iter().filter(|e| e.op.is_none()).collect();
    assert!(
        ddl.iter()
            .all(|e| e.event_type == "mongodb.schema.changed.v1")
    );
    let index = ddl
        .iter()
        .map(|e| data(e))
        .find(|d| d["source"]["operation"] == "createIndexes")
        .unwrap();
    assert!(
        index["operationDescription"].to_string().contains("status"),
        "{index}"
    );
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_takes_the_token_away_is_named() {
    let shop = Shop::new().await;
    let run = shop.start(only_changes(
        json!({ "pipeline": [{ "$project": { "_id": 0 } }] }),
    ));
    shop.is_open().await;
    shop.orders()
        .insert_one(Document::from_iter([("n".to_owned(), 1.into())]))
        .await
        .unwrap();
    match within("stop", run.ended()).await {
        Err(SourceError::Fatal { message, .. }) => {
            assert!(message.contains("`pipeline`"), "{message}")
        }
        other => panic!("the source ended with {other:?}"),
    }
}
