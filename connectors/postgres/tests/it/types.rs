//! Every type at and past its edges, with Postgres itself as the oracle.

use std::collections::BTreeMap;

use headgate_postgres::Postgres;
use headgate_sdk::{Envelope, Op, conformance::World};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{json, value::RawValue};

use crate::support::{DEADLINE, Database, durable, scale, wait_for};

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

/// A type, how Postgres itself says what is right, and how literals of it are made up.
struct Random {
    type_name: &'static str,
    oracle: String,
    literals: BoxedStrategy<String>,
}

fn random(
    type_name: &'static str,
    oracle: impl Into<String>,
    literals: impl Strategy<Value = String> + 'static,
) -> Random {
    Random {
        type_name,
        oracle: oracle.into(),
        literals: literals.boxed(),
    }
}

/// The calendar's date of `v` as ISO 8601 has it: the year 1 BC is 0, and years of more or fewer than four digits have six and a sign.
fn calendar(rest: &str) -> String {
    // `to_char` makes a timestamp of a date, which has fewer years.
    let part = |name: &str| format!("'-' || lpad(extract({name} FROM v)::int::text, 2, '0')");
    let year = "(extract(year FROM v)::int + CASE WHEN extract(year FROM v) < 0 THEN 1 ELSE 0 END)";
    format!(
        "CASE WHEN NOT isfinite(v) THEN to_jsonb(v::text)::text ELSE '\"' || CASE WHEN {year} BETWEEN 0 AND 9999 \
         THEN lpad({year}::text, 4, '0') WHEN {year} < 0 THEN '-' || lpad((-{year})::text, 6, '0') \
         ELSE '+' || lpad({year}::text, greatest(6, length({year}::text)), '0') END || {} || {} || {rest} || '\"' END",
        part("month"),
        part("day")
    )
}

/// `HH:MM:SS` and as many digits of a second as there are.
fn clock() -> &'static str {
    "to_char(v, '\"T\"HH24:MI:SS') || CASE WHEN extract(microseconds FROM v)::bigint % 1000000 = 0 THEN '' \
     ELSE rtrim(to_char(v, '.US'), '0') END"
}

