//! What reaches the sink, in which form, and what never does.

use std::time::Duration;

use headgate_postgres::Postgres;
use headgate_sdk::{ExtensionValue, Op, conformance::World};
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Database, cluster::Cluster, data, durable, scale, until, wait_for, wait_for_count,
};

fn streamed_only(database: &Database, more: Value) -> Value {
    let mut config = database.config_with(more);
    config["snapshot"] = json!({ "mode": "on_demand" });
    config
}

async fn confirmed(database: &Database) -> u64 {
    let sql = format!(
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = '{}'",
        database.slot()
    );
    database.text(&sql).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_rolls_back_publishes_nothing() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    // Far less than what the server would keep for itself by default.
    let rows = scale(50_000, 1_000_000);
    let world = World::new(4 << 20);
    let run = world
        .start::<Postgres>(streamed_only(&database, json!({})))
        .unwrap();
    let client = database.another().await;
    client
        .batch_execute(&format!(
            "BEGIN; INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, {rows}) g"
        ))
        .await
        .unwrap();
    let spool = world.folder().join("scratch/spool");
    until("the transaction's spool", async || {
        let file = std::fs::read_dir(&spool).ok()?.next()?.ok()?;
        (file.metadata().ok()?.len() > 1_000_000).then_some(())
    })
    .await;
    assert!(durable(&world).is_empty());
    client.batch_execute("ROLLBACK").await.unwrap();
    database.run("INSERT INTO t VALUES (-1, 'after')").await;
    wait_for(&world, "the row after it", |events| !events.is_empty()).await;
    until("the spool's end", async || {
        (std::fs::read_dir(&spool).unwrap().count() == 0).then_some(())
    })
    .await;
    let events = durable(&world);
    assert_eq!(events.len(), 1);
    assert_eq!(data(&events[0])["after"]["id"], -1);
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

/// The log that a slot holds, and where the server's log ends.
async fn held(database: &Database) -> (u64, u64) {
    let sql = format!(
        "SELECT (pg_current_wal_lsn() - restart_lsn)::bigint, (pg_current_wal_lsn() - '0/0')::bigint FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        database.slot()
    );
    let row = database.rows(&sql).await.remove(0);
    let number = |i: usize| row[i].as_deref().unwrap().parse().unwrap();
    (number(0), number(1))
}

/// The bound that the documentation states: what was written since the server last noted its running transactions, which it does
/// every 15 seconds, and one heartbeat. Here nothing is written meanwhile: the server is the test's own.
async fn an_idle_slot_holds_little_log(variable: &str) {
    const BOUND: u64 = 1_000_000;
    let cluster = Cluster::start(variable, &["wal_level=logical"]);
    let database = Database::with(cluster.url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database.prepare().await;
    let busy = Database::with(cluster.url(), "").await;
    busy.run("CREATE TABLE b (x text)").await;
    let world = World::new(4 << 20);
    let run = world
        .start::<Postgres>(streamed_only(&database, json!({})))
        .unwrap();
    for round in 0..scale(2, 10) {
        let (_, before) = held(&database).await;
        busy.run("INSERT INTO b SELECT repeat('y', 1000) FROM generate_series(1, 40000)")
            .await;
        let (_, after) = held(&database).await;
        assert!(
            after - before > 40_000_000,
            "the other database wrote only {} in round {round}",
            after - before
        );
        // Nothing was published, and the server lets go of all of it: not what is confirmed, what is kept on its disk.
        until("the idle slot's advance", async || {
            let (held, _) = held(&database).await;
            (held < BOUND && confirmed(&database).await + BOUND >= after).then_some(())
        })
        .await;
    }
    assert!(durable(&world).is_empty());
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_beside_a_busy_one_holds_little_log() {
    an_idle_slot_holds_little_log("POSTGRES_BIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_beside_a_busy_one_holds_little_log_on_18() {
    an_idle_slot_holds_little_log("POSTGRES18_BIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_sink_does_not_lose_the_connection() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    let admin = database.another().await;
    // Even the short one is longer than what a busy machine leaves a process waiting for.
    let timeout = scale(4, 15);
    let role = format!("slow_{}", database.name);
    admin
        .batch_execute(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'p'; ALTER ROLE {role} SET wal_sender_timeout = '{timeout}s'"))
        .await
        .unwrap();
    let mut config = streamed_only(&database, json!({}));
    config["url"] = json!(database.url_as(&role, "p"));
    let world = World::new(2 << 20);
    world.lanes.hold();
    let run = world.start::<Postgres>(config).unwrap();
    database
        .run("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 50000) g")
        .await;
    let pid = "SELECT active_pid FROM pg_replication_slots WHERE database = current_database() AND active";
    let first = until("a walsender", async || {
        database
            .rows(pid)
            .await
            .first()
            .and_then(|row| row[0].clone())
    })
    .await;
    // Blocked for four times the timeout.
    let blocked = tokio::time::Instant::now();
    until("the timeout's passing", async || {
        (blocked.elapsed() > Duration::from_secs(4 * timeout)).then_some(())
    })
    .await;
    let pending: usize = world.lanes.sent().values().map(|s| s.pending.len()).sum();
    assert!(
        (1..5_000).contains(&pending),
        "{pending} events are under way"
    );
    assert_eq!(
        database.rows(pid).await[0][0].clone().unwrap(),
        first,
        "it had to connect again"
    );
    assert_eq!(confirmed_rows(&world), 0);
    world.lanes.release();
    wait_for_count(&world, "all rows", 50_000).await;
    assert_eq!(
        database.rows(pid).await[0][0].clone().unwrap(),
        first,
        "it had to connect again"
    );
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
    let _gone = crate::support::connect(&crate::support::server("POSTGRES_URL"))
        .await
        .batch_execute(&format!("DROP ROLE {role}"))
        .await;
}

fn confirmed_rows(world: &World) -> usize {
    durable(world).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_confirmed_before_it_is_durable() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database.prepare().await;
    let world = World::new(4 << 20);
    world.lanes.hold();
    let before = confirmed(&database).await;
    let run = world
        .start::<Postgres>(streamed_only(&database, json!({})))
        .unwrap();
    database
        .run("INSERT INTO t SELECT generate_series(1, 10)")
        .await;
    let sent = world
        .lanes
        .wait_for(|sent| sent.values().any(|s| s.pending.len() == 10));
    tokio::time::timeout(DEADLINE, sent).await.unwrap();
    let waited = tokio::time::Instant::now();
    until("some status updates", async || {
        (waited.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    assert_eq!(confirmed(&database).await, before);
    world.lanes.release();
    until("the confirmation", async || {
        (confirmed(&database).await > before).then_some(())
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_have_the_documented_form() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
              CREATE TABLE outbox (id uuid PRIMARY KEY, type text, topic text, key text, payload jsonb)")
        .await;
    database.prepare().await;
    let world = World::new(4 << 20);
    let config = streamed_only(
        &database,
        json!({ "tombstones": true, "transaction_events": true, "messages": ["app.*"], "outbox": { "table": "public.outbox" } }),
    );
    let run = world.start::<Postgres>(config).unwrap();
    database
        .run("BEGIN; INSERT INTO t VALUES (1, 'a', repeat('b', 3000)); UPDATE t SET x = 'c' WHERE id = 1; UPDATE t SET id = 2 WHERE id = 1;
              DELETE FROM t WHERE id = 2; TRUNCATE t; SELECT pg_logical_emit_message(true, 'app.note', '{\"a\":1}');
              SELECT pg_logical_emit_message(true, 'other', 'no');
              INSERT INTO outbox VALUES ('6f9619ff-8b86-d011-b42d-00cf4fc964ff', 'order.placed.v1', 'orders', 'k1', '{\"n\": 1}'); COMMIT")
        .await;
    wait_for(&world, "the end of the transaction", |events| {
        events
            .iter()
            .any(|e| e.event_type == "postgres.transaction.ended.v1")
    })
    .await;
    let events = durable(&world);
    let short: Vec<String> = events
        .iter()
        .map(|e| {
            let id =
                e.id.rsplit_once('-')
                    .map_or(e.id.as_str(), |(_, ordinal)| ordinal);
            let op = e.op.map_or("-", Op::as_str);
            format!(
                "{id} {op} {} {} {}",
                e.event_type,
                e.partitionkey.as_deref().unwrap_or("-"),
                !e.data.is_empty()
            )
        })
        .collect();
    insta::assert_snapshot!(short.join("\n"), @r"
    begin - postgres.transaction.begun.v1 - true
    1 c postgres.row.changed.v1 1 true
    2 u postgres.row.changed.v1 1 true
    3.0 d postgres.row.changed.v1 1 true
    3.0.t d postgres.row.changed.v1 1 false
    3.1 c postgres.row.changed.v1 2 true
    4 d postgres.row.changed.v1 2 true
    4.t d postgres.row.changed.v1 2 false
    5.0 t postgres.row.changed.v1 - true
    6 m postgres.message.emitted.v1 - true
    00cf4fc964ff - order.placed.v1 k1 true
    end - postgres.transaction.ended.v1 - true
    ");
    let update = data(&events[2]);
    assert_eq!(update["unchanged"], json!(["big"]));
    assert_eq!(update["after"], json!({ "id": 1, "x": "c" }));
    assert_eq!(update["transaction"]["total_order"], 2);
    let commit = events[1]
        .id
        .split_once('/')
        .unwrap()
        .1
        .split_once('-')
        .unwrap()
        .0;
    assert_eq!(commit.len(), 16);
    let outbox = events
        .iter()
        .find(|e| e.event_type == "order.placed.v1")
        .unwrap();
    assert_eq!(outbox.id, "6f9619ff-8b86-d011-b42d-00cf4fc964ff");
    assert_eq!(
        outbox.extensions.get("topic"),
        Some(&ExtensionValue::String("orders".into()))
    );
    assert_eq!(data(outbox), json!({ "n": 1 }));
    let end = data(events.last().unwrap());
    assert_eq!(end["status"], "END");
    let counted = end["data_collections"].as_array().unwrap();
    assert!(
        counted.contains(&json!({ "data_collection": "public.t", "event_count": 5 })),
        "{counted:?}"
    );
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thin_events_carry_keys_only() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, secret text)")
        .await;
    database.prepare().await;
    let world = World::new(4 << 20);
    let run = world
        .start::<Postgres>(streamed_only(&database, json!({ "events": "thin" })))
        .unwrap();
    database.run("INSERT INTO t VALUES (1, 'hush')").await;
    wait_for(&world, "the row", |events| events.len() == 1).await;
    let events = durable(&world);
    assert_eq!(data(&events[0])["after"], json!({ "id": 1 }));
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_shape_is_an_event() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (0)")
        .await;
    database.prepare().await;
    let world = World::new(4 << 20);
    let config = streamed_only(&database, json!({}));
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database
        .run("INSERT INTO t VALUES (1); ALTER TABLE t ADD y int DEFAULT 7; INSERT INTO t VALUES (2); ALTER TABLE t DROP x; ALTER TABLE t RENAME y TO z; INSERT INTO t VALUES (3, 9)")
        .await;
    wait_for(&world, "all rows", |events| {
        events.iter().filter(|e| e.op.is_some()).count() == 3
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    // A restart does not report it again.
    let run = world.start::<Postgres>(config).unwrap();
    database
        .run("ALTER TABLE t ALTER z TYPE bigint; INSERT INTO t VALUES (4, 10)")
        .await;
    wait_for(&world, "the last row", |events| {
        events.iter().filter(|e| e.op.is_some()).count() == 4
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    let shapes: Vec<Value> = durable(&world)
        .iter()
        .filter(|e| e.event_type == "postgres.schema.changed.v1")
        .map(|e| {
            let columns = data(e)["after"]["columns"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| {
                    format!(
                        "{} {}",
                        c["name"].as_str().unwrap(),
                        c["type"].as_str().unwrap()
                    )
                })
                .collect::<Vec<_>>();
            json!([data(e)["version"], columns])
        })
        .collect();
    assert_eq!(
        json!(shapes),
        json!([
            [2, ["id integer", "x text", "y integer"]],
            [3, ["id integer", "z integer"]],
            [4, ["id integer", "z bigint"]]
        ])
    );
    // Rows name the version that they have.
    let versions: Vec<String> = durable(&world)
        .iter()
        .filter(|e| e.op.is_some())
        .map(|e| {
            let uri = e.dataschema.as_deref().unwrap_or_default();
            let (source, version) = uri.split_once(":public.t:").unwrap();
            assert_eq!(source, e.source.as_str());
            version.to_owned()
        })
        .collect();
    assert_eq!(versions, ["v1", "v2", "v3", "v4"]);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_come_as_their_root_and_generated_columns_on_18() {
    let database = Database::on("POSTGRES18_URL").await;
    database
        .run("CREATE TABLE p (id int, d date, twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
              CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
              CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
              INSERT INTO p VALUES (1, '2024-05-05'), (2, '2025-05-05')")
        .await;
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    wait_for(&world, "what exists", |events| events.len() >= 2).await;
    database.run("INSERT INTO p VALUES (3, '2025-06-06')").await;
    wait_for(&world, "the new row", |events| events.len() >= 3).await;
    run.stop(DEADLINE).await.unwrap();
    let events = durable(&world);
    assert!(
        events
            .iter()
            .all(|e| e.subject.as_deref() == Some("public.p")),
        "{events:?}"
    );
    let twice: Vec<Value> = events
        .iter()
        .map(|e| data(e)["after"]["twice"].clone())
        .collect();
    assert_eq!(json!(twice), json!([2, 4, 6]));
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn column_lists_and_row_filters_hold_for_rows_that_exist_too() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text, secret text); INSERT INTO t SELECT g, 'x', 's' FROM generate_series(1, 10) g")
        .await;
    let world = World::new(4 << 20);
    let config = database.config_with(json!({ "table_options": { "public.t": { "columns": ["id", "x"], "filter": "id % 2 = 0" } } }));
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "what exists", |events| events.len() >= 5).await;
    database
        .run("INSERT INTO t SELECT g, 'x', 's' FROM generate_series(11, 14) g")
        .await;
    wait_for(&world, "the new rows", |events| events.len() >= 7).await;
    run.stop(DEADLINE).await.unwrap();
    let rows: Vec<Value> = durable(&world)
        .iter()
        .map(|e| data(e)["after"].clone())
        .collect();
    let expected: Vec<Value> = (1..=7).map(|i| json!({ "id": i * 2, "x": "x" })).collect();
    assert_eq!(rows, expected);
    database.drop_all().await;
}
