//! Reading what exists, while it changes, with crashes in between.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::support::{
    DEADLINE, Database, data, durable, fold::Tables, lane, scale, until, wait_for, wait_for_event,
};
use headgate_postgres::Postgres;
use headgate_sdk::{Envelope, Op, conformance::World};
use serde_json::{Value, json};

fn rows() -> u64 {
    scale(20_000, 1_000_000)
}

fn snapshots_left(world: &World, database: &Database) -> usize {
    world
        .lanes
        .stored_entries(&lane(database))
        .keys()
        .filter(|key| key.starts_with("snapshot/"))
        .count()
}

async fn snapshot_done(world: &World, database: &Database, table: &str) {
    let key = format!("table/{table}");
    until("the snapshot's end", async || {
        let entries = world.lanes.stored_entries(&lane(database));
        (entries.contains_key(key.as_str()) && !entries.keys().any(|k| k.starts_with("snapshot/")))
            .then_some(())
    })
    .await;
}

/// Rows whose only state is a counter and a TOASTed text that most updates leave alone.
async fn create(database: &Database, rows: u64) {
    database
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
             INSERT INTO t SELECT g, 0, CASE WHEN g % 10 = 0 THEN repeat(md5(g::text), 80) END FROM generate_series(1, {rows}) g"
        ))
        .await;
}

async fn assert_same(database: &Database, events: &[Envelope]) {
    let tables = Tables::of(events);
    let empty = Default::default();
    let found = tables.0.get("public.t").unwrap_or(&empty);
    let expected = database
        .rows("SELECT id, n, coalesce(big, '') FROM t ORDER BY id")
        .await;
    assert_eq!(found.len(), expected.len());
    for row in expected {
        let id = row[0].clone().unwrap();
        let sent = found
            .get(&id)
            .unwrap_or_else(|| panic!("row {id} was lost"));
        assert_eq!(sent["n"].to_string(), row[1].clone().unwrap(), "row {id}");
        let big = sent["big"].as_str().unwrap_or_default().to_owned();
        let same = big == row[2].clone().unwrap();
        assert!(same, "row {id} has another text: {} bytes", big.len());
    }
}

