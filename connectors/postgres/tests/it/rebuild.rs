//! Folding the events gives the tables: under a random workload, with crashes, with both protocols.

use std::collections::{BTreeMap, HashMap};

use crate::support::{Database, data, durable, fold::Tables, is_row, scale, wait_for_event};
use headgate_postgres::Postgres;
use headgate_sdk::{Envelope, Op, conformance::World};
use serde_json::{Value, json};

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

async fn create(database: &Database) {
    database
        .run(
            "CREATE TABLE a (id bigint PRIMARY KEY, big text, note text, n numeric); ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
             CREATE TABLE b (x int, y text, v jsonb, PRIMARY KEY (y, x));
             CREATE TABLE large (id int PRIMARY KEY, n int);
             CREATE TABLE f (id int PRIMARY KEY, big text); ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL;",
        )
        .await;
}

/// A transaction of many rows, all of it, a part of it, or nothing of which stays.
async fn large(database: &Database, random: &mut Random, step: u64) {
    let rows = scale(5_000, 200_000);
    let upsert = format!(
        "INSERT INTO large SELECT g, {step} FROM generate_series(1, {rows}) g ON CONFLICT (id) DO UPDATE SET n = excluded.n"
    );
    let sql = match random.next(4) {
        0 => format!("BEGIN; DELETE FROM large; {upsert}; ROLLBACK"),
        1 => format!("BEGIN; {upsert}; SAVEPOINT s; DELETE FROM large; ROLLBACK TO s; COMMIT"),
        2 => format!("BEGIN; DELETE FROM large; {upsert}; COMMIT"),
        _ => upsert,
    };
    database.run(&sql).await;
}

/// One random transaction.
async fn work(database: &Database, random: &mut Random, step: u64) {
    let id = random.next(200);
    let other = 1000 + random.next(200);
    let size = match random.next(30) {
        0 => 3_000,
        1..=3 => 500,
        _ => 1 + random.next(10),
    };
    let statement = |random: &mut Random| match random.next(12) {
        0..=2 => format!(
            "INSERT INTO a SELECT g, repeat(md5(g::text), 80), 'n{step}', g * 1.10 FROM generate_series({id}, {}) g \
             ON CONFLICT (id) DO UPDATE SET note = excluded.note",
            id + size
        ),
        3 | 4 => format!(
            "UPDATE a SET note = 'u{step}' WHERE id BETWEEN {id} AND {}",
            id + size
        ),
        5 => format!(
            "UPDATE a SET id = id + {} WHERE id = {id}",
            100_000 + step * 1_000_000
        ),
        6 => format!("DELETE FROM a WHERE id BETWEEN {id} AND {}", id + size / 2),
        7 => format!(
            "INSERT INTO b SELECT g, 'k' || g % 3, jsonb_build_object('s', {step}) FROM generate_series({id}, {}) g ON CONFLICT (y, x) DO UPDATE SET v = excluded.v",
            id + size.min(50)
        ),
        8 => format!("UPDATE b SET y = y || 'z' WHERE x = {id} AND length(y) < 20"),
        9 => format!(
            "INSERT INTO f VALUES ({id}, repeat('f{step}', 800)) ON CONFLICT (id) DO UPDATE SET big = excluded.big"
        ),
        10 => format!("UPDATE f SET id = id + 1000000 + {step} * 1000 WHERE id = {id}"),
        _ => format!(
            "DELETE FROM b WHERE x = {id}; DELETE FROM f WHERE id > 1000000 AND id % 7 = {}",
            id % 7
        ),
    };
    let (first, second, third) = (statement(random), statement(random), statement(random));
    match random.next(20) {
        0 => database.run(&format!("BEGIN; {first}; SAVEPOINT s; {second}; ROLLBACK TO s; {third}; COMMIT")).await,
        1 => database.run(&format!("BEGIN; {first}; SAVEPOINT s; {second}; SAVEPOINT r; {third}; ROLLBACK TO r; RELEASE s; COMMIT")).await,
        2 => database.run(&format!("BEGIN; {first}; {second}; ROLLBACK")).await,
        3 => {
            database.run(&format!("BEGIN; {first}; {second}; PREPARE TRANSACTION 'p{step}'")).await;
            let end = if random.next(2) == 0 { "COMMIT" } else { "ROLLBACK" };
            database.run(&format!("{end} PREPARED 'p{step}'")).await;
        }
        4 => database.run(&format!("ALTER TABLE a ADD COLUMN c{step} int DEFAULT {step}; UPDATE a SET c{step} = {other} WHERE id % 5 = 0")).await,
        5 if step > 20 => database.run("TRUNCATE b").await,
        6 => {
            // Drops the newest of the columns that were added, if there is one.
            let added = database.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'a'::regclass AND attname ~ '^c\\d' AND NOT attisdropped ORDER BY attnum DESC LIMIT 1").await;
            if let Some(Some(column)) = added.first().map(|row| row[0].clone()) {
                database.run(&format!("BEGIN; {first}; ALTER TABLE a DROP COLUMN {column}; {second}; COMMIT")).await;
            }
        }
        7 | 8 => database.run(&format!("BEGIN; {first}; {second}; COMMIT")).await,
        _ => database.run(&first).await,
    }
}

