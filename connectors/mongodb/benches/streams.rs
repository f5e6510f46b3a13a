//! From the change stream to encoded events, beside a bare loop of the driver that only reads the same stream raw, in the same run.
//!
//! `eval "$(scripts/services start mongodb)"; cargo bench -p headgate-mongodb`
//!
//! `HEADGATE_BENCH_EVENTS` (default 20000) inserts of a nested document of about 600 bytes are read from their beginning in each
//! round. The sink is a lane that is durable at once and keeps nothing. The bound: at least 80 % of the loop's events a second. With
//! the tests' server, which makes fewer events than either can read, CPU time says more: it is what either costs on the reading side.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark fails as tests do, and prints floats"
)]

#[path = "../../../benches/harness/mod.rs"]
mod harness;

use std::{cell::RefCell, time::Duration};

use futures::StreamExt as _;
use harness::{Bound, Measured, compare, measure};
use headgate_mongodb::Mongodb;
use headgate_sdk::{
    Timestamp,
    conformance::{NullLanes, World},
};
use mongodb::{
    Client, Database,
    bson::{self, Document, RawDocumentBuf, doc},
    options::CursorType,
};
use serde_json::json;

/// The source, from its start to the last event.
async fn headgate(url: &str, database: &str, since: Timestamp, wanted: u64) {
    let null = NullLanes::new(16 << 20, |_| {});
    let world = World::new(0);
    let config = json!({
        "url": url, "database": database, "collections": ["orders"], "snapshot": { "mode": "on_demand" },
        "start_at": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let run = world.start_on::<Mongodb>(null.lanes(), config).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = null.wait_for(wanted) => break,
            _ = tick.tick() => assert!(!run.is_over(), "the source ended"),
        }
    }
    assert_eq!(null.events(), wanted);
    run.stop(Duration::from_secs(10)).await.unwrap();
}

/// The driver's raw batches, from the first command to the last event: nothing but counted.
async fn raw_batches(database: &Database, since: Timestamp, wanted: u64) {
    let start = bson::Timestamp {
        time: u32::try_from(since.as_second()).unwrap(),
        increment: 1,
    };
    let stages = vec![
        doc! { "$changeStream": { "fullDocument": "updateLookup", "startAtOperationTime": start } },
        doc! { "$changeStreamSplitLargeEvent": {} },
    ];
    let command = doc! { "aggregate": "orders", "pipeline": stages, "cursor": {} };
    let mut cursor = database
        .run_cursor_command(command)
        .cursor_type(CursorType::TailableAwait)
        .max_time(Duration::from_secs(1))
        .batch()
        .await
        .unwrap();
    let (mut events, mut bytes) = (0, 0);
    while events < wanted {
        let batch = cursor.next().await.unwrap().unwrap();
        for event in batch.doc_slices().unwrap() {
            bytes += event.unwrap().as_document().unwrap().as_bytes().len();
            events += 1;
        }
    }
    assert!(bytes > 0);
}

/// The driver's own change stream, one raw document at a time.
async fn raw_documents(database: &Database, since: Timestamp, wanted: u64) {
    let start = bson::Timestamp {
        time: u32::try_from(since.as_second()).unwrap(),
        increment: 1,
    };
    let mut stream = database
        .collection::<Document>("orders")
        .watch()
        .start_at_operation_time(start)
        .await
        .unwrap()
        .with_type::<RawDocumentBuf>();
    for _ in 0..wanted {
        stream.next().await.unwrap().unwrap();
    }
}

/// Megabytes of the process' memory at its highest.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn document(n: u64) -> Document {
    let items: Vec<_> = (0..3_i32)
        .map(|i| doc! { "sku": format!("sku-{}-{i}", n % 977), "quantity": i + 1, "price": f64::from(i) * 1.25 })
        .collect();
    doc! {
        "_id": i64::try_from(n).unwrap(),
        "customer": { "name": format!("customer {n}"), "email": format!("c{n}@example.com"), "since": bson::DateTime::from_millis(1_700_000_000_000) },
        "status": "open", "paid": n.is_multiple_of(2), "total": 12.75, "items": items,
        "note": "an ordinary remark of ordinary length, as people write it, with an é in it ".repeat(3),
    }
}

fn main() {
    let url = std::env::var("MONGODB_URL")
        .expect("MONGODB_URL: eval \"$(scripts/services start mongodb)\"");
    let wanted: u64 = std::env::var("HEADGATE_BENCH_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let name = format!("headgate_bench_{}", std::process::id());
    let database = runtime.block_on(async {
        let database = Client::with_uri_str(&url).await.unwrap().database(&name);
        database.create_collection("orders").await.unwrap();
        database
    });
    let since = Timestamp::now();
    runtime.block_on(async {
        let orders = database.collection::<Document>("orders");
        for page in 0..wanted / 1000 {
            let documents = (page * 1000..page * 1000 + 1000).map(document);
            orders.insert_many(documents).await.unwrap();
        }
    });
    let rates = RefCell::new((Vec::new(), Vec::new()));
    let rate = |m: Measured| m.events as f64 / m.wall.as_secs_f64();
    compare(
        &format!("{wanted} inserts of one collection"),
        vec![
            (
                (
                    "driver, raw batches, only counted",
                    Box::new(|| {
                        let measured = measure(wanted, || {
                            runtime.block_on(raw_batches(&database, since, wanted));
                        });
                        rates.borrow_mut().0.push(rate(measured));
                        measured
                    }),
                ),
                Bound::None,
            ),
            (
                (
                    "headgate, null sink",
                    Box::new(|| {
                        let measured = measure(wanted, || {
                            runtime.block_on(headgate(&url, &name, since, wanted));
                        });
                        rates.borrow_mut().1.push(rate(measured));
                        measured
                    }),
                ),
                Bound::None,
            ),
            (
                (
                    "driver, its change stream, one raw document at a time",
                    Box::new(|| {
                        measure(wanted, || {
                            runtime.block_on(raw_documents(&database, since, wanted));
                        })
                    }),
                ),
                Bound::None,
            ),
        ],
    );
    // The first of each was to warm up.
    let (bare, ours) = rates.into_inner();
    let mut shares: Vec<_> = bare.iter().zip(&ours).skip(1).map(|(b, o)| o / b).collect();
    shares.sort_by(f64::total_cmp);
    let (lowest, median, highest) = (
        shares[0],
        shares[shares.len() / 2],
        shares[shares.len() - 1],
    );
    let verdict = match () {
        () if lowest >= 0.8 => "kept",
        () if highest < 0.8 => "MISSED",
        () => "open, inside the spread",
    };
    println!(
        "\nevents/s beside the bare loop: {:.0} % ({:.0}–{:.0}); at least 80 %: {verdict}",
        100.0 * median,
        100.0 * lowest,
        100.0 * highest
    );
    println!("peak memory {} MB", peak_memory());
    runtime.block_on(async { database.drop().await.unwrap() });
}
