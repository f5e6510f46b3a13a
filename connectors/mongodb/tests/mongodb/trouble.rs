//! What goes wrong outside, and what the source makes of it.

use headgate_sdk::{Op, SourceError};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::{
    fold::all,
    server::OwnServer,
    support::{DEADLINE, Shop, data, durable, fold, lane, within},
};

async fn insert(shop: &Shop, ids: std::ops::Range<i32>) {
    for id in ids {
        shop.orders()
            .insert_one(doc! { "_id": id, "text": "x" })
            .await
            .unwrap();
    }
}

/// Runs a source that must stop by itself, for good; its message.
async fn stops(shop: &Shop, more: Value) -> String {
    match within("stop", shop.start(more).ended()).await {
        Err(SourceError::Fatal { message, .. }) => message,
        other => panic!("the source ended with {other:?}"),
    }
}

fn plain() -> Value {
    json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_resuming_mends_lose_and_repeat_nothing() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    let mut next = 0;
    for how in [
        doc! { "errorCode": 43 },
        doc! { "errorCode": 11600 },
        doc! { "errorCode": 8, "errorLabels": ["ResumableChangeStreamError"] },
        doc! { "errorCode": 189, "errorLabels": ["ResumableChangeStreamError"] },
        doc! { "closeConnection": true },
    ] {
        shop.fail(doc! { "times": 2 }, &["getMore"], how).await;
        insert(&shop, next..next + 20).await;
        next += 20;
        durable(&shop.world.lanes, "resume", |events| {
            events.len() >= usize::try_from(next).unwrap()
        })
        .await;
    }
    let ids: Vec<_> = shop
        .events()
        .iter()
        .map(|e| data(e)["after"]["_id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, (0..i64::from(next)).collect::<Vec<_>>());
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_nobody_knows_ends_the_run_and_the_next_one_goes_on() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    shop.fail(doc! { "times": 1 }, &["getMore"], doc! { "errorCode": 8 })
        .await;
    match within("end", run.ended()).await {
        Err(SourceError::Retriable { message, .. }) => assert!(message.contains("8 "), "{message}"),
        other => panic!("the source ended with {other:?}"),
    }
    insert(&shop, 0..5).await;
    let run = shop.start(plain());
    durable(&shop.world.lanes, "go on", |events| events.len() == 5).await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_start_after_is_asked_to_resume_after() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    run.stop(DEADLINE).await.unwrap();
    insert(&shop, 0..5).await;
    shop.fail(
        doc! { "times": 1 },
        &["aggregate"],
        doc! { "errorCode": 40415 },
    )
    .await;
    let run = shop.start(plain());
    durable(&shop.world.lanes, "resume", |events| events.len() == 5).await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_is_never_passed_over_behind_a_pipeline() {
    let shop = Shop::new().await;
    let mut filtered = plain();
    filtered["pipeline"] = json!([{ "$match": { "fullDocument.total": { "$gt": 1 } } }]);
    let run = shop.start(filtered);
    shop.is_open().await;
    let too_large = doc! { "errorCode": 10334 };
    shop.fail(doc! { "times": 3 }, &["getMore", "aggregate"], too_large)
        .await;
    insert(&shop, 0..1).await;
    let ended = within("stop", run.ended()).await.unwrap_err();
    assert!(matches!(ended, SourceError::Fatal { .. }), "{ended}");
    assert!(ended.to_string().contains("`pipeline`"), "{ended}");
    assert!(
        shop.world
            .lanes
            .sent()
            .values()
            .all(|sent| sent.rejected.is_empty())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_becomes_a_dead_letter_and_the_stream_goes_on() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    insert(&shop, 0..3).await;
    durable(&shop.world.lanes, "send the first", |events| {
        events.len() == 3
    })
    .await;
    // Twice: the whole reply is too large, and then the next event alone.
    shop.fail(
        doc! { "times": 2 },
        &["getMore"],
        doc! { "errorCode": 10334 },
    )
    .await;
    let rejected = shop.world.lanes.wait_for(|sent| {
        sent.get(&lane())
            .is_some_and(|sent| !sent.rejected.is_empty())
    });
    let (_, ()) = tokio::join!(insert(&shop, 3..10), within("reject one", rejected));
    durable(&shop.world.lanes, "go on", |events| events.len() == 9).await;
    let sent = shop.world.lanes.sent().remove(&lane()).unwrap();
    let [letter] = sent.rejected.as_slice() else {
        panic!("{:?}", sent.rejected)
    };
    assert_eq!(letter.reason, "too_large");
    let key = data(&letter.envelope)["documentKey"]["_id"]
        .as_i64()
        .unwrap();
    assert_eq!(
        letter.envelope.partitionkey.as_deref(),
        Some(key.to_string().as_str())
    );
    let mut ids: Vec<_> = sent
        .durable
        .iter()
        .map(|e| data(e)["after"]["_id"].as_i64().unwrap())
        .collect();
    assert!(!ids.contains(&key) && ids.is_sorted());
    ids.push(key);
    ids.sort_unstable();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_history_stops_or_is_read_again_and_refused_the_third_time() {
    for code in [286, 280, 464] {
        let shop = Shop::new().await;
        insert(&shop, 0..5).await;
        let stop = json!({ "collections": ["orders"] });
        let run = shop.start(stop.clone());
        durable(&shop.world.lanes, "read all", |events| events.len() == 5).await;
        shop.fail(
            doc! { "times": 1 },
            &["getMore"],
            doc! { "errorCode": code },
        )
        .await;
        match within("stop", run.ended()).await {
            Err(SourceError::Fatal { message, .. }) => {
                assert!(
                    message.contains("on_history_lost") && message.contains(&code.to_string()),
                    "{message}"
                );
            }
            other => panic!("the source ended with {other:?}"),
        }
        let again = json!({ "collections": ["orders"], "on_history_lost": "snapshot" });
        let mut run = shop.start(again.clone());
        for round in 1..=2 {
            shop.fail(
                doc! { "times": 1 },
                &["getMore"],
                doc! { "errorCode": code },
            )
            .await;
            durable(&shop.world.lanes, "read all again", |events| {
                events
                    .iter()
                    .filter(|e| e.event_type == "mongodb.history.lost.v1")
                    .count()
                    == round
                    && events.iter().filter(|e| e.op == Some(Op::Read)).count() == 5 * (round + 1)
            })
            .await;
            assert!(run.status.warnings().contains_key("history"));
            let events = shop.events();
            assert!(events.iter().is_sorted_by_key(|e| e.sequence.clone()));
            // What was lost is remembered across restarts.
            run.stop(DEADLINE).await.unwrap();
            run = shop.start(again.clone());
        }
        shop.fail(
            doc! { "times": 1 },
            &["getMore"],
            doc! { "errorCode": code },
        )
        .await;
        match within("stop", run.ended()).await {
            Err(SourceError::Fatal { message, .. }) => {
                assert!(message.contains("third time"), "{message}")
            }
            other => panic!("the source ended with {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_the_oplog_really_lost_is_never_passed_over() {
    let server = OwnServer::start("--oplog-max-entries 50");
    let shop = Shop::on(&server.url).await;
    insert(&shop, 0..10).await;
    let config = json!({ "collections": ["orders"] });
    let run = shop.start(config.clone());
    durable(&shop.world.lanes, "read all", |events| events.len() == 10).await;
    run.stop(DEADLINE).await.unwrap();
    // The tests' server cuts its oplog with every thousandth entry.
    insert(&shop, 10..1100).await;
    shop.orders().delete_one(doc! { "_id": 3 }).await.unwrap();
    let message = stops(&shop, config).await;
    assert!(
        message.contains("oplog") || message.contains("history"),
        "{message}"
    );
    let run = shop.start(json!({ "collections": ["orders"], "on_history_lost": "snapshot" }));
    let all_again = |events: &[headgate_sdk::Envelope]| {
        events
            .iter()
            .rev()
            .take_while(|e| e.event_type != "mongodb.history.lost.v1")
            .filter(|e| e.op == Some(Op::Read))
            .count()
            == 1099
    };
    durable(&shop.world.lanes, "read all again", all_again).await;
    let events = shop.events();
    let at = events
        .iter()
        .position(|e| e.event_type == "mongodb.history.lost.v1")
        .unwrap();
    // Whoever starts anew at that event has what the database holds.
    let state = fold(&events[at..]);
    assert_eq!(
        state[&format!("{}.orders", shop.name())],
        all(&shop.database, "orders").await
    );
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_server_is_refused_with_the_command() {
    let server = OwnServer::start("--standalone");
    let shop = Shop::on(&server.url).await;
    let message = stops(&shop, plain()).await;
    assert!(message.contains("rs.initiate()"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_somebody_can_mend_stops_the_source_and_says_how() {
    for (code, says) in [
        (13, "grantRolesToUser"),
        (18, "password"),
        (47, "changeStreamPreAndPostImages"),
        (40573, "--replSet"),
    ] {
        let shop = Shop::new().await;
        shop.fail(
            doc! { "times": 1 },
            &["aggregate"],
            doc! { "errorCode": code },
        )
        .await;
        let message = stops(&shop, plain()).await;
        assert!(message.contains(says), "{code}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_images_that_are_not_kept_are_named_with_the_command() {
    let shop = Shop::new().await;
    insert(&shop, 0..1).await;
    let message = stops(&shop, json!({ "full_document_before_change": "required" })).await;
    assert!(
        message.contains("collMod: \"orders\"") && message.contains("changeStreamPreAndPostImages"),
        "{message}"
    );
    let run = shop.start(json!({ "full_document": "when_available" }));
    shop.is_open().await;
    assert!(run.status.warnings()["images"].contains("collMod"));
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_another_replica_set_is_refused() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    run.stop(DEADLINE).await.unwrap();
    let stored = shop.world.lanes.stored_position(&lane()).unwrap();
    let mut position: Value = serde_json::from_str(stored.as_json()).unwrap();
    let own = position["replica_set"].as_str().unwrap().to_owned();
    position["replica_set"] = json!("another");
    shop.store(position.clone()).await;
    let message = stops(&shop, plain()).await;
    assert!(
        message.contains("`another`") && message.contains(&own),
        "{message}"
    );
    // Back where it belongs, it goes on: nothing was written over it.
    position["replica_set"] = json!(own);
    shop.store(position).await;
    insert(&shop, 0..3).await;
    let run = shop.start(plain());
    durable(&shop.world.lanes, "go on", |events| events.len() == 3).await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_deployment_never_wrote_stops_or_reads_anew() {
    for code in [260, 280, 50811] {
        let shop = Shop::new().await;
        insert(&shop, 0..2).await;
        let run = shop.start(plain());
        shop.is_open().await;
        run.stop(DEADLINE).await.unwrap();
        // By code, as the tests' server takes any token that it can read.
        let refused = doc! { "errorCode": code };
        shop.fail(doc! { "times": 1 }, &["aggregate"], refused.clone())
            .await;
        let message = stops(&shop, plain()).await;
        assert!(message.contains("another"), "{code}: {message}");
        shop.fail(doc! { "times": 1 }, &["aggregate"], refused)
            .await;
        let anew = json!({ "collections": ["orders"], "on_history_lost": "snapshot", "snapshot": { "mode": "on_demand" } });
        let run = shop.start(anew);
        durable(&shop.world.lanes, "say so and read all", |events| {
            events.len() == 3 && events[0].event_type == "mongodb.history.lost.v1"
        })
        .await;
        run.stop(DEADLINE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_the_future_is_never_waited_for() {
    // A backup was restored, or the URL leads to another deployment of the same name: the server would say nothing until then.
    let shop = Shop::new().await;
    insert(&shop, 0..2).await;
    let run = shop.start(plain());
    shop.is_open().await;
    run.stop(DEADLINE).await.unwrap();
    let stored = shop.world.lanes.stored_position(&lane()).unwrap();
    let mut position: Value = serde_json::from_str(stored.as_json()).unwrap();
    let now = headgate_sdk::Timestamp::now().as_second();
    position["time"] = json!([now + 86_400, 1]);
    shop.store(position).await;
    let message = stops(&shop, plain()).await;
    assert!(
        message.contains("ahead of the deployment's clock"),
        "{message}"
    );
    let run = shop.start(json!({ "collections": ["orders"], "on_history_lost": "snapshot" }));
    durable(&shop.world.lanes, "say so and read all", |events| {
        events.len() == 3 && events[0].event_type == "mongodb.history.lost.v1"
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_collection_is_warned_of_until_it_is_there() {
    let shop = Shop::new().await;
    let run = shop.start(plain());
    shop.is_open().await;
    let key = format!("absent/{}.orders", shop.name());
    assert!(run.status.warnings()[&key].contains("spelling"));
    insert(&shop, 0..1).await;
    durable(&shop.world.lanes, "send it", |events| events.len() == 1).await;
    assert!(!run.status.warnings().contains_key(&key));
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_an_error_that_passes() {
    let world = headgate_sdk::conformance::World::new(1 << 20);
    let config =
        json!({ "url": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200", "database": "a" });
    let run = world.start::<headgate_mongodb::Mongodb>(config).unwrap();
    match within("end", run.ended()).await {
        Err(SourceError::Retriable { message, .. }) => {
            assert!(message.contains("no member"), "{message}")
        }
        other => panic!("the source ended with {other:?}"),
    }
}