/// The table as its events should leave it. Added columns are compared where the row was written after they were added.
async fn expected(database: &Database, table: &str, key: &str) -> BTreeMap<String, Value> {
    let rows = database
        .rows(&format!("SELECT {key}, to_jsonb(t)::text FROM {table} t"))
        .await;
    rows.into_iter()
        .map(|row| {
            let value = serde_json::from_str(row[1].as_deref().unwrap()).unwrap();
            (row[0].clone().unwrap(), value)
        })
        .collect()
}

async fn compare(database: &Database, events: &[Envelope]) {
    let tables = Tables::of(events);
    for (table, key) in [
        ("a", "id::text"),
        ("b", "json_build_array(y, x)::text"),
        ("f", "id::text"),
        ("large", "id::text"),
    ] {
        let expected = expected(database, table, key).await;
        let empty = BTreeMap::new();
        let found = tables.0.get(&format!("public.{table}")).unwrap_or(&empty);
        let normal = |key: &str| key.replace(", ", ",");
        let expected: BTreeMap<String, Value> =
            expected.into_iter().map(|(k, v)| (normal(&k), v)).collect();
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        missing.extend(expected.keys().filter(|key| !found.contains_key(*key)));
        extra.extend(found.keys().filter(|key| !expected.contains_key(*key)));
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{table}: missing {missing:?}, extra {extra:?}"
        );
        for (key, row) in &expected {
            let row = row.as_object().unwrap();
            let sent = &found[key];
            for (column, value) in row {
                // A column that was added later has its default in rows that were not touched since.
                let Some(sent) = sent.get(column) else {
                    assert!(column.starts_with('c'), "{table} {key} lacks {column}");
                    continue;
                };
                let same = match (column.as_str(), sent, value) {
                    ("n", Value::String(text), Value::Number(number)) => {
                        *text == number.to_string()
                            || text.trim_end_matches('0')
                                == number.to_string().trim_end_matches('0')
                    }
                    _ => sent == value,
                };
                let short = |value: &Value| value.to_string().chars().take(60).collect::<String>();
                assert!(
                    same,
                    "{table} {key} {column}: {} instead of {}",
                    short(sent),
                    short(value)
                );
            }
        }
    }
}

/// Ids are unique, transactions contiguous, sequences ascend.
fn assert_orderly(events: &[Envelope]) {
    let mut ids = HashMap::new();
    let mut last = String::new();
    let mut transactions: Vec<String> = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if let Some(former) = ids.insert(event.id.clone(), i) {
            panic!("{} is the id of events {former} and {i}", event.id);
        }
        if event.op == Some(Op::Read) {
            continue;
        }
        let sequence = event.sequence.clone().unwrap().to_string();
        assert!(sequence > last, "{sequence} came after {last}");
        last = sequence;
        if !is_row(event) {
            continue;
        }
        let id = data(event)["transaction"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        if transactions.last() != Some(&id) {
            assert!(
                !transactions.contains(&id),
                "transaction {id} is not contiguous"
            );
            transactions.push(id);
        }
    }
}

