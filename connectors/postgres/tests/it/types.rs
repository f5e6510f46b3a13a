//! Every type at and past its edges, with Postgres itself as the oracle; values that nobody thought of are in [`made_up`].

mod made_up;

use std::collections::BTreeMap;

use headgate_postgres::Postgres;
use headgate_sdk::{Envelope, Op, conformance::World};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{json, value::RawValue};

use crate::support::{DEADLINE, Database, durable, wait_for};

/// `to_jsonb` of the text.
const TEXT: &str = "to_jsonb(v::text)::text";
/// The text itself is the JSON.
const PLAIN: &str = "v::text";
/// Postgres' own JSON.
const OWN: &str = "to_jsonb(v)::text";

/// Types that are not built in, and the settings that the oracle's text is made under.
const EXTRAS: &str = "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('happy', 'it''s');
     CREATE DOMAIN posint AS int CHECK (value > 0); CREATE DOMAIN posints AS int[]; CREATE TYPE pair AS (a int, b text);
     SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET datestyle = 'ISO'; SET xmloption = 'content'";

/// Type, oracle, literals.
fn cases() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let stamps = "replace(to_jsonb(v)::text, '+00:00', 'Z')";
    vec![
        ("boolean", OWN, vec!["true", "false"]),
        ("smallint", PLAIN, vec!["-32768", "32767"]),
        ("integer", PLAIN, vec!["-2147483648", "2147483647"]),
        (
            "bigint",
            PLAIN,
            vec!["-9223372036854775808", "9223372036854775807"],
        ),
        ("oid", PLAIN, vec!["4294967295"]),
        (
            "real",
            "CASE WHEN v::text ~ '[a-zA-Z]{3}' THEN to_jsonb(v::text)::text ELSE v::text END",
            vec![
                "3.4e38",
                "1.17549e-38",
                "-0",
                "NaN",
                "Infinity",
                "-Infinity",
                "0.1",
            ],
        ),
        (
            "double precision",
            "CASE WHEN v::text ~ '[a-zA-Z]{3}' THEN to_jsonb(v::text)::text ELSE v::text END",
            vec![
                "1.7976931348623157e308",
                "5e-324",
                "-0",
                "NaN",
                "Infinity",
                "0.1",
            ],
        ),
        (
            "numeric",
            TEXT,
            vec![
                "0",
                "-0.000000000000000000000000000001",
                "123456789012345678901234567890.123456789",
                "NaN",
                "Infinity",
                "1.500",
            ],
        ),
        ("money", TEXT, vec!["12.34", "-92233720368547758.08"]),
        (
            "text",
            TEXT,
            vec![
                "",
                "a\"b\\c",
                "tab\there",
                "line\nbreak",
                "ünïcödé 🦀",
                "\u{1}\u{1f}",
            ],
        ),
        ("varchar(5)", TEXT, vec!["abc"]),
        ("char(5)", OWN, vec!["abc"]),
        ("\"char\"", TEXT, vec!["a"]),
        ("name", TEXT, vec!["pg_class"]),
        (
            "bytea",
            "to_jsonb(replace(encode(v, 'base64'), E'\\n', ''))::text",
            vec![
                "",
                "\\x00ff10",
                "\\x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
            ],
        ),
        (
            "date",
            OWN,
            vec![
                "2024-02-29",
                "0001-01-01",
                "9999-12-31",
                "infinity",
                "-infinity",
            ],
        ),
        ("date", "'\"-004712-01-01\"'", vec!["4713-01-01 BC"]),
        ("date", "'\"+5874897-12-31\"'", vec!["5874897-12-31"]),
        (
            "time",
            TEXT,
            vec!["00:00:00", "24:00:00", "23:59:59.999999"],
        ),
        (
            "timetz",
            "CASE WHEN v::text ~ '[+-]\\d\\d$' THEN to_jsonb(v::text || ':00')::text ELSE to_jsonb(v::text)::text END",
            vec!["24:00:00+02", "23:59:59.999999-15:59", "12:00:00+05:30"],
        ),
        (
            "timestamp",
            OWN,
            vec![
                "2024-02-29 23:59:59.999999",
                "0001-01-01 00:00:00",
                "infinity",
                "-infinity",
            ],
        ),
        (
            "timestamp",
            "'\"-004712-01-01T00:00:00\"'",
            vec!["4713-01-01 00:00:00 BC"],
        ),
        (
            "timestamp",
            "'\"+294276-12-31T23:59:59.999999\"'",
            vec!["294276-12-31 23:59:59.999999"],
        ),
        (
            "timestamptz",
            stamps,
            vec![
                "2024-02-29 23:59:59.999999+02",
                "1900-01-01 00:00:00+00",
                "infinity",
            ],
        ),
        (
            "interval",
            TEXT,
            vec![
                "1 year 2 mons -3 days 04:05:06.789",
                "-178000000 years",
                "0",
                "1.5 hours",
            ],
        ),
        ("uuid", TEXT, vec!["6f9619ff-8b86-d011-b42d-00cf4fc964ff"]),
        (
            "json",
            PLAIN,
            vec!["{\"a\" :  1e400, \"a\":2}", "null", "[]"],
        ),
        (
            "jsonb",
            PLAIN,
            vec![
                "{\"a\": [1, 2.50, \"x\"]}",
                "123456789012345678901234567890",
            ],
        ),
        ("xml", TEXT, vec!["<a b=\"c\">d</a>"]),
        ("bit(3)", TEXT, vec!["101"]),
        ("varbit", TEXT, vec!["", "10101"]),
        ("inet", OWN, vec!["192.168.0.1/24", "::1"]),
        ("cidr", TEXT, vec!["10.0.0.0/8"]),
        ("macaddr", TEXT, vec!["08:00:2b:01:02:03"]),
        ("macaddr8", TEXT, vec!["08:00:2b:01:02:03:04:05"]),
        ("point", TEXT, vec!["(1.5,-2)"]),
        ("line", TEXT, vec!["{1,-1,0}"]),
        ("lseg", TEXT, vec!["[(0,0),(1,1)]"]),
        ("box", TEXT, vec!["(1,1),(0,0)"]),
        ("path", TEXT, vec!["((0,0),(1,1),(2,0))"]),
        ("polygon", TEXT, vec!["((0,0),(1,1),(2,0))"]),
        ("circle", TEXT, vec!["<(0,0),5>"]),
        ("tsvector", TEXT, vec!["'a':1A 'fat':2B,4C"]),
        ("tsquery", TEXT, vec!["'fat' & ( 'rat' | 'cat' )"]),
        ("pg_lsn", TEXT, vec!["16/B374D848"]),
        ("int4range", TEXT, vec!["[1,10)", "empty", "(,5)"]),
        ("tstzrange", TEXT, vec!["[2024-01-01 00:00:00+00,)"]),
        ("nummultirange", TEXT, vec!["{[1.5,2.5),[3,4]}"]),
        (
            "int[]",
            OWN,
            vec![
                "{}",
                "{1,NULL,3}",
                "{{1,2},{3,4}}",
                "{{{1},{2}},{{3},{4}}}",
                "[0:1]={7,8}",
            ],
        ),
        ("bigint[]", OWN, vec!["{9223372036854775807}"]),
        ("boolean[]", OWN, vec!["{t,f,NULL}"]),
        (
            "text[]",
            OWN,
            vec![
                "{a,\"b c\",\"NULL\",NULL,\"q\\\"\\\\,{}\",\"\"}",
                "{{a,b},{c,d}}",
            ],
        ),
        (
            "numeric[]",
            "to_jsonb(v::text[])::text",
            vec!["{1.50,NaN,NULL}"],
        ),
        ("jsonb[]", OWN, vec!["{\"{\\\"a\\\": 1}\",NULL}"]),
        ("date[]", OWN, vec!["{2024-01-01,infinity}"]),
        ("bytea[]", "'[\"AP8=\"]'", vec!["{\"\\\\x00ff\"}"]),
        (
            "box[]",
            "'[\"(1,1),(0,0)\",\"(3,3),(2,2)\"]'",
            vec!["{(1,1),(0,0);(3,3),(2,2)}"],
        ),
        (
            "int4range[]",
            "to_jsonb(v::text[])::text",
            vec!["{\"[1,3)\",NULL}"],
        ),
        ("int2vector", "'[1,2,3]'", vec!["1 2 3"]),
        ("mood", TEXT, vec!["happy", "it's"]),
        (
            "mood[]",
            "to_jsonb(v::text[])::text",
            vec!["{happy,NULL,it's}"],
        ),
        ("posint", PLAIN, vec!["7"]),
        ("posints", OWN, vec!["{1,2}"]),
        ("posint[]", OWN, vec!["{1,2}"]),
        ("pair", TEXT, vec!["(1,\"a b\")"]),
        (
            "hstore",
            "hstore_to_json(v)::text",
            vec!["", "a=>1, \"b c\"=>NULL, \"q\\\"\"=>\"\\\\\""],
        ),
        ("citext", TEXT, vec!["MiXed"]),
        ("citext[]", "to_jsonb(v::text[])::text", vec!["{A,b}"]),
    ]
}