/// No row goes back: its counter only grows.
fn assert_no_stale_overwrite(events: &[Envelope]) {
    let mut counters = std::collections::HashMap::new();
    for event in events
        .iter()
        .filter(|e| e.subject.as_deref() == Some("public.t"))
    {
        let after = &data(event)["after"];
        let (Some(id), Some(n)) = (after["id"].as_i64(), after["n"].as_i64()) else {
            counters.remove(&data(event)["before"]["id"].as_i64().unwrap_or_default());
            continue;
        };
        let former = counters.insert(id, n).unwrap_or(0);
        assert!(
            n >= former,
            "row {id} went back from {former} to {n} by {}",
            event.id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survives_three_kills_under_concurrent_writes() {
    let database = Database::new().await;
    let rows = rows();
    create(&database, rows).await;
    let chunk_rows = rows / 40;
    let config =
        database.config_with(json!({ "snapshot": { "chunk_rows": chunk_rows, "parallel": 2 } }));
    let world = World::new(4 << 20);
    let writing = Arc::new(AtomicBool::new(true));
    let writer = {
        let (writing, client) = (Arc::clone(&writing), database.another().await);
        tokio::spawn(async move {
            let mut step = 0_u64;
            while writing.load(Ordering::Relaxed) {
                step += 1;
                let id = step.wrapping_mul(7919) % rows + 1;
                let sql = match step % 10 {
                    0 => format!("DELETE FROM t WHERE id = {id}"),
                    1 => format!(
                        "INSERT INTO t VALUES ({}, 1, repeat('y', 3000))",
                        rows + step
                    ),
                    3 if step % 40 == 3 => {
                        format!(
                            "UPDATE t SET id = -id, n = n + 1 WHERE id = {}",
                            rows - step % rows
                        )
                    }
                    2 => format!(
                        "UPDATE t SET n = n + 1 WHERE id BETWEEN {id} AND {}",
                        id + 20
                    ),
                    _ => format!("UPDATE t SET n = n + 1 WHERE id = {id}"),
                };
                client.batch_execute(&sql).await.expect("the writer writes");
            }
        })
    };
    let mut read_before = 0;
    for part in 1..=3 {
        let run = world.start::<Postgres>(config.clone()).unwrap();
        let enough = usize::try_from(rows * part / 5).unwrap();
        let mut read = 0;
        wait_for_event(&world, "a part of the snapshot", |event| {
            read += usize::from(event.op == Some(Op::Read));
            read >= enough
        })
        .await;
        run.kill().await;
        world.lanes.crash();
        let read = durable(&world)
            .iter()
            .filter(|e| e.op == Some(Op::Read))
            .count();
        assert!(read >= read_before, "the snapshot began again");
        read_before = read;
    }
    let run = world.start::<Postgres>(config).unwrap();
    snapshot_done(&world, &database, "public.t").await;
    writing.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    database.run("INSERT INTO t VALUES (0, 0, NULL)").await;
    wait_for_event(&world, "the last row", |event| {
        event.op == Some(Op::Create) && event.partitionkey.as_deref() == Some("0")
    })
    .await;
    let events = durable(&world);
    run.stop(DEADLINE).await.unwrap();
    assert_no_stale_overwrite(&events);
    assert_same(&database, &events).await;
    let read = events.iter().filter(|e| e.op == Some(Op::Read)).count() as u64;
    // Each kill repeats what was not stored yet: at most the chunks under way.
    assert!(
        read < rows + 3 * 2 * 2 * chunk_rows,
        "{read} reads of {rows} rows: the snapshot began again"
    );
    database.drop_all().await;
}

/// A large table is divided among the readers; every row comes once, whatever part it is in.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_read_in_parts() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE l (a int, b text, pad text, PRIMARY KEY (a, b));
              INSERT INTO l SELECT g / 10, 'k' || g % 10, repeat('x', 300) FROM generate_series(1, 8000) g")
        .await;
    let config = database.config_with(json!({ "snapshot": { "chunk_rows": 200, "parallel": 4 } }));
    let world = World::new(4 << 20);
    world.lanes.hold();
    let run = world.start::<Postgres>(config.clone()).unwrap();
    let parts = || {
        let entries = world.lanes.stored_entries(&lane(&database));
        let parts = entries
            .keys()
            .filter(|key| key.starts_with("snapshot/initial~"));
        parts.count()
    };
    until("the parts", async || {
        world.lanes.release_up_to(1);
        (parts() == 3).then_some(())
    })
    .await;
    // Killed when they are known, and some of them begun.
    world.lanes.release_up_to(5);
    run.kill().await;
    world.lanes.crash();
    world.lanes.release();
    let run = world.start::<Postgres>(config).unwrap();
    snapshot_done(&world, &database, "public.l").await;
    run.stop(DEADLINE).await.unwrap();
    let events = durable(&world);
    assert_eq!(Tables::of(&events).0["public.l"].len(), 8000);
    let mut keys: Vec<_> = events.iter().map(|e| e.partitionkey.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 8000);
    assert!(events.len() < 8000 + 4 * 200 * 2, "{}", events.len());
    // Side by side: the last part did not wait for the first.
    let first = |from: i64, to: i64| {
        let found = events.iter().position(|e| {
            data(e)["after"]["a"]
                .as_i64()
                .is_some_and(|a| (from..to).contains(&a))
        });
        found.unwrap()
    };
    let last_of_first_part = events
        .iter()
        .rposition(|e| data(e)["after"]["a"].as_i64().is_some_and(|a| a < 150))
        .unwrap();
    assert!(first(650, 801) < last_of_first_part);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_are_read_in_order_and_resumed() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE c (a text, b timestamptz, c numeric, v int, PRIMARY KEY (b, a, c));
              INSERT INTO c SELECT 'k''\\' || g % 7, '2024-01-01Z'::timestamptz + (g / 50) * interval '1 second', g * 0.5, g FROM generate_series(1, 3000) g")
        .await;
    let config = database.config_with(json!({ "snapshot": { "chunk_rows": 100 } }));
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(config).unwrap();
    snapshot_done(&world, &database, "public.c").await;
    run.stop(DEADLINE).await.unwrap();
    let events = durable(&world);
    assert_eq!(events.len(), 3000);
    assert_eq!(Tables::of(&events).0["public.c"].len(), 3000);
    assert_eq!(
        events[0].partitionkey.as_deref(),
        Some(r#"["2024-01-01T00:00:00Z","k'\\0","3.5"]"#)
    );
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_read_at_its_place_in_the_stream() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE nokey (n int); INSERT INTO nokey SELECT generate_series(1, 5000)")
        .await;
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    let client = database.another().await;
    let writer = tokio::spawn(async move {
        for n in 5001..=5200 {
            let sql = format!("INSERT INTO nokey VALUES ({n})");
            client.batch_execute(&sql).await.expect("the writer writes");
        }
    });
    snapshot_done(&world, &database, "public.nokey").await;
    writer.await.unwrap();
    wait_for(&world, "the last row", |events| {
        events.iter().any(|e| data(e)["after"]["n"] == 5200)
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    let events = durable(&world);
    let first_read = events.iter().position(|e| e.op == Some(Op::Read)).unwrap();
    let last_read = events.iter().rposition(|e| e.op == Some(Op::Read)).unwrap();
    // From the snapshot's rows on, every row is there exactly once.
    let mut seen: Vec<i64> = events[first_read..]
        .iter()
        .map(|e| data(e)["after"]["n"].as_i64().unwrap())
        .collect();
    seen.sort_unstable();
    let expected: Vec<i64> = (1..=5200).collect();
    assert_eq!(seen, expected);
    assert!(
        events[first_read..=last_read]
            .iter()
            .all(|e| e.op == Some(Op::Read)),
        "the stream went on in the middle of it"
    );
    assert_eq!(snapshots_left(&world, &database), 0);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_read_again_on_demand() {
    let database = Database::new().await;
    create(&database, 1000).await;
    let world = World::new(4 << 20);
    let config = database.config_with(json!({ "snapshot": { "mode": "on_demand" } }));
    let run = world.start::<Postgres>(config).unwrap();
    until("the slot", async || {
        (!database
            .rows("SELECT FROM pg_replication_slots WHERE active AND database = current_database()")
            .await
            .is_empty())
        .then_some(())
    })
    .await;
    let refused = run
        .control("snapshot", json!({ "table": "public.nope" }))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`public.nope` is not in publication"),
        "{refused}"
    );
    let refused = run
        .control(
            "snapshot",
            json!({ "table": "public.t", "where": "idd < 5" }),
        )
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("idd"), "{refused}");
    let answer: Value = run
        .control(
            "snapshot",
            json!({ "table": "public.t", "where": "id <= 250" }),
        )
        .await
        .unwrap();
    wait_for(&world, "250 rows", |events| {
        events.iter().filter(|e| e.op == Some(Op::Read)).count() == 250
    })
    .await;
    let name = answer["snapshot"].as_str().unwrap();
    assert!(
        durable(&world)
            .iter()
            .all(|e| e.id.starts_with(&format!("snap/{name}/public.t/")))
    );
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_added_is_published_and_read() {
    let database = Database::new().await;
    create(&database, 10).await;
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    snapshot_done(&world, &database, "public.t").await;
    database
        .run("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later SELECT generate_series(1, 100)")
        .await;
    wait_for(&world, "the new table's rows", |events| {
        let ids: std::collections::BTreeSet<_> = events
            .iter()
            .filter(|e| e.subject.as_deref() == Some("public.later"))
            .map(|e| e.partitionkey.clone())
            .collect();
        ids.len() == 100
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

/// Whatever the server says about a table's columns, a reader's description is the same: rows that were read name the version that
/// rows which change afterwards have, and nothing pretends that the shape changed.
async fn versions_agree(variable: &str) {
    let database = Database::on(variable).await;
    let virtually = if variable.contains("18") {
        "VIRTUAL"
    } else {
        "STORED"
    };
    database
        .run(&format!(
            "CREATE TABLE plain (id int PRIMARY KEY, v varchar(10), n numeric(8, 2)[]);
             CREATE TABLE turned (a int, b text, c int, PRIMARY KEY (c, a));
             CREATE TABLE whole (id int PRIMARY KEY, v text); ALTER TABLE whole REPLICA IDENTITY FULL;
             CREATE TABLE indexed (id int, other text NOT NULL); CREATE UNIQUE INDEX by_other ON indexed (other);
             ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_other;
             CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) {virtually});
             CREATE TABLE holes (id int PRIMARY KEY, gone text, v text); ALTER TABLE holes DROP gone, ADD w text;
             CREATE TABLE parts (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
             CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
             CREATE TABLE listed (id int PRIMARY KEY, v text, secret text);
             CREATE TABLE later (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
             CREATE TABLE keyless (v text)"
        ))
        .await;
    let fill = |id: u32| {
        format!(
            "INSERT INTO plain VALUES ({id}); INSERT INTO turned VALUES ({id}, 'x', {id}); INSERT INTO whole VALUES ({id}); \
             INSERT INTO indexed VALUES ({id}, '{id}'); INSERT INTO made VALUES ({id}); INSERT INTO holes VALUES ({id}); \
             INSERT INTO parts VALUES ({id}, '2024-05-05'); INSERT INTO listed VALUES ({id}, 'v', 's'); INSERT INTO keyless VALUES ('{id}'); \
             INSERT INTO later VALUES ({id})"
        )
    };
    database.run(&fill(1)).await;
    let world = World::new(4 << 20);
    let config = database
        .config_with(json!({ "table_options": { "public.listed": { "columns": ["id", "v"] } } }));
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "what exists", |events| events.len() == 10).await;
    database.run(&fill(2)).await;
    wait_for(&world, "what is new", |events| events.len() >= 20).await;
    run.stop(DEADLINE).await.unwrap();
    let events = durable(&world);
    let mut versions = std::collections::BTreeMap::new();
    for event in &events {
        assert!(event.op.is_some(), "{}", data(event));
        let (subject, op) = (event.subject.clone().unwrap(), event.op.map(Op::as_str));
        let has_key = !["public.keyless", "public.later"].contains(&subject.as_str());
        assert_eq!(event.partitionkey.is_some(), has_key, "{subject} {op:?}");
        versions.insert((subject, op), event.dataschema.clone().unwrap());
    }
    assert_eq!(versions.len(), 20, "{versions:?}");
    for ((subject, op), uri) in versions {
        assert!(uri.ends_with(&format!(":{subject}:v1")), "{op:?}: {uri}");
    }
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_read_name_their_version() {
    versions_agree("POSTGRES_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_read_name_their_version_on_18() {
    versions_agree("POSTGRES18_URL").await;
}

/// A shape that changed without a row that tells the stream is seen by the next reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_shape_that_a_reader_sees_first_is_an_event_before_its_rows() {
    let database = Database::new().await;
    create(&database, 10).await;
    let world = World::new(4 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    snapshot_done(&world, &database, "public.t").await;
    database.run("ALTER TABLE t ADD more int DEFAULT 5").await;
    run.control("snapshot", json!({ "table": "public.t" }))
        .await
        .unwrap();
    wait_for(&world, "the rows", |events| events.len() == 21).await;
    database.run("INSERT INTO t VALUES (11, 0, NULL, 6)").await;
    wait_for(&world, "the new row", |events| events.len() == 22).await;
    run.stop(DEADLINE).await.unwrap();
    let told: Vec<String> = durable(&world)
        .iter()
        .map(|e| match &e.dataschema {
            Some(uri) => uri.rsplit(':').next().unwrap().to_owned(),
            None => e.event_type.to_string(),
        })
        .collect();
    let mut expected = vec!["v1"; 10];
    expected.push("postgres.schema.changed.v1");
    expected.extend(["v2"; 11]);
    assert_eq!(told, expected);
    database.drop_all().await;
}