async fn finish(database: &Database, world: &World) -> Vec<Envelope> {
    database
        .run("CREATE TABLE IF NOT EXISTS fin (id int PRIMARY KEY)")
        .await;
    let last = database
        .text("INSERT INTO fin SELECT count(*) FROM fin RETURNING id")
        .await;
    wait_for_event(world, "the end of the workload", |e| {
        e.subject.as_deref() == Some("public.fin")
            && e.partitionkey.as_deref() == Some(last.as_str())
    })
    .await;
    durable(world)
}

async fn rebuilds(seed: u64, streaming: bool) {
    let database = Database::new().await;
    create(&database).await;
    database.prepare().await;
    database
        .run(&format!(
            "ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
    let config = database
        .config_with(json!({ "snapshot": { "mode": "on_demand" }, "streaming": streaming }));
    let world = World::new(4 << 20);
    let mut random = Random(seed);
    let mut sent = HashMap::new();
    for round in 0..scale(6, 40) {
        let run = world.start::<Postgres>(config.clone()).unwrap();
        if round % 2 == 1 {
            world.lanes.hold();
        }
        for step in 0..20 {
            work(&database, &mut random, round * 100 + step).await;
            if step == 10 && round % scale(3, 10) == 0 {
                large(&database, &mut random, round * 100 + step).await;
            }
            world.lanes.release_up_to(1);
        }
        for event in world.lanes.sent().into_values().flat_map(|s| s.pending) {
            sent.insert(event.id.clone(), event.data.clone());
        }
        run.kill().await;
        world.lanes.crash();
        world.lanes.release();
    }
    let run = world.start::<Postgres>(config).unwrap();
    let events = finish(&database, &world).await;
    run.stop(crate::support::DEADLINE).await.unwrap();
    assert_orderly(&events);
    for event in &events {
        if let Some(former) = sent.get(&event.id) {
            assert_eq!(
                *former, event.data,
                "{} was sent again with other data",
                event.id
            );
        }
    }
    compare(&database, &events).await;
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_rebuild_the_tables_with_protocol_two_and_crashes() {
    rebuilds(0x9E37_79B9_7F4A_7C15, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_rebuild_the_tables_with_protocol_one_and_crashes() {
    rebuilds(0x2545_F491_4F6C_DD1D, false).await;
}

/// Two sources read the same transactions, one while they run, one after their commit.
#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_give_the_same_events() {
    let database = Database::new().await;
    create(&database).await;
    database.prepare().await;
    database
        .run(&format!(
            "SELECT pg_create_logical_replication_slot('{}_one', 'pgoutput')",
            database.slot()
        ))
        .await;
    database
        .run(&format!(
            "ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
    let mut random = Random(42);
    for step in 0..scale(80, 400) {
        work(&database, &mut random, step).await;
        if step % 40 == 20 {
            large(&database, &mut random, step).await;
        }
    }
    let mut outcomes = Vec::new();
    for (streaming, slot) in [
        (true, database.slot()),
        (false, format!("{}_one", database.slot())),
    ] {
        let world = World::new(4 << 20);
        let config = database.config_with(
            json!({ "snapshot": { "mode": "on_demand" }, "streaming": streaming, "slot": slot }),
        );
        let run = world.start::<Postgres>(config).unwrap();
        outcomes.push(finish(&database, &world).await);
        run.stop(crate::support::DEADLINE).await.unwrap();
    }
    // The end of the first run's workload is in the second's stream as well.
    let (two, one) = (&outcomes[0], &outcomes[1]);
    assert!(two.len() > 1000, "{}", two.len());
    for (i, (two, one)) in two.iter().zip(one).enumerate() {
        assert_eq!(
            (two.id.as_str(), two.op, &two.partitionkey, data(two)),
            (one.id.as_str(), one.op, &one.partitionkey, data(one)),
            "event {i}"
        );
    }
    let streamed = database
        .text(&format!(
            "SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{}'",
            database.slot()
        ))
        .await;
    assert_ne!(
        streamed, "0",
        "nothing was streamed, so nothing was compared"
    );
    compare(&database, one).await;
    database.drop_all().await;
}
