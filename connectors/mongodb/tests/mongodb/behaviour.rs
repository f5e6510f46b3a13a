//! What a source does on a good day.

use mongodb::bson::{
    Binary, Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId,
    spec::BinarySubtype,
};
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
    let strange = shop.client.database(&format!("{}_c", shop.name()));
    strange
        .collection::<Document>("orders")
        .insert_one(doc! { "_id": 0 })
        .await
        .unwrap();
    strange.drop().await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_behind_a_rename_and_behind_a_dropped_database() {
    let shop = Shop::new().await;
    let operations = |shop: &Shop| {
        let events = shop.events();
        let named = events
            .iter()
            .map(|e| data(e)["source"]["operation"].clone());
        named
            .map(|operation| operation.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let config = json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" } });
    let run = shop.start(config);
    shop.is_open().await;
    shop.orders().insert_one(doc! { "_id": 1 }).await.unwrap();
    let rename = doc! { "renameCollection": format!("{}.orders", shop.name()), "to": format!("{}.old", shop.name()) };
    shop.client
        .database("admin")
        .run_command(rename)
        .await
        .unwrap();
    durable(&shop.world.lanes, "send the invalidate", |events| {
        events.len() == 3
    })
    .await;
    shop.orders().insert_one(doc! { "_id": 2 }).await.unwrap();
    durable(&shop.world.lanes, "go on", |events| events.len() == 4).await;
    assert_eq!(
        operations(&shop),
        ["insert", "rename", "invalidate", "insert"]
    );
    let rename = data(&shop.events()[1]);
    assert_eq!(
        rename["to"],
        json!({ "db": shop.name(), "collection": "old" })
    );
    run.stop(DEADLINE).await.unwrap();

    let shop = Shop::new().await;
    let run = shop.start(json!({ "snapshot": { "mode": "on_demand" } }));
    shop.is_open().await;
    shop.orders().insert_one(doc! { "_id": 1 }).await.unwrap();
    shop.database.drop().await.unwrap();
    durable(&shop.world.lanes, "send the invalidate", |events| {
        events
            .iter()
            .any(|e| e.event_type == "mongodb.stream.invalidated.v1")
    })
    .await;
    shop.orders().insert_one(doc! { "_id": 2 }).await.unwrap();
    durable(&shop.world.lanes, "go on", |events| {
        data(events.last().unwrap())["after"]["_id"] == 2
    })
    .await;
    let seen = operations(&shop);
    let at = seen.iter().position(|o| o == "dropDatabase").unwrap();
    assert_eq!(seen[at..], ["dropDatabase", "invalidate", "insert"]);
    assert!(shop.world.lanes.sent()[&lane()].rejected.is_empty());
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_inside_a_transaction_goes_on_there() {
    let shop = Shop::new().await;
    shop.database.create_collection("orders").await.unwrap();
    let config = json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" } });
    let run = shop.start(config.clone());
    shop.is_open().await;
    // After this error events are read one by one, each in a batch of its own.
    let how = doc! { "errorCode": 10334 };
    shop.fail(doc! { "times": 1 }, &["getMore"], how).await;
    shop.orders().insert_one(doc! { "_id": 0 }).await.unwrap();
    durable(&shop.world.lanes, "send the first", |events| {
        events.len() == 1
    })
    .await;
    shop.world.lanes.hold();
    let mut session = shop.client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let orders = shop.orders();
    for id in 1..=6 {
        orders
            .insert_one(doc! { "_id": id })
            .session(&mut session)
            .await
            .unwrap();
    }
    session.commit_transaction().await.unwrap();
    let sent = shop
        .world
        .lanes
        .wait_for(|sent| sent[&lane()].pending.len() == 6);
    within("send the transaction", sent).await;
    while shop.events().len() < 4 {
        shop.world.lanes.release_up_to(1);
    }
    run.kill().await;
    shop.world.lanes.crash();
    assert_eq!(shop.events().len(), 4, "the transaction was not divided");
    shop.world.lanes.release();
    let run = shop.start(config);
    durable(&shop.world.lanes, "send the rest", |events| {
        events.len() == 7
    })
    .await;
    let events = shop.events();
    let numbers: Vec<_> = events[1..]
        .iter()
        .map(|e| {
            let data = data(e);
            (
                data["after"]["_id"].clone(),
                data["transaction"]["total_order"].clone(),
            )
        })
        .collect();
    assert_eq!(
        numbers,
        (1..=6).map(|n| (json!(n), json!(n))).collect::<Vec<_>>()
    );
    assert!(events[1..].iter().all(|e| {
        let data = data(e);
        data["transaction"]["id"].is_string() && data["source"]["txnNumber"].is_number()
    }));
    run.stop(DEADLINE).await.unwrap();
}

#[derive(serde::Deserialize)]
struct Data {
    after: Document,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_bson_comes_through_and_every_event_has_the_shape_of_all_change_events() {
    let decimal: mongodb::bson::Decimal128 = "0.10".parse().unwrap();
    let uuid = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: vec![7; 16],
    };
    let document = doc! {
        "_id": 1, "decimal": decimal, "double": -0.0, "infinity": f64::INFINITY, "nan": f64::NAN, "int": i32::MIN,
        "long": 9_007_199_254_740_993_i64, "before1970": DateTime::from_millis(-1), "date": DateTime::from_millis(1_356_351_330_501),
        "uuid": uuid, "text": "a\"\\\u{1f}é\u{2028}😀", "null": Bson::Null,
        "min": Bson::MinKey, "max": Bson::MaxKey, "oid": ObjectId::new(), "time": Timestamp { time: 7, increment: 1 },
        "code": Bson::JavaScriptCode("f()".into()), "nested": { "a.b": [1, [], {}] }, "ref": { "$ref": "c", "$id": 1 },
    };
    for (format, is_exact) in [("canonical", true), ("relaxed", false)] {
        let shop = Shop::new().await;
        shop.orders().insert_one(&document).await.unwrap();
        let run = shop.start(json!({ "collections": ["orders"], "json": format }));
        durable(&shop.world.lanes, "read it", |events| events.len() == 1).await;
        let mut again = document.clone();
        again.insert("_id", 2);
        shop.orders().insert_one(&again).await.unwrap();
        durable(&shop.world.lanes, "follow it", |events| events.len() == 2).await;
        for (event, document) in shop.events().iter().zip([&document, &again]) {
            let data = data(event);
            for key in ["op", "before", "after", "source", "ts_ms", "transaction"] {
                assert!(data.get(key).is_some(), "{key} is not in {data}");
            }
            for key in ["version", "connector", "name", "db", "snapshot", "ts_ms"] {
                assert!(data["source"].get(key).is_some(), "{key} is not in {data}");
            }
            // The library reads the text back, in the order of its fields.
            let bytes = event.data.bytes().unwrap();
            let Data { after } = serde_json::from_slice(bytes).unwrap();
            let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
            if is_exact {
                assert_eq!(raw(&after), raw(document));
            } else {
                let plain =
                    |document: &Document| serde_json::to_value(document).unwrap().to_string();
                assert_eq!(plain(&after), plain(document));
            }
        }
        run.stop(DEADLINE).await.unwrap();
    }
}
