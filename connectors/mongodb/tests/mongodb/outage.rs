//! The server or the network is away, and comes back.

use std::time::{Duration, Instant};

use headgate_sdk::{Op, SourceError, status::State};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::{
    proxy::Proxy,
    server::OwnServer,
    support::{DEADLINE, Shop, data, durable, until, url, within},
};

fn plain() -> Value {
    json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" } })
}

async fn insert(shop: &Shop, ids: std::ops::Range<i32>) {
    for id in ids {
        shop.orders().insert_one(doc! { "_id": id }).await.unwrap();
    }
}

/// Everything that was inserted, once and in order.
fn assert_all(shop: &Shop, inserted: i64) {
    let ids: Vec<_> = shop
        .events()
        .iter()
        .filter(|e| e.op == Some(Op::Create))
        .map(|e| data(e)["after"]["_id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, (0..inserted).collect::<Vec<_>>());
}

/// The least time that so many attempts take: each wait is at least half of 0.1, 0.2, 0.4 … 30 seconds.
fn least(attempts: u64) -> Duration {
    let waits = attempts.saturating_sub(1);
    (0..waits)
        .map(|n| Duration::from_millis(50 << n.min(10)).min(Duration::from_secs(15)))
        .sum()
}

/// Makes `commands` fail for good, until the stream was opened six times more; neither faster than the waits allow.
async fn waits_longer_and_longer(commands: &[&str], how: mongodb::bson::Document) {
    let proxy = Proxy::to(&url()).await;
    let shop = Shop::between(&url(), &proxy.url(&url())).await;
    let run = shop.start(plain());
    shop.is_open().await;
    let opened = proxy.aggregates();
    shop.fail("alwaysOn", commands, how).await;
    let began = Instant::now();
    let is_waiting = || matches!(run.status.get(), State::Waiting(_));
    until("try again and say that it waits", || {
        proxy.aggregates() >= opened + 6 && is_waiting()
    })
    .await;
    // The clock first: attempts that come between the two count against us.
    let elapsed = began.elapsed();
    let attempts = proxy.aggregates() - opened;
    assert!(
        elapsed >= least(attempts.min(6)),
        "{attempts} attempts within {elapsed:?}"
    );
    shop.calm().await;
    insert(&shop, 0..5).await;
    durable(&shop.world.lanes, "come back", |events| events.len() == 5).await;
    assert_all(&shop, 5);
    until("say that it is ready", || run.status.get() == State::Ready).await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_everything_is_asked_less_and_less_often() {
    // (A code that says nothing about the server's state: the driver waits for its own monitor after those.)
    let how = doc! { "errorCode": 8, "errorLabels": ["ResumableChangeStreamError"] };
    waits_longer_and_longer(&["getMore", "aggregate"], how).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_opens_and_then_fails_is_opened_less_and_less_often() {
    waits_longer_and_longer(&["getMore"], doc! { "errorCode": 43 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_cannot_be_read_is_asked_for_less_and_less_often_and_holds_no_event_up() {
    let shop = Shop::new().await;
    for id in 1000..1010 {
        shop.orders().insert_one(doc! { "_id": id }).await.unwrap();
    }
    let how = doc! { "errorCode": 8, "errorLabels": ["ResumableChangeStreamError"] };
    shop.fail(doc! { "times": 6 }, &["find"], how).await;
    let began = Instant::now();
    let run = shop.start(json!({ "collections": ["orders"] }));
    shop.is_open().await;
    insert(&shop, 0..3).await;
    let read = |events: &[headgate_sdk::Envelope]| {
        events.iter().filter(|e| e.op == Some(Op::Read)).count() >= 10
    };
    durable(&shop.world.lanes, "read the chunk in the end", read).await;
    assert!(began.elapsed() >= least(7), "after {:?}", began.elapsed());
    durable(&shop.world.lanes, "send the events", |events| {
        events.iter().filter(|e| e.op == Some(Op::Create)).count() == 3
    })
    .await;
    assert_all(&shop, 3);
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_is_waited_out_without_haste() {
    let proxy = Proxy::to(&url()).await;
    let shop = Shop::between(&url(), &proxy.url(&url())).await;
    let run = shop.start(plain());
    shop.is_open().await;
    insert(&shop, 0..3).await;
    durable(&shop.world.lanes, "send three", |events| events.len() == 3).await;
    let (began, before) = (Instant::now(), proxy.connections());
    proxy.cut();
    until("say that it waits", || {
        matches!(run.status.get(), State::Waiting(_))
    })
    .await;
    let reason = run.status.get().reason().unwrap_or_default().to_owned();
    assert!(reason.contains("can be reached"), "{reason}");
    insert(&shop, 3..6).await;
    // Beside our waits, the driver's monitor asks at most twice a second.
    let attempts = proxy.connections() - before;
    let most = 20.0 + 10.0 * began.elapsed().as_secs_f64();
    assert!(
        (attempts as f64) < most,
        "{attempts} connections in {:?}",
        began.elapsed()
    );
    proxy.mend();
    durable(&shop.world.lanes, "come back", |events| events.len() == 6).await;
    assert_all(&shop, 6);
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_without_a_word_are_noticed() {
    let proxy = Proxy::to(&url()).await;
    let through = proxy.url(&url()) + "&heartbeatFrequencyMS=1000&connectTimeoutMS=2000";
    let shop = Shop::between(&url(), &through).await;
    let run = shop.start(plain());
    shop.is_open().await;
    insert(&shop, 0..3).await;
    durable(&shop.world.lanes, "send three", |events| events.len() == 3).await;
    proxy.silence();
    insert(&shop, 3..6).await;
    durable(&shop.world.lanes, "come back", |events| events.len() == 6).await;
    assert_all(&shop, 6);
    run.stop(DEADLINE).await.unwrap();
}

/// The host answers the driver's monitor all the while: only the stream's own patience notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_silent_while_the_host_answers_is_opened_again() {
    let proxy = Proxy::to(&url()).await;
    let shop = Shop::between(&url(), &proxy.url(&url())).await;
    let mut config = plain();
    config["max_silence"] = json!("2s");
    let run = shop.start(config);
    shop.is_open().await;
    insert(&shop, 0..3).await;
    durable(&shop.world.lanes, "send three", |events| events.len() == 3).await;
    let mut next = 3;
    for _ in 0..2 {
        let opened = proxy.aggregates();
        proxy.silence_streams();
        insert(&shop, next..next + 3).await;
        next += 3;
        let all = usize::try_from(next).unwrap();
        durable(&shop.world.lanes, "come back", |events| events.len() >= all).await;
        assert!(proxy.aggregates() > opened, "nothing was opened again");
    }
    assert_all(&shop, i64::from(next));
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_loses_and_repeats_nothing() {
    let server = OwnServer::start("");
    let shop = Shop::on(&server.url).await;
    let run = shop.start(plain());
    shop.is_open().await;
    let mut next = 0;
    for _ in 0..2 {
        insert(&shop, next..next + 20).await;
        next += 20;
        server.kill();
        until("say that it waits", || {
            matches!(run.status.get(), State::Waiting(_))
        })
        .await;
        server.restart("");
        // The test's own client finds the server again, too.
        while shop.client.list_database_names().await.is_err() {}
        insert(&shop, next..next + 20).await;
        next += 20;
        let all = usize::try_from(next).unwrap();
        durable(&shop.world.lanes, "come back", |events| events.len() >= all).await;
        assert_all(&shop, i64::from(next));
    }
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_steps_down_is_waited_for() {
    let server = OwnServer::start("");
    let shop = Shop::on(&server.url).await;
    let run = shop.start(plain());
    shop.is_open().await;
    insert(&shop, 0..10).await;
    // The only member of its set: for two seconds there is no primary, then it is elected again.
    let down = doc! { "replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 1, "force": true };
    let _connections_may_end = shop.client.database("admin").run_command(down).await;
    within("elect a primary", async {
        while shop.orders().insert_one(doc! { "_id": 10 }).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    insert(&shop, 11..20).await;
    durable(&shop.world.lanes, "go on", |events| events.len() >= 20).await;
    assert_all(&shop, 20);
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_election_answers_is_resumed_everywhere() {
    // After such an answer the driver waits for its monitor, by default up to ten seconds.
    let separator = if url().contains('?') { '&' } else { '?' };
    let source = format!("{}{separator}heartbeatFrequencyMS=500", url());
    let shop = Shop::between(&url(), &source).await;
    let run = shop.start(plain());
    shop.is_open().await;
    let mut next = 0;
    // Stepped down, not primary, shutting down, interrupted by a change of state; with the labels that the server gives them.
    for code in [189, 10107, 91, 11602, 13435] {
        // While reading, and twice while opening again.
        let how = doc! { "errorCode": code };
        shop.fail(doc! { "times": 3 }, &["getMore", "aggregate"], how)
            .await;
        insert(&shop, next..next + 3).await;
        next += 3;
        let all = usize::try_from(next).unwrap();
        durable(&shop.world.lanes, "resume", |events| events.len() >= all).await;
    }
    assert_all(&shop, i64::from(next));
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_dns_does_not_know_is_an_error_that_says_so() {
    let world = headgate_sdk::conformance::World::new(1 << 20);
    // `.invalid` never exists.
    let config = json!({ "url": "mongodb+srv://headgate.invalid/", "database": "a" });
    let run = world.start::<headgate_mongodb::Mongodb>(config).unwrap();
    match within("end", run.ended()).await {
        Err(SourceError::Retriable { message, .. }) => {
            assert!(
                message.contains("SRV record") || message.contains("did not answer"),
                "{message}"
            )
        }
        other => panic!("the source ended with {other:?}"),
    }
}
