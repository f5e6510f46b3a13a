//! A network that stops or breaks, a disk that is full, bytes that are no text.

use headgate_postgres::Postgres;
use headgate_sdk::{Envelope, Op, SourceError, conformance::World, status::State};
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Database, connect, data, durable, proxy::Proxy, until, wait_for, wait_for_count,
};

async fn ready(more: Value) -> (Database, Proxy, World, Value) {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    let proxy = Proxy::to(&database.url()).await;
    let mut config = database.config_with(more);
    config["url"] = json!(proxy.through(&database.url()));
    config["snapshot"] = json!({ "mode": "on_demand" });
    (database, proxy, World::new(4 << 20), config)
}

fn ids(events: &[Envelope]) -> Value {
    let ids: Vec<Value> = events
        .iter()
        .map(|e| data(e)["after"]["id"].clone())
        .collect();
    json!(ids)
}

async fn free_slot(database: &Database) {
    until("the free slot", async || {
        let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND database = current_database()";
        database.rows(sql).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_noticed_and_nothing_is_lost() {
    let (database, proxy, world, mut config) = ready(json!({})).await;
    let role = format!("hurried_{}", database.name);
    database
        .run(&format!(
            "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'p'; ALTER ROLE {role} SET wal_sender_timeout = '5s'"
        ))
        .await;
    config["url"] = json!(proxy.through(&database.url_as(&role, "p")));
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| events.len() == 1).await;
    proxy.stall();
    database.run("INSERT INTO t VALUES (2)").await;
    let error = tokio::time::timeout(DEADLINE, run.ended())
        .await
        .expect("it notices")
        .unwrap_err();
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
    assert!(error.to_string().contains("half-open"), "{error}");
    proxy.resume();
    proxy.cut();
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "the other row", |events| events.len() >= 2).await;
    run.stop(DEADLINE).await.unwrap();
    assert_eq!(ids(&durable(&world)), json!([1, 2]));
    free_slot(&database).await;
    database.run(&format!("DROP ROLE {role}")).await;
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_again_and_again_loses_nothing() {
    let (database, proxy, world, config) = ready(json!({})).await;
    for round in 0..5 {
        let run = world.start::<Postgres>(config.clone()).unwrap();
        database
            .run(&format!(
                "INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series({}, {}) g",
                round * 2_000,
                round * 2_000 + 1_999
            ))
            .await;
        // Somewhere in the middle of it.
        let enough = usize::try_from(round * 2_000 + 300 * (round + 1)).unwrap();
        wait_for(&world, "a part of it", |events| events.len() > enough).await;
        proxy.cut();
        let error = tokio::time::timeout(DEADLINE, run.ended())
            .await
            .expect("it notices")
            .unwrap_err();
        assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
        world.lanes.crash();
        free_slot(&database).await;
    }
    let run = world.start::<Postgres>(config).unwrap();
    wait_for_count(&world, "all of it", 10_000).await;
    run.stop(DEADLINE).await.unwrap();
    let expected: Vec<u32> = (0..10_000).collect();
    assert_eq!(ids(&durable(&world)), json!(expected));
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_gives_way_to_receiving_after_commit() {
    let (database, _proxy, world, config) = ready(json!({ "max_spool_bytes": "1MB" })).await;
    database
        .run(&format!(
            "ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
    let run = world.start::<Postgres>(config).unwrap();
    database.run("INSERT INTO t VALUES (0, 'small')").await;
    wait_for(&world, "the small row", |events| events.len() == 1).await;
    let client = connect(&database.url()).await;
    client
        .batch_execute(
            "BEGIN; INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g",
        )
        .await
        .unwrap();
    until("the warning", async || {
        let warnings = run.status.warnings();
        let found = warnings.get("spool").cloned();
        found.filter(|warning| warning.contains("max_spool_bytes"))
    })
    .await;
    assert_eq!(durable(&world).len(), 1, "what is not committed has left");
    client.batch_execute("COMMIT").await.unwrap();
    wait_for_count(&world, "the transaction", 20_001).await;
    let left = std::fs::read_dir(world.folder().join("scratch/spool")).unwrap();
    assert_eq!(left.count(), 0, "a spool was left behind");
    run.stop(DEADLINE).await.unwrap();
    let expected: Vec<u32> = (0..=20_000).collect();
    assert_eq!(ids(&durable(&world)), json!(expected));
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_slot_is_made_again_is_recovered_from() {
    let (database, _proxy, world, mut config) = ready(json!({ "on_lost_slot": "snapshot" })).await;
    config["url"] = json!(database.url());
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| events.len() == 1).await;
    run.stop(DEADLINE).await.unwrap();
    free_slot(&database).await;
    let slots = format!(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{}'",
        database.slot()
    );
    database
        .run(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            database.slot()
        ))
        .await;
    database.run("INSERT INTO t VALUES (2)").await;
    // The intent becomes durable, the new slot's position does not: the crash comes in between, three times.
    for _ in 0..3 {
        world.lanes.hold();
        let run = world.start::<Postgres>(config.clone()).unwrap();
        until("the new slot", async || {
            world.lanes.release_up_to(1);
            (!database.rows(&slots).await.is_empty()).then_some(())
        })
        .await;
        run.kill().await;
        world.lanes.crash();
        world.lanes.release();
        free_slot(&database).await;
    }
    database.run("INSERT INTO t VALUES (3)").await;
    let run = world.start::<Postgres>(config.clone()).unwrap();
    wait_for(
        &world,
        "everything that the lost slot would have sent",
        |events| {
            ["2", "3"].iter().all(|id| {
                events
                    .iter()
                    .any(|e| e.op == Some(Op::Read) && e.partitionkey.as_deref() == Some(id))
            })
        },
    )
    .await;
    database.run("INSERT INTO t VALUES (4)").await;
    wait_for(&world, "a change", |events| {
        events
            .iter()
            .any(|e| e.op == Some(Op::Create) && e.partitionkey.as_deref() == Some("4"))
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    // It is one recreation of three that an hour allows: a restart is nothing new.
    free_slot(&database).await;
    let run = world.start::<Postgres>(config).unwrap();
    until("the stream", async || {
        (run.status.get() == State::Ready).then_some(())
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_become_dead_letters_in_stream_and_snapshot() {
    let server = crate::support::server("POSTGRES_URL");
    let options = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    let database = Database::with(server, options).await;
    let broken = "E'\\\\xe4'::bytea";
    database
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'whole');
             INSERT INTO t VALUES (2, convert_from({broken}, 'SQL_ASCII')); INSERT INTO t VALUES (3, 'whole')"
        ))
        .await;
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    wait_for(&world, "what exists", |events| events.len() == 2).await;
    database
        .run(&format!(
            "INSERT INTO t VALUES (4, convert_from({broken}, 'SQL_ASCII')); INSERT INTO t VALUES (5, 'whole')"
        ))
        .await;
    wait_for(&world, "the rows around it", |events| events.len() == 3).await;
    run.stop(DEADLINE).await.unwrap();
    let rejected: Vec<_> = world
        .lanes
        .sent()
        .into_values()
        .flat_map(|sent| sent.rejected)
        .collect();
    let keys: Vec<_> = rejected
        .iter()
        .map(|letter| letter.envelope.partitionkey.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(keys, ["2", "4"]);
    for letter in &rejected {
        assert!(
            letter
                .message
                .contains("column `x` of public.t is not UTF-8"),
            "{}",
            letter.message
        );
    }
    // The stream has the bytes; they are kept.
    assert_eq!(rejected[1].envelope.data.bytes().unwrap()[..], [0xe4]);
    database.drop_all().await;
}
