//! Values of every type that has more than a few, made up at random; Postgres itself says what is right.

use headgate_postgres::Postgres;
use headgate_sdk::conformance::World;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;

use super::{EXTRAS, OWN, PLAIN, TEXT, rows, same};
use crate::support::{DEADLINE, Database, durable, scale, wait_for};

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