async fn columns(
    database: &Database,
    world: &World,
    table: &str,
) -> BTreeMap<String, BTreeMap<String, Box<RawValue>>> {
    database
        .run("CREATE TABLE fin (id int PRIMARY KEY); INSERT INTO fin VALUES (1)")
        .await;
    wait_for(world, "the end", |events| {
        events
            .iter()
            .any(|e| e.subject.as_deref() == Some("public.fin"))
    })
    .await;
    rows(&durable(world), table)
}

fn rows(events: &[Envelope], table: &str) -> BTreeMap<String, BTreeMap<String, Box<RawValue>>> {
    #[derive(serde::Deserialize)]
    struct Change {
        after: Option<BTreeMap<String, Box<RawValue>>>,
    }
    events
        .iter()
        .filter(|e| {
            e.subject.as_deref() == Some(table) && matches!(e.op, Some(Op::Create | Op::Read))
        })
        .map(|e| {
            let change: Change = serde_json::from_slice(e.data.bytes().unwrap()).unwrap();
            (
                e.partitionkey.clone().unwrap().to_string(),
                change.after.unwrap(),
            )
        })
        .collect()
}

/// JSON compared by value, except that numbers are compared by their digits.
fn same(found: &str, expected: &str) -> bool {
    let squeeze = |text: &str| match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_array() || value.is_object() || value.is_string() => {
            value.to_string()
        }
        _ => text.to_owned(),
    };
    found == expected || squeeze(found) == squeeze(expected)
}

