//! A table that is read while it changes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    database::Database,
    fold::{assert_orderly, fold},
};
use crate::support::{
    gateway::{DEADLINE, Place, Running},
    http::Client,
    scale,
};

/// Events that the sinks have of this run of the gateway.
async fn sent(running: &Running) -> u64 {
    let Some(mut client) = Client::connect(running.admin).await else {
        return 0;
    };
    let Some((_, body)) = client.get("/metrics").await else {
        return 0;
    };
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.lines()
        .filter(|line| line.starts_with("headgate_sink_sent_events_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn reads(events: &[Value]) -> u64 {
    events.iter().filter(|e| e["op"] == "r").count() as u64
}

/// No row goes back: its counter only grows.
fn assert_no_stale_overwrite(events: &[Value]) {
    let mut counters: HashMap<i64, i64> = HashMap::new();
    for event in events.iter().filter(|e| e["subject"] == "public.t") {
        let after = &event["data"]["after"];
        match (after["id"].as_i64(), after["n"].as_i64()) {
            (Some(id), Some(n)) => {
                let former = counters.insert(id, n).unwrap_or(0);
                assert!(
                    n >= former,
                    "row {id} went back from {former} to {n} by {}",
                    event["id"]
                );
            }
            _ => {
                let before = event["data"]["before"]["id"].as_i64();
                before.and_then(|id| counters.remove(&id));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_concurrent_writes_survives_kill_9() {
    let rows = scale(20_000, 1_000_000);
    let database = Database::new().await;
    database
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
             INSERT INTO t SELECT g, 0, CASE WHEN g % 100 = 0 THEN repeat(md5(g::text), 80) END FROM generate_series(1, {rows}) g"
        ))
        .await;
    let sections = format!(
        "sources:\n  crm: {{ type: postgres, url: \"{}\", tables: [\"public.*\"], slot: {}, heartbeat: 200ms, \
         snapshot: {{ chunk_rows: {}, parallel: 2 }} }}\n",
        database.url(),
        database.name,
        rows / 50
    );
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
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
                    // A key that moves from what is not read to what is.
                    3 if step % 40 == 3 => format!(
                        "UPDATE t SET id = -id, n = n + 1 WHERE id = {}",
                        rows - step % rows
                    ),
                    2 => format!(
                        "UPDATE t SET n = n + 1 WHERE id BETWEEN {id} AND {}",
                        id + 20
                    ),
                    _ => format!("UPDATE t SET n = n + 1 WHERE id = {id}"),
                };
                client.batch_execute(&sql).await.unwrap();
            }
        })
    };
    let patience = 4 * DEADLINE * u32::try_from(scale(1, 10)).unwrap();
    for part in 1..=3 {
        let running = place.start().await;
        let begun = Instant::now();
        while sent(&running).await < rows / 8 {
            assert!(begun.elapsed() < patience, "the snapshot does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.kill();
        // The kill came in the middle of it.
        let ended = place.log().contains("the table was read");
        assert!(!ended, "there was nothing left to read in part {part}");
    }
    let running = place.start().await;
    let begun = Instant::now();
    while place.log().matches("the table was read").count() == 0 {
        assert!(begun.elapsed() < patience, "the snapshot does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    writing.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    database.all_confirmed().await;
    assert!(running.stop().success());

    let events = place.tail();
    assert_orderly(&events);
    assert_no_stale_overwrite(&events);
    let read = reads(&events);
    assert!(
        read < rows + rows / 2,
        "{read} reads of {rows} rows: the snapshot began again"
    );
    let tables = fold(&events);
    let found = &tables["public.t"];
    let expected = database
        .rows("SELECT id, n, coalesce(md5(big), '') FROM t")
        .await;
    assert_eq!(found.len(), expected.len());
    let hashes: HashMap<String, String> = database
        .rows("SELECT big, md5(big) FROM (SELECT DISTINCT big FROM t WHERE big IS NOT NULL) d")
        .await
        .into_iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
        .collect();
    for row in expected {
        let id = row[0].clone().unwrap();
        let sent = found
            .get(&id)
            .unwrap_or_else(|| panic!("row {id} was lost"));
        assert_eq!(sent["n"].to_string(), row[1].clone().unwrap(), "row {id}");
        let hash = sent["big"].as_str().map(|big| hashes[big].as_str());
        assert_eq!(
            hash.unwrap_or_default(),
            row[2].as_deref().unwrap(),
            "row {id}"
        );
    }
    database.drop_all().await;
}