fn quoted_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Every type that has more values than a few. `date` is 5874897-12-31 at most and `timestamp` 294276-12-31, both from 4713 BC.
fn randoms() -> Vec<Random> {
    let plain = |literals: BoxedStrategy<String>| literals;
    let integers = |low: i64, high: i64| {
        plain(
            prop_oneof![Just(low), Just(high), low..=high]
                .prop_map(|n| n.to_string())
                .boxed(),
        )
    };
    let days = prop_oneof![
        Just("infinity".to_owned()),
        Just("-infinity".to_owned()),
        Just("4713-01-01 BC".to_owned()),
        Just("5874897-12-31".to_owned()),
        (1..=4712_i64, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02} BC")),
        (1..=9999_i64, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}")),
        (10_000..=5_874_896_i64, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}")),
    ];
    let time = || {
        (0..24, 0..60, 0..60, prop::option::of(0..1_000_000)).prop_map(|(h, m, s, us)| match us {
            Some(us) => format!("{h:02}:{m:02}:{s:02}.{us:06}"),
            None => format!("{h:02}:{m:02}:{s:02}"),
        })
    };
    let stamps = |zone: &'static str| {
        prop_oneof![
            Just("infinity".to_owned()),
            Just("-infinity".to_owned()),
            (2..=4712_i64, 1..=12, 1..=28, time())
                .prop_map(move |(y, m, d, t)| format!("{y:04}-{m:02}-{d:02} {t}{zone} BC")),
            (1..=9999_i64, 1..=12, 1..=28, time())
                .prop_map(move |(y, m, d, t)| format!("{y:04}-{m:02}-{d:02} {t}{zone}")),
            (10_000..=294_275_i64, 1..=12, 1..=28, time())
                .prop_map(move |(y, m, d, t)| format!("{y}-{m:02}-{d:02} {t}{zone}")),
        ]
    };
    let interval = (
        -100_000_000..100_000_000_i32,
        -1_000_000..1_000_000_i32,
        -1_000_000_000_000_000..1_000_000_000_000_000_i64,
    )
        .prop_map(|(months, days, us)| format!("{months} mons {days} days {us} microseconds"));
    let numeric = || {
        prop_oneof![
            Just("NaN".to_owned()),
            Just("-Infinity".to_owned()),
            "-?[0-9]{1,60}",
            "-?[0-9]{0,30}[1-9]\\.[0-9]{1,60}",
            "[1-9]e-?[0-9]{1,3}",
        ]
    };
    let float = |bits: BoxedStrategy<f64>| {
        bits.prop_map(|f| match f {
            f if f.is_nan() => "NaN".to_owned(),
            f if f.is_infinite() && f > 0.0 => "Infinity".to_owned(),
            f if f.is_infinite() => "-Infinity".to_owned(),
            f => format!("{f:e}"),
        })
    };
    let text = || "[^\\x00]{0,30}";
    let bytes = || {
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}")
        })
    };
    let point =
        || (-1_000_000..1_000_000_i32, any::<i16>()).prop_map(|(x, y)| format!("({x}.5,{y})"));
    let points = || prop::collection::vec(point(), 2..6).prop_map(|points| points.join(","));
    let ipv4 =
        (any::<[u8; 4]>(), 0..=32_u8).prop_map(|([a, b, c, d], n)| format!("{a}.{b}.{c}.{d}/{n}"));
    let ipv6 = (any::<[u16; 8]>(), 0..=128_u8).prop_map(|(parts, n)| {
        let parts: Vec<String> = parts.iter().map(|part| format!("{part:x}")).collect();
        format!("{}/{n}", parts.join(":"))
    });
    let json = || {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            "-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?(e-?[0-9]{1,2})?",
            "[^\\x00]{0,10}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|all| format!("[{}]", all.join(" , "))),
                prop::collection::vec(("[a-z\"\\\\é]{0,4}", inner), 0..4).prop_map(|all| {
                    let members: Vec<String> = all
                        .iter()
                        .map(|(name, value)| {
                            format!("{} : {value}", serde_json::to_string(name).unwrap())
                        })
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    };
    let hstore =
        prop::collection::vec((text(), prop::option::of(text())), 0..5).prop_map(|pairs| {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| {
                    let value = value.as_deref().map_or("NULL".to_owned(), quoted_element);
                    format!("{}=>{value}", quoted_element(key))
                })
                .collect();
            pairs.join(",")
        });
    let elements = |of: BoxedStrategy<String>| {
        prop::collection::vec(prop::option::weighted(0.8, of), 0..5).prop_map(|all| {
            let all: Vec<String> = all
                .iter()
                .map(|e| e.as_deref().map_or("NULL".to_owned(), quoted_element))
                .collect();
            format!("{{{}}}", all.join(","))
        })
    };
    let matrix = (1..4_usize, 1..4_usize, any::<[i16; 9]>(), -2..3_i32).prop_map(
        |(rows, columns, all, low)| {
            let rows: Vec<String> = (0..rows)
                .map(|r| {
                    let row: Vec<String> =
                        (0..columns).map(|c| all[r * 3 + c].to_string()).collect();
                    format!("{{{}}}", row.join(","))
                })
                .collect();
            let bounds = format!("[{low}:{}][1:{columns}]=", low + rows.len() as i32 - 1);
            format!("{bounds}{{{}}}", rows.join(","))
        },
    );
    let lexemes =
        prop::collection::vec(("[a-z'\\\\ é]{1,5}", 1..16_384, "[A-D]?"), 0..4).prop_map(|all| {
            let all: Vec<String> = all
                .iter()
                .map(|(word, at, weight)| {
                    let word = word.replace('\\', "\\\\").replace('\'', "''");
                    format!("'{word}':{at}{weight}")
                })
                .collect();
            all.join(" ")
        });
    let range = |low: BoxedStrategy<i64>| {
        (low, 0..1000_i64, any::<[bool; 4]>()).prop_map(|(low, more, [a, b, c, d])| {
            let (open, close) = (if a { '[' } else { '(' }, if b { ']' } else { ')' });
            let low_text = if c { low.to_string() } else { String::new() };
            let high = if d {
                (low + more).to_string()
            } else {
                String::new()
            };
            format!("{open}{low_text},{high}{close}")
        })
    };
    let number = "CASE WHEN v::text ~ '[a-zA-Z]{3}' THEN to_jsonb(v::text)::text ELSE v::text END";
    let strings = "to_jsonb(v::text[])::text";
    vec![
        random(
            "smallint",
            PLAIN,
            integers(i16::MIN.into(), i16::MAX.into()),
        ),
        random("integer", PLAIN, integers(i32::MIN.into(), i32::MAX.into())),
        random("bigint", PLAIN, integers(i64::MIN, i64::MAX)),
        random("oid", PLAIN, integers(0, u32::MAX.into())),
        random(
            "real",
            number,
            float(any::<f32>().prop_map(f64::from).boxed()),
        ),
        random("double precision", number, float(any::<f64>().boxed())),
        random("numeric", TEXT, numeric()),
        random("numeric(20,5)", TEXT, "-?[0-9]{1,15}(\\.[0-9]{1,9})?"),
        random(
            "money",
            TEXT,
            integers(-92_233_720_368_547_758, 92_233_720_368_547_758),
        ),
        random("text", TEXT, text()),
        random("varchar(40)", TEXT, text()),
        random("char(40)", OWN, "[^\\x00]{0,10}"),
        random("citext", TEXT, text()),
        random("name", TEXT, "[a-zA-Z\"' ]{0,20}"),
        random(
            "bytea",
            "to_jsonb(replace(encode(v, 'base64'), E'\\n', ''))::text",
            bytes(),
        ),
        random("date", calendar("''"), days),
        random("timestamp", calendar(clock()), stamps("")),
        random(
            "timestamptz",
            calendar(&format!("{} || 'Z'", clock())),
            stamps("+00"),
        ),
        random("time", TEXT, time()),
        random(
            "timetz",
            "CASE WHEN v::text ~ '[+-]\\d\\d$' THEN to_jsonb(v::text || ':00')::text ELSE to_jsonb(v::text)::text END",
            (time(), -15..=15_i32, 0..60).prop_map(|(t, h, m)| format!("{t}{h:+03}:{m:02}")),
        ),
        random("interval", TEXT, interval),
        random("uuid", TEXT, "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        random("json", PLAIN, json()),
        random("jsonb", PLAIN, json()),
        random(
            "xml",
            TEXT,
            "[a-z ]{0,8}".prop_map(|t| format!("<a b=\"{t}\">{t}<c/>&amp;</a>")),
        ),
        random("bit(7)", TEXT, "[01]{7}"),
        random("varbit", TEXT, "[01]{0,70}"),
        random("inet", OWN, prop_oneof![ipv4.clone(), ipv6]),
        random("macaddr", TEXT, "[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
        random("macaddr8", TEXT, "[0-9a-f]{2}(:[0-9a-f]{2}){7}"),
        random("point", TEXT, point()),
        random(
            "lseg",
            TEXT,
            (point(), point()).prop_map(|(a, b)| format!("[{a},{b}]")),
        ),
        random(
            "box",
            TEXT,
            (point(), point()).prop_map(|(a, b)| format!("{a},{b}")),
        ),
        random(
            "path",
            TEXT,
            (points(), any::<bool>()).prop_map(|(p, open)| {
                if open {
                    format!("[{p}]")
                } else {
                    format!("({p})")
                }
            }),
        ),
        random("polygon", TEXT, points().prop_map(|p| format!("({p})"))),
        random(
            "circle",
            TEXT,
            (point(), 0..1000).prop_map(|(p, r)| format!("<{p},{r}>")),
        ),
        random("tsvector", TEXT, lexemes),
        random("pg_lsn", TEXT, "[0-9A-F]{1,8}/[0-9A-F]{1,8}"),
        random(
            "int4range",
            TEXT,
            range((-2_000_000_000..2_000_000_000_i64).boxed()),
        ),
        random(
            "int8range",
            TEXT,
            range(any::<i32>().prop_map(i64::from).boxed()),
        ),
        random(
            "numrange",
            TEXT,
            range(any::<i32>().prop_map(i64::from).boxed()),
        ),
        random(
            "int4multirange",
            TEXT,
            prop::collection::vec(range((-2_000_000_000..2_000_000_000_i64).boxed()), 0..4)
                .prop_map(|all| format!("{{{}}}", all.join(","))),
        ),
        random(
            "int[]",
            OWN,
            elements(any::<i32>().prop_map(|n| n.to_string()).boxed()),
        ),
        random("int[]", OWN, matrix),
        random("bigint[]", OWN, elements(integers(i64::MIN, i64::MAX))),
        random("text[]", OWN, elements(text().boxed())),
        random("numeric[]", strings, elements(numeric().boxed())),
        random(
            "bytea[]",
            "(SELECT coalesce(json_agg(replace(encode(e, 'base64'), E'\\n', '')), '[]')::text FROM unnest(v) e)",
            elements(bytes().boxed()),
        ),
        random("jsonb[]", OWN, elements(json().boxed())),
        random(
            "interval[]",
            strings,
            elements(Just("1 mon -1 day 02:03:04.5".to_owned()).boxed()),
        ),
        random(
            "box[]",
            "(SELECT coalesce(json_agg(e::text), '[]')::text FROM unnest(v) e)",
            {
                let boxes = (point(), point()).prop_map(|(a, b)| format!("{a},{b}"));
                prop::collection::vec(boxes, 0..4).prop_map(|all| format!("{{{}}}", all.join(";")))
            },
        ),
        random("hstore", "hstore_to_json(v)::text", hstore),
        random(
            "mood",
            TEXT,
            prop_oneof![Just("happy".to_owned()), Just("it's".to_owned())],
        ),
        random("posint", PLAIN, integers(1, i32::MAX.into())),
        random(
            "pair",
            TEXT,
            (any::<i32>(), text()).prop_map(|(a, b)| format!("({a},{})", quoted_element(&b))),
        ),
        random("pair[]", strings, {
            let pairs =
                (any::<i32>(), text()).prop_map(|(a, b)| format!("({a},{})", quoted_element(&b)));
            elements(pairs.boxed())
        }),
    ]
}

/// Values that nobody thought of: one table for each type, read by a snapshot or from the stream; the server says what is right.
async fn made_up_values(variable: &str, streamed: bool) {
    let database = Database::on(variable).await;
    database.run(EXTRAS).await;
    let mut runner = TestRunner::deterministic();
    let count = scale(12, 600);
    let kinds = randoms();
    let world = World::new(4 << 20);
    let mut config = database.config();
    let mut tables = String::new();
    for (i, kind) in kinds.iter().enumerate() {
        tables.push_str(&format!(
            "CREATE TABLE t{i} (id int PRIMARY KEY, v {});",
            kind.type_name
        ));
    }
    database.run(&tables).await;
    if streamed {
        database.prepare().await;
        config["snapshot"] = json!({ "mode": "on_demand" });
    }
    let mut total = 0;
    for (i, kind) in kinds.iter().enumerate() {
        for id in 0..count {
            let literal = kind.literals.new_tree(&mut runner).unwrap().current();
            let quoted = literal.replace('\\', "\\\\").replace('\'', "''");
            // What the type does not take (a range whose end is before its begin) is no value of it.
            let sql = format!("INSERT INTO t{i} VALUES ({id}, E'{quoted}')");
            match database.client.batch_execute(&sql).await {
                Ok(()) => total += 1,
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    let class = code.as_deref().and_then(|code| code.get(..2));
                    assert_eq!(class, Some("22"), "{sql}: {error:?}");
                }
            }
        }
    }
    let possible = kinds.len() as u64 * count;
    assert!(
        total * 10 > possible * 9,
        "only {total} of {possible} literals are values"
    );
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "the values", |events| events.len() as u64 >= total).await;
    let events = durable(&world);
    let mut wrong = Vec::new();
    for (i, kind) in kinds.iter().enumerate() {
        let found = rows(&events, &format!("public.t{i}"));
        let expected = database
            .rows(&format!("SELECT id, {}, v::text FROM t{i}", kind.oracle))
            .await;
        assert_eq!(found.len(), expected.len(), "{}", kind.type_name);
        for row in expected {
            let (id, expected) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
            let value = found[id]["v"].get();
            if !same(value, expected) {
                let text = row[2].as_deref().unwrap();
                wrong.push(format!(
                    "{} {text:?}: {value} instead of {expected}",
                    kind.type_name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    run.stop(DEADLINE).await.unwrap();
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_values_of_every_type_are_exact_in_the_stream() {
    made_up_values("POSTGRES_URL", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_values_of_every_type_are_exact_in_a_snapshot_on_18() {
    made_up_values("POSTGRES18_URL", false).await;
}
