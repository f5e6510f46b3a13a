//! What bad input gets: found, named, and mended by what the message says.

use headgate_postgres::Postgres;
use headgate_sdk::{SourceError, conformance::World, status::State};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Database, durable, server, until, wait_for};

/// How a source of `config` ends.
pub(crate) async fn ends(world: &World, config: Value) -> SourceError {
    let run = world.start::<Postgres>(config).unwrap();
    let ended = tokio::time::timeout(DEADLINE, run.ended()).await;
    ended
        .expect("the source ends by itself")
        .expect_err("it cannot work")
}

pub(crate) fn assert_fatal(error: &SourceError, words: &[&str]) {
    assert!(
        matches!(error, SourceError::Fatal { .. }),
        "{error} is not final"
    );
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

async fn ready() -> Database {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named() {
    let database = ready().await;
    let world = World::new(1 << 20);
    let error = ends(
        &world,
        database.config_with(json!({ "url": database.url_as("postgres", "wrong") })),
    )
    .await;
    assert_fatal(&error, &["password authentication failed", "`url`"]);
    let error = ends(
        &world,
        database.config_with(json!({ "url": format!("{}_not", database.url()) })),
    )
    .await;
    assert_fatal(&error, &["does not exist"]);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_tried_again() {
    let world = World::new(1 << 20);
    let error = ends(
        &world,
        json!({ "url": "postgres://u:p@127.0.0.1:1/d", "tables": ["public.*"] }),
    )
    .await;
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_named_and_least_privilege_is_enough() {
    let database = ready().await;
    database.run("INSERT INTO t VALUES (1)").await;
    let role = format!("least_{}", database.name);
    database
        .run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'"))
        .await;
    let world = World::new(1 << 20);
    let config = database.config_with(json!({ "url": database.url_as(&role, "p") }));
    let error = ends(&world, config.clone()).await;
    assert_fatal(
        &error,
        &[
            "may not replicate",
            &format!("ALTER ROLE \"{role}\" REPLICATION"),
        ],
    );
    database
        .run(&format!("ALTER ROLE {role} REPLICATION"))
        .await;
    let error = ends(&world, config.clone()).await;
    assert_fatal(
        &error,
        &[
            "publication headgate does not exist",
            "CREATE PUBLICATION \"headgate\" FOR TABLE \"public\".\"t\"",
        ],
    );
    database
        .run("CREATE PUBLICATION headgate FOR TABLE t")
        .await;
    let run = world.start::<Postgres>(config).unwrap();
    until("the warning about the table", async || {
        let warnings = run.status.warnings();
        warnings
            .get("snapshot/public.t")
            .filter(|w| w.contains("permission denied"))
            .cloned()
    })
    .await;
    database.run(&format!("GRANT SELECT ON t TO {role}")).await;
    wait_for(&world, "the row", |events| !events.is_empty()).await;
    database.run("INSERT INTO t VALUES (2)").await;
    wait_for(&world, "the new row", |events| events.len() == 2).await;
    run.stop(DEADLINE).await.unwrap();
    database
        .run(&format!("REVOKE ALL ON t FROM {role}; DROP ROLE {role}"))
        .await;
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_where_that_is_not_wanted() {
    let database = ready().await;
    let world = World::new(1 << 20);
    let config = database.config_with(json!({ "setup": false }));
    let error = ends(&world, config.clone()).await;
    assert_fatal(
        &error,
        &[
            "publication headgate does not exist",
            "headgate postgres setup",
            "CREATE PUBLICATION",
        ],
    );
    database
        .run("CREATE PUBLICATION headgate FOR ALL TABLES")
        .await;
    let error = ends(&world, config).await;
    assert_fatal(
        &error,
        &["does not exist", "pg_create_logical_replication_slot"],
    );
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_use_is_waited_for() {
    let database = ready().await;
    database.prepare().await;
    let (first, second) = (World::new(1 << 20), World::new(1 << 20));
    let holder = first.start::<Postgres>(database.config()).unwrap();
    until("a walsender", async || {
        (!database
            .rows("SELECT FROM pg_replication_slots WHERE active AND database = current_database()")
            .await
            .is_empty())
        .then_some(())
    })
    .await;
    let waiter = second.start::<Postgres>(database.config()).unwrap();
    until("the word about the slot", async || {
        match waiter.status.get() {
            State::Waiting(why)
                if why.contains("is active for process")
                    && why.contains("SELECT pg_terminate_backend(") =>
            {
                Some(())
            }
            _ => None,
        }
    })
    .await;
    holder.stop(DEADLINE).await.unwrap();
    until("the slot", async || {
        (waiter.status.get() == State::Ready).then_some(())
    })
    .await;
    waiter.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

/// Streams a row, stops, and leaves world and database with a stored position.
async fn with_a_position(more: Value) -> (Database, World, Value) {
    position_in(Database::new().await, more).await
}

async fn position_in(database: Database, more: Value) -> (Database, World, Value) {
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database.prepare().await;
    let mut config = database.config_with(more);
    config["snapshot"] = json!({ "mode": "on_demand" });
    let world = World::new(1 << 20);
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| events.len() == 1).await;
    run.stop(DEADLINE).await.unwrap();
    free_slot(&database).await;
    (database, world, config)
}

async fn free_slot(database: &Database) {
    until("the free slot", async || {
        database
            .rows("SELECT FROM pg_replication_slots WHERE active AND database = current_database()")
            .await
            .is_empty()
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_stops_the_source() {
    let (database, world, config) = with_a_position(json!({})).await;
    database
        .run(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            database.slot()
        ))
        .await;
    let error = ends(&world, config).await;
    assert_fatal(
        &error,
        &[
            "does not exist any more",
            "are lost with it",
            "on_lost_slot: snapshot",
        ],
    );
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_comes_back_three_times_an_hour() {
    let (database, world, config) = with_a_position(json!({ "on_lost_slot": "snapshot" })).await;
    for round in 1..=3 {
        database
            .run(&format!(
                "SELECT pg_drop_replication_slot('{}')",
                database.slot()
            ))
            .await;
        database
            .run(&format!("INSERT INTO t VALUES (1{round})"))
            .await;
        let run = world.start::<Postgres>(config.clone()).unwrap();
        // What was written without a slot is read.
        wait_for(&world, "the lost row", |events| {
            events.iter().any(|e| {
                e.id.starts_with("snap/recreated-")
                    && e.partitionkey.as_deref() == Some(format!("1{round}").as_str())
            })
        })
        .await;
        run.stop(DEADLINE).await.unwrap();
        until("the free slot", async || {
            database.rows("SELECT FROM pg_replication_slots WHERE active AND database = current_database()").await.is_empty().then_some(())
        })
        .await;
    }
    database
        .run(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            database.slot()
        ))
        .await;
    let error = ends(&world, config).await;
    assert_fatal(&error, &["for the 4th time within an hour"]);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_ahead_is_never_skipped_over() {
    let (database, world, config) = with_a_position(json!({})).await;
    database.run("INSERT INTO t VALUES (2)").await;
    database
        .run(&format!(
            "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
            database.slot()
        ))
        .await;
    let error = ends(&world, config).await;
    assert_fatal(
        &error,
        &[
            "ahead of the stored position",
            "headgate postgres drop",
            "headgate checkpoints set",
        ],
    );
    assert_eq!(durable(&world).len(), 1);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_recognised() {
    let (database, world, mut config) = with_a_position(json!({})).await;
    config["url"] = json!(server("POSTGRES18_URL"));
    let error = ends(&world, config).await;
    assert_fatal(
        &error,
        &[
            "another cluster",
            "system identifier",
            "point `url` to the right server",
        ],
    );
    database.drop_all().await;
}

/// What was changed while it did not exist is in no slot: nothing goes on as if it had come, whatever the server makes of it.
async fn a_dropped_publication_is_noticed(variable: &str) {
    let database = Database::on(variable).await;
    let (database, world, config) = position_in(
        database,
        json!({ "heartbeat": "1h", "on_lost_slot": "snapshot" }),
    )
    .await;
    let run = world.start::<Postgres>(config.clone()).unwrap();
    until("the stream", async || {
        (run.status.get() == State::Ready).then_some(())
    })
    .await;
    for statement in ["DROP PUBLICATION headgate", "INSERT INTO t VALUES (3)"] {
        database.run(statement).await;
    }
    let error = tokio::time::timeout(DEADLINE, run.ended())
        .await
        .unwrap()
        .unwrap_err();
    let words = [
        "publication \"headgate\"",
        "headgate postgres setup",
        "pg_drop_replication_slot",
        "a new snapshot",
    ];
    assert_fatal(&error, &words);
    // There is a publication again, and the row is still not in what it publishes.
    free_slot(&database).await;
    database
        .run("CREATE PUBLICATION headgate FOR ALL TABLES")
        .await;
    database.run("INSERT INTO t VALUES (4)").await;
    let error = ends(&world, config.clone()).await;
    assert_fatal(&error, &words);
    assert_eq!(durable(&world).len(), 1, "something came behind the gap");
    // The way back that the message names.
    free_slot(&database).await;
    database
        .run(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            database.slot()
        ))
        .await;
    let mut config = config;
    config["snapshot"] = json!({ "mode": "initial" });
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "all rows", |events| {
        ["1", "3", "4"].iter().all(|id| {
            events
                .iter()
                .any(|e| e.id.starts_with("snap/") && e.partitionkey.as_deref() == Some(*id))
        })
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_dropped_ends_in_a_clear_error() {
    a_dropped_publication_is_noticed("POSTGRES_URL").await;
}

/// Postgres 18 goes on with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_dropped_ends_in_a_clear_error_on_18() {
    a_dropped_publication_is_noticed("POSTGRES18_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publication_leaves_out_is_said() {
    let database = ready().await;
    database.run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1); INSERT INTO t VALUES (1)").await;
    database
        .run("CREATE PUBLICATION headgate FOR ALL TABLES WITH (publish = 'insert, delete')")
        .await;
    let world = World::new(1 << 20);
    // Somebody else's publication may have more tables than are wanted; they are not read either.
    let config = database.config_with(json!({ "tables": ["public.t"] }));
    let run = world.start::<Postgres>(config).unwrap();
    let warning = until("the warning", async || {
        run.status.warnings().get("publication").cloned()
    })
    .await;
    for words in [
        "does not publish update, truncate",
        "partitions under their own names",
        "ALTER PUBLICATION \"headgate\" SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);",
    ] {
        assert!(
            warning.contains(words),
            "{warning:?} does not say {words:?}"
        );
    }
    // What it says mends it.
    let (_, sql) = warning.split_once("run: ").unwrap();
    database.run(sql).await;
    until("the end of the warning", async || {
        (!run.status.warnings().contains_key("publication")).then_some(())
    })
    .await;
    database
        .run("INSERT INTO other VALUES (2); UPDATE t SET id = 2")
        .await;
    wait_for(&world, "the update", |events| events.len() >= 3).await;
    run.stop(DEADLINE).await.unwrap();
    for event in durable(&world) {
        assert_eq!(event.subject.as_deref(), Some("public.t"), "{}", event.id);
    }
    database.drop_all().await;
}

/// While it is not published, its changes are in no stream: it is read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_taken_out_and_comes_back_is_read_again() {
    let database = ready().await;
    database
        .run("CREATE TABLE u (id int PRIMARY KEY); CREATE PUBLICATION headgate FOR TABLE t, u")
        .await;
    let world = World::new(1 << 20);
    database.run("INSERT INTO t VALUES (1)").await;
    let run = world.start::<Postgres>(database.config_with(json!({ "setup": false })));
    // `setup: false` creates no slot either.
    let error = tokio::time::timeout(DEADLINE, run.unwrap().ended())
        .await
        .unwrap()
        .unwrap_err();
    assert_fatal(&error, &["pg_create_logical_replication_slot"]);
    let sql = format!(
        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
        database.slot()
    );
    database.run(&sql).await;
    let run = world
        .start::<Postgres>(database.config_with(json!({ "setup": false })))
        .unwrap();
    wait_for(&world, "the row", |events| events.len() == 1).await;
    database
        .run("ALTER PUBLICATION headgate DROP TABLE t")
        .await;
    let warning = until("the warning", async || {
        run.status.warnings().get("tables").cloned()
    })
    .await;
    assert!(
        warning
            .contains("public.t; run: ALTER PUBLICATION \"headgate\" ADD TABLE \"public\".\"t\";"),
        "{warning}"
    );
    database.run("INSERT INTO t VALUES (2)").await;
    let (_, sql) = warning.split_once("run: ").unwrap();
    database.run(sql).await;
    wait_for(&world, "the row that was in no stream", |events| {
        events
            .iter()
            .any(|e| e.id.starts_with("snap/added-") && e.partitionkey.as_deref() == Some("2"))
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_with_two_phase_is_refused() {
    let database = ready().await;
    database
        .run("CREATE PUBLICATION headgate FOR ALL TABLES")
        .await;
    database
        .run(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput', false, true)",
            database.slot()
        ))
        .await;
    let world = World::new(1 << 20);
    let error = ends(&world, database.config()).await;
    assert_fatal(
        &error,
        &[
            "two_phase",
            "loses rows",
            &format!("SELECT pg_drop_replication_slot('{}');", database.slot()),
            "headgate postgres setup",
        ],
    );
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_retriable_and_nothing_is_lost() {
    let (database, world, config) = with_a_position(json!({})).await;
    let run = world.start::<Postgres>(config.clone()).unwrap();
    until("the stream", async || {
        (!database.rows("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND database = current_database()").await.is_empty()).then_some(())
    })
    .await;
    let error = tokio::time::timeout(DEADLINE, run.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
    database.run("INSERT INTO t VALUES (5)").await;
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "the row", |events| events.len() == 2).await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}
