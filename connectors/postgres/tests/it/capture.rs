//! Which changes are captured: by origin, by replica identity, as DDL.

use headgate_postgres::Postgres;
use headgate_sdk::{
    Envelope, Op,
    command::CommandOutcome,
    conformance::{Run, World},
    status::State,
};
use serde_json::{Value, json};

use crate::{
    setup::command,
    support::{DEADLINE, Database, data, durable, until, wait_for, wait_for_count},
};

fn streamed(database: &Database, more: Value) -> Value {
    let mut config = database.config_with(more);
    config["snapshot"] = json!({ "mode": "on_demand" });
    config
}

async fn stop(run: Run, world: &World) -> Vec<Envelope> {
    run.stop(DEADLINE).await.unwrap();
    durable(world)
}

fn ids(events: &[Envelope]) -> Value {
    let ids: Vec<Value> = events
        .iter()
        .filter(|e| e.op == Some(Op::Create))
        .map(|e| data(e)["after"]["id"].clone())
        .collect();
    json!(ids)
}

/// Changes that somebody replicates into the database are left out with `origin: none`, in streamed transactions as well.
async fn origins(variable: &str, streaming: bool) {
    let database = Database::on(variable).await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    let other = format!("{}_any", database.slot());
    database
        .run(&format!(
            "SELECT pg_create_logical_replication_slot('{other}', 'pgoutput')"
        ))
        .await;
    database
        .run(&format!(
            "ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
    let origin = format!("from_elsewhere_{}", database.name);
    for statement in [
        &format!("SELECT pg_replication_origin_create('{origin}')"),
        "INSERT INTO t VALUES (1)",
        &format!("SELECT pg_replication_origin_session_setup('{origin}')"),
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(10, 3000) g",
        "SELECT pg_replication_origin_session_reset()",
        "INSERT INTO t VALUES (3)",
    ] {
        database.run(statement).await;
    }
    let local = World::new(4 << 20);
    let config = streamed(
        &database,
        json!({ "origin": "none", "streaming": streaming }),
    );
    let run = local.start::<Postgres>(config).unwrap();
    database.run("INSERT INTO t VALUES (4)").await;
    wait_for(&local, "the last row", |events| {
        events
            .iter()
            .any(|e| e.partitionkey.as_deref() == Some("4"))
    })
    .await;
    let local = stop(run, &local).await;
    let all = World::new(4 << 20);
    let config = streamed(&database, json!({ "slot": other, "streaming": streaming }));
    let run = all.start::<Postgres>(config).unwrap();
    wait_for(&all, "the last row", |events| {
        events
            .iter()
            .any(|e| e.partitionkey.as_deref() == Some("4"))
    })
    .await;
    let all = stop(run, &all).await;
    let sql = format!(
        "SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = '{other}'"
    );
    let was_streamed = database.text(&sql).await == "t";
    assert_eq!(was_streamed, streaming);
    assert_eq!(ids(&local), json!([1, 3, 4]));
    assert_eq!(all.len(), 2 + 1 + 2991 + 1);
    // What both have, they have under the same id.
    for event in &local {
        assert!(
            all.iter()
                .any(|e| e.id == event.id && e.partitionkey == event.partitionkey),
            "{} is another event elsewhere",
            event.id
        );
    }
    database
        .run(&format!("SELECT pg_replication_origin_drop('{origin}')"))
        .await;
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_elsewhere_are_left_out_on_request() {
    origins("POSTGRES_URL", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_elsewhere_are_left_out_on_request_without_streaming() {
    origins("POSTGRES_URL", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_elsewhere_are_left_out_on_request_on_18() {
    origins("POSTGRES18_URL", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_is_reported_where_that_is_wanted() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let config = streamed(&database, json!({ "ddl": true }));
    assert!(matches!(
        command(&config, &["setup"]).await,
        CommandOutcome::Fine
    ));
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(config.clone()).unwrap();
    until("the stream", async || {
        (run.status.get() == State::Ready).then_some(())
    })
    .await;
    database
        .run("BEGIN; ALTER TABLE t ADD COLUMN x text DEFAULT 'it''s'; ROLLBACK")
        .await;
    database
        .run("BEGIN; ALTER TABLE t ADD COLUMN x text; INSERT INTO t VALUES (1, 'new'); COMMIT")
        .await;
    database.run("INSERT INTO t VALUES (2, 'last')").await;
    wait_for(&world, "the last row", |events| {
        events
            .iter()
            .any(|e| e.partitionkey.as_deref() == Some("2"))
    })
    .await;
    let events = stop(run, &world).await;
    let ddl: Vec<&Envelope> = events
        .iter()
        .filter(|e| e.event_type == "postgres.ddl.executed.v1")
        .collect();
    assert_eq!(ddl.len(), 1, "{ddl:?}");
    let message = data(ddl[0])["message"]["json"].clone();
    assert_eq!(message["command"], "ALTER TABLE");
    assert!(
        message["statement"]
            .as_str()
            .unwrap()
            .contains("ADD COLUMN x text"),
        "{message}"
    );
    assert_eq!(message["objects"][0]["identity"], "public.t");
    // It stands before the first row of the new shape, in the same transaction.
    let position = |event: &Envelope| events.iter().position(|e| e.id == event.id).unwrap();
    let row = events
        .iter()
        .find(|e| e.partitionkey.as_deref() == Some("1"))
        .unwrap();
    assert!(position(ddl[0]) < position(row));
    assert_eq!(
        data(ddl[0])["transaction"]["id"],
        data(row)["transaction"]["id"]
    );
    assert!(matches!(
        command(&config, &["drop"]).await,
        CommandOutcome::Fine
    ));
    // The trigger is gone with the rest.
    database.run("ALTER TABLE t DROP COLUMN x").await;
    database.drop_all().await;
}

/// Updates and deletes of such a table are the server's to refuse; its inserts come, with the key if the table has one.
#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_replica_identity_are_named_and_their_inserts_come() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
              CREATE TABLE keyless (id int);
              CREATE TABLE whole (id int, x text); ALTER TABLE whole REPLICA IDENTITY FULL")
        .await;
    let config = streamed(&database, json!({}));
    assert!(matches!(
        command(&config, &["setup"]).await,
        CommandOutcome::Fine
    ));
    assert!(matches!(
        command(&config, &["check"]).await,
        CommandOutcome::Wrong
    ));
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(config).unwrap();
    database
        .run("INSERT INTO nothing VALUES (1); INSERT INTO keyless VALUES (2); INSERT INTO whole VALUES (3, 'a')")
        .await;
    for refused in [
        "UPDATE nothing SET id = 5",
        "DELETE FROM keyless",
        "UPDATE keyless SET id = 6",
    ] {
        let error = database.client.batch_execute(refused).await.unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.contains("replica identity"), "{message}");
    }
    database
        .run("UPDATE whole SET x = 'b'; DELETE FROM whole")
        .await;
    wait_for(&world, "the deletion", |events| {
        events.iter().any(|e| e.op == Some(Op::Delete))
    })
    .await;
    let warnings = run.status.warnings();
    for table in ["nothing", "keyless"] {
        let warning = &warnings[&format!("identity/public.{table}")];
        let remedy = format!("ALTER TABLE \"public\".\"{table}\" REPLICA IDENTITY FULL");
        assert!(warning.contains(&remedy), "{warning}");
    }
    assert!(
        !warnings.contains_key("identity/public.whole"),
        "{warnings:?}"
    );
    let events = stop(run, &world).await;
    let short: Vec<Value> = events
        .iter()
        .map(|e| {
            let data = data(e);
            json!([
                e.subject,
                e.partitionkey,
                data["op"],
                data["before"],
                data["after"]
            ])
        })
        .collect();
    assert_eq!(
        json!(short),
        json!([
            ["public.nothing", "1", "c", null, { "id": 1 }],
            ["public.keyless", null, "c", null, { "id": 2 }],
            ["public.whole", null, "c", null, { "id": 3, "x": "a" }],
            ["public.whole", null, "u", { "id": 3, "x": "a" }, { "id": 3, "x": "b" }],
            ["public.whole", null, "d", { "id": 3, "x": "b" }, null],
        ])
    );
    database.drop_all().await;
}

/// A server that always has more does not keep an operator waiting.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_answered_before_the_backlog_is_read() {
    const ROWS: usize = 60_000;
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database.prepare().await;
    // One transaction each thousand rows, all of it in the log before the first is read.
    database
        .run(&format!(
            "DO $$ BEGIN FOR i IN 0..{} LOOP INSERT INTO t SELECT i * 1000 + g FROM generate_series(0, 999) g; COMMIT; END LOOP; END $$",
            ROWS / 1000 - 1
        ))
        .await;
    let world = World::new(4 << 20);
    let run = world
        .start::<Postgres>(streamed(&database, json!({})))
        .unwrap();
    for _ in 0..3 {
        run.control("status", json!({})).await.unwrap();
    }
    let read = durable(&world).len();
    assert!(read < ROWS, "it was answered after the last of {read} rows");
    wait_for_count(&world, "the rest", ROWS).await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}