async fn every_type(streamed: bool) {
    let database = Database::new().await;
    database.run(EXTRAS).await;
    let cases = cases();
    let mut statements = String::new();
    for (i, (type_name, _, literals)) in cases.iter().enumerate() {
        statements.push_str(&format!(
            "CREATE TABLE t{i} (id int PRIMARY KEY, v {type_name});"
        ));
        for (n, text) in literals.iter().enumerate() {
            let quoted = text.replace('\\', "\\\\").replace('\'', "''");
            statements.push_str(&format!("INSERT INTO t{i} VALUES ({n}, E'{quoted}');"));
        }
        statements.push_str(&format!("INSERT INTO t{i} VALUES (-1, NULL);"));
    }
    let world = World::new(4 << 20);
    let config = if streamed {
        database.prepare().await;
        database.config_with(json!({ "snapshot": { "mode": "on_demand" } }))
    } else {
        database.config()
    };
    database.run(&statements).await;
    let run = world.start::<Postgres>(config).unwrap();
    if !streamed {
        let total: usize = cases
            .iter()
            .map(|(_, _, literals)| literals.len() + 1)
            .sum();
        wait_for(&world, "what exists", |events| events.len() >= total).await;
    }
    let first = columns(&database, &world, "public.t0").await;
    assert!(!first.is_empty());
    let events = durable(&world);
    let mut wrong = Vec::new();
    for (i, (type_name, oracle, literals)) in cases.iter().enumerate() {
        let found = rows(&events, &format!("public.t{i}"));
        let expected = database
            .rows(&format!("SELECT id, {oracle} FROM t{i} WHERE id >= 0"))
            .await;
        assert_eq!(expected.len(), literals.len());
        for row in expected {
            let (id, expected) = (row[0].clone().unwrap(), row[1].clone().unwrap());
            let value = found[&id]["v"].get();
            if !same(value, &expected) {
                wrong.push(format!("{type_name} {id}: {value} instead of {expected}"));
            }
        }
        assert_eq!(found["-1"]["v"].get(), "null", "{type_name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_exact_in_the_stream() {
    every_type(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_exact_in_a_snapshot() {
    every_type(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_are_exact() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE r (id int PRIMARY KEY, i bigint, d double precision, f real, s text, a text[], ts timestamp, n numeric, b bytea); SET timezone = 'UTC'")
        .await;
    database.prepare().await;
    let mut runner = TestRunner::deterministic();
    let strategy = (
        any::<i64>(),
        any::<f64>(),
        any::<f32>(),
        "[^\\x00]{0,40}",
        prop::collection::vec(prop::option::of("[^\\x00]{0,8}"), 0..5),
        -62_135_596_800_000_000_i64..253_402_300_799_999_999,
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?",
        prop::collection::vec(any::<u8>(), 0..40),
    );
    let count = 400;
    for id in 0..count {
        let (i, d, f, s, a, ts, n, b) = strategy.new_tree(&mut runner).unwrap().current();
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let array: Vec<String> = a
            .iter()
            .map(|e| e.as_deref().map_or("NULL".into(), literal))
            .collect();
        let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
        database
            .run(&format!(
                "INSERT INTO r VALUES ({id}, {i}, '{d:e}', '{f:e}', {}, ARRAY[{}]::text[], timestamp '1970-01-01' + interval '1 microsecond' * {ts}, {n}, '\\x{hex}')",
                literal(&s), array.join(",")
            ).replace("'inf'", "'Infinity'").replace("'-inf'", "'-Infinity'"))
            .await;
    }
    let world = World::new(4 << 20);
    let run = world
        .start::<Postgres>(database.config_with(json!({ "snapshot": { "mode": "on_demand" } })))
        .unwrap();
    let found = columns(&database, &world, "public.r").await;
    assert_eq!(found.len(), count);
    let number = |c: &str| {
        format!(
            "CASE WHEN {c}::text ~ '[a-zA-Z]{{3}}' THEN to_jsonb({c}::text)::text ELSE {c}::text END"
        )
    };
    let oracle = format!(
        "SELECT id, i::text, {}, {}, to_jsonb(s)::text, to_jsonb(a)::text, to_jsonb(ts)::text, to_jsonb(n::text)::text, to_jsonb(replace(encode(b, 'base64'), E'\\n', ''))::text FROM r",
        number("d"),
        number("f")
    );
    for row in database.rows(&oracle).await {
        let sent = &found[row[0].as_deref().unwrap()];
        for (i, column) in ["i", "d", "f", "s", "a", "ts", "n", "b"].iter().enumerate() {
            let expected = row[i + 1].as_deref().unwrap();
            assert!(
                same(sent[*column].get(), expected),
                "{column}: {} instead of {expected}",
                sent[*column].get()
            );
        }
    }
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}
