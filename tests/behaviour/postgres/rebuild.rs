//! A random workload, read with protocol 2 and streaming and with protocol 1 at once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    database::Database,
    fold::{assert_orderly, fold, row_events},
};
use crate::support::{gateway::Place, scale};

/// A small generator, so that a failure can be repeated.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

pub(super) async fn create(database: &Database) {
    database
        .run(&format!(
            "CREATE TABLE a (id int PRIMARY KEY, big text, note text); ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
             CREATE TABLE b (x int, y text, v int, PRIMARY KEY (y, x));
             CREATE TABLE f (id int PRIMARY KEY, big text); ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
             CREATE TABLE large (id int PRIMARY KEY, n int);
             CREATE PUBLICATION headgate FOR ALL TABLES;
             ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
}

/// One statement that changes rows.
fn statement(random: &mut Random, step: u64) -> String {
    let id = random.next(200);
    let to = id + 1 + random.next(40);
    match random.next(11) {
        0..=2 => format!(
            "INSERT INTO a SELECT g, repeat(md5(g::text), 80), 'n{step}' FROM generate_series({id}, {to}) g \
             ON CONFLICT (id) DO UPDATE SET note = excluded.note"
        ),
        3 => format!("UPDATE a SET note = 'u{step}' WHERE id BETWEEN {id} AND {to}"),
        4 => format!("UPDATE a SET id = id + 100000 + {step} * 1000 WHERE id = {id}"),
        5 => format!("DELETE FROM a WHERE id BETWEEN {id} AND {to}"),
        6 => format!(
            "INSERT INTO b SELECT g, 'k' || g % 3, {step} FROM generate_series({id}, {to}) g ON CONFLICT (y, x) DO UPDATE SET v = excluded.v"
        ),
        7 => format!("UPDATE b SET y = y || 'z' WHERE x = {id} AND length(y) < 20"),
        8 => format!(
            "INSERT INTO f VALUES ({id}, repeat('f{step}', 800)) ON CONFLICT (id) DO UPDATE SET big = excluded.big"
        ),
        9 => format!("UPDATE f SET id = id + 1000000 + {step} * 1000 WHERE id = {id}"),
        _ => format!(
            "DELETE FROM b WHERE x = {id}; DELETE FROM f WHERE id % 7 = {}",
            id % 7
        ),
    }
}

/// One random transaction. A large one has `large` rows.
pub(super) async fn work(database: &Database, random: &mut Random, step: u64, large: u64) {
    let (first, second, third) = (
        statement(random, step),
        statement(random, step),
        statement(random, step),
    );
    let sql = match random.next(24) {
        0 => format!("BEGIN; {first}; SAVEPOINT s; {second}; ROLLBACK TO s; {third}; COMMIT"),
        1 => format!(
            "BEGIN; {first}; SAVEPOINT s; {second}; SAVEPOINT r; {third}; ROLLBACK TO r; RELEASE s; COMMIT"
        ),
        2 => format!("BEGIN; {first}; {second}; ROLLBACK"),
        3 => {
            let prepare = format!(
                "BEGIN; {first}; {second}; PREPARE TRANSACTION '{}_{step}'",
                database.name
            );
            database.run(&prepare).await;
            let end = ["COMMIT", "ROLLBACK"][usize::from(random.next(2) == 0)];
            format!("{end} PREPARED '{}_{step}'", database.name)
        }
        4 => format!(
            "ALTER TABLE a ADD COLUMN c{step} int DEFAULT {step}; UPDATE a SET c{step} = 7 WHERE id % 5 = 0"
        ),
        5 => {
            // The newest of the columns that were added, if there is one.
            let added = database
                .rows("SELECT attname FROM pg_attribute WHERE attrelid = 'a'::regclass AND attname ~ '^c\\d' AND NOT attisdropped ORDER BY attnum DESC LIMIT 1")
                .await;
            match added.first().and_then(|row| row[0].clone()) {
                Some(column) => {
                    format!("BEGIN; {first}; ALTER TABLE a DROP COLUMN {column}; {second}; COMMIT")
                }
                None => first,
            }
        }
        6 => "TRUNCATE b".to_owned(),
        7 => format!(
            "INSERT INTO large SELECT g, {step} FROM generate_series(1, {large}) g ON CONFLICT (id) DO UPDATE SET n = excluded.n"
        ),
        8 => format!(
            "BEGIN; DELETE FROM large; INSERT INTO large SELECT g, {step} FROM generate_series(1, {large}) g; ROLLBACK"
        ),
        9..=12 => format!("BEGIN; {first}; {second}; {third}; COMMIT"),
        _ => first,
    };
    database.run(&sql).await;
}

pub(super) async fn assert_same_tables(database: &Database, events: &[Value], source: &str) {
    let found = fold(events);
    for (table, key) in [
        ("a", "id::text"),
        ("b", "replace(json_build_array(y, x)::text, ', ', ',')"),
        ("f", "id::text"),
        ("large", "id::text"),
    ] {
        let empty = BTreeMap::new();
        let found = found.get(&format!("public.{table}")).unwrap_or(&empty);
        let expected = database
            .rows(&format!("SELECT {key}, to_jsonb(t)::text FROM {table} t"))
            .await;
        assert_eq!(found.len(), expected.len(), "{source}: rows of {table}");
        for row in expected {
            let key = row[0].clone().unwrap();
            let expected: Value = serde_json::from_str(row[1].as_deref().unwrap()).unwrap();
            let found = found
                .get(&key)
                .unwrap_or_else(|| panic!("{source}: {table} {key} is missing"));
            for (column, value) in expected.as_object().unwrap() {
                match found.get(column) {
                    Some(found) => assert!(found == value, "{source}: {table} {key} {column}"),
                    // A row that was not touched since has the default of a column that was added.
                    None => assert!(
                        column.starts_with('c'),
                        "{source}: {table} {key} lacks {column}"
                    ),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_rebuild_the_tables_after_kill_9() {
    let database = Database::new().await;
    create(&database).await;
    let mut sections = "sources:\n".to_owned();
    for (source, streaming) in [("two", true), ("one", false)] {
        let slot = format!("{}_{source}", database.name);
        database.slot(&slot).await;
        sections.push_str(&format!(
            "  {source}: {{ type: postgres, url: \"{}\", tables: [\"public.*\"], slot: {slot}, publication: headgate, \
             heartbeat: 200ms, streaming: {streaming}, snapshot: {{ mode: on_demand }} }}\n",
            database.url()
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..scale(6, 30) {
        let running = place.start().await;
        // All of both logs is in memory in the end, hence not always.
        let large = if round % 6 == 3 {
            scale(5_000, 200_000)
        } else {
            5_000
        };
        for step in 0..20 {
            work(&database, &mut random, round * 100 + step, large).await;
        }
        // Somewhere in the middle of what came of it.
        tokio::time::sleep(Duration::from_millis(random.next(300))).await;
        running.kill();
    }
    let running = place.start().await;
    database.all_confirmed().await;
    assert!(running.stop().success());

    // Events of shapes have no source in their data.
    let of_two = |event: &Value| event["source"].as_str().unwrap().contains(":two:");
    let (two, one): (Vec<Value>, Vec<Value>) = place.tail().into_iter().partition(of_two);
    let streamed = database
        .rows("SELECT slot_name, stream_txns > 0 FROM pg_stat_replication_slots JOIN pg_replication_slots USING (slot_name) WHERE database = current_database() ORDER BY 1")
        .await;
    let streamed: Vec<&str> = streamed
        .iter()
        .filter_map(|row| row[1].as_deref())
        .collect();
    assert_eq!(
        streamed,
        ["f", "t"],
        "nothing was streamed, so nothing was compared"
    );
    assert!(two.len() > 1_000, "{} events prove little", two.len());
    assert_orderly(&two);
    assert_orderly(&one);
    assert_same_tables(&database, &two, "two").await;
    assert_same_tables(&database, &one, "one").await;
    // The same occurrences under the same ids, with the same contents, however often either was killed.
    let (mut ours, mut theirs) = (row_events(&two), row_events(&one));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => break,
            (ours, theirs) => {
                let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                assert_eq!(ours["id"], theirs["id"]);
                for part in ["before", "after", "unchanged", "transaction", "ts_ms"] {
                    assert!(
                        ours["data"][part] == theirs["data"][part],
                        "{} differs in {part}",
                        ours["id"]
                    );
                }
            }
        }
    }
    database.drop_all().await;
}
