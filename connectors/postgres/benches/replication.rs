//! From the log to encoded envelopes, beside `pg_recvlogical` on the same server in the same run.
//!
//! `eval "$(scripts/services start postgres15)"; cargo bench -p headgate-postgres --bench replication`
//!
//! `HEADGATE_BENCH_ROWS` (default 500000) rows of six columns are written twice: in transactions of 1,000 rows, and in one
//! transaction. The sink is a lane that is durable at once and keeps nothing.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark fails as tests do, and prints floats"
)]

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_postgres::Postgres;
use headgate_sdk::{
    Batch, Connector, Delivery, Lane, LaneError, LaneId, LaneSpec, Lanes, Source, SourceContext,
    SourceInfo, Str,
    admission::Admission,
    blobs::FolderStore,
    control::Controls,
    http::{Handler, MountError, MountTable, Mounts},
    lane::{LaneBackend, LaneOpener, LaneParts, Progress, ProgressState, Restored},
    status::Status,
};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

/// Counts, and says at once that everything is durable.
struct Null {
    events: Arc<AtomicU64>,
    bytes: AtomicU64,
    first: Mutex<Option<Instant>>,
    number: AtomicU64,
    state: watch::Sender<ProgressState>,
}

impl LaneBackend for Null {
    fn send(&self, batch: Batch, room: OwnedSemaphorePermit) -> Delivery {
        drop(room);
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if !batch.events.is_empty() {
            self.first.lock().unwrap().get_or_insert_with(Instant::now);
        }
        let bytes: usize = batch.events.iter().map(|e| e.data.len()).sum();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.state.send_modify(|state| {
            state.durable = number;
            if batch.position.is_some() {
                state.position = batch.position;
            }
        });
        self.events
            .fetch_add(batch.events.len() as u64, Ordering::Release);
        Delivery::accepted_now(number, Progress::new(self.state.subscribe()))
    }

    fn entries<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, LaneError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn entry<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, LaneError>> {
        Box::pin(async { Ok(None) })
    }
}

struct Opener(Arc<Null>);

impl LaneOpener for Opener {
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        Box::pin(async move {
            Ok(Lane::new(LaneParts {
                id: LaneId::new("bench", &spec, "0"),
                spec,
                restored: Restored::default(),
                capacity: 16 << 20,
                progress: Progress::new(self.0.state.subscribe()),
                revoked: CancellationToken::new(),
                paused: watch::channel(false).1,
                backend: Arc::clone(&self.0) as Arc<dyn LaneBackend>,
            }))
        })
    }
}

struct NoMounts;

impl MountTable for NoMounts {
    fn mount(&self, _: &str, _: Arc<dyn Handler>) -> Result<(), MountError> {
        Ok(())
    }

    fn unmount(&self, _: &str) {}
}

/// Reads `rows` events from `slot`; returns (seconds to the first, seconds to the last, bytes of data).
async fn headgate(
    url: &str,
    slot: &str,
    streaming: bool,
    rows: u64,
    begun: Instant,
    events: Arc<AtomicU64>,
) -> (f64, f64, u64) {
    let null = Arc::new(Null {
        events: Arc::clone(&events),
        bytes: AtomicU64::new(0),
        first: Mutex::new(None),
        number: AtomicU64::new(0),
        state: watch::Sender::new(ProgressState::default()),
    });
    let info = SourceInfo {
        name: "bench".into(),
        tenant: "default".into(),
        urn: "urn:headgate:default:postgres:bench".into(),
        group: "bench".into(),
        instance: "0".into(),
        public_url: None,
    };
    let config = json!({ "url": url, "tables": ["public.bench"], "slot": slot, "publication": "bench", "streaming": streaming,
                         "snapshot": { "mode": "on_demand" } });
    let source = Postgres::build(serde_json::from_value(config).unwrap(), &info).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let cx = SourceContext {
        source: info,
        lanes: Lanes::new(Arc::new(Opener(Arc::clone(&null)))),
        http: Mounts::new(Arc::new(NoMounts)),
        admission: Admission::unlimited(),
        control: Controls::new(mpsc::channel(1).1),
        blobs: Arc::new(FolderStore::new(folder.path().join("blobs"))),
        scratch: PathBuf::from(folder.path()),
        status: Status::default(),
        shutdown: shutdown.clone(),
    };
    let running = tokio::spawn(source.run(cx));
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(2));
    while events.load(Ordering::Acquire) < rows {
        tick.tick().await;
        assert!(!running.is_finished(), "{:?}", running.await);
    }
    let last = begun.elapsed().as_secs_f64();
    let first = null
        .first
        .lock()
        .unwrap()
        .unwrap()
        .duration_since(begun)
        .as_secs_f64();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    (first, last, null.bytes.load(Ordering::Relaxed))
}

fn pg_recvlogical(url: &str, slot: &str, end: &str) -> f64 {
    let begun = Instant::now();
    let status = std::process::Command::new("pg_recvlogical")
        .args([
            "-d",
            url,
            "-S",
            slot,
            "--start",
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=bench",
            "-f",
            "/dev/null",
            "--endpos",
            end,
        ])
        .stderr(Stdio::null())
        .status()
        .expect("pg_recvlogical is installed");
    assert!(status.success(), "pg_recvlogical failed");
    begun.elapsed().as_secs_f64()
}

/// Megabytes of the process' memory at its highest.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

async fn run(client: &tokio_postgres::Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    messages
        .iter()
        .find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap_or_default()
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn rows_sql(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO bench SELECT g, 'customer ' || g, md5(g::text) || md5((g + 1)::text), g * 1.25, g % 2 = 0, \
         timestamptz '2024-01-01' + g * interval '1 second' FROM generate_series({from}, {to}) g"
    )
}

#[tokio::main]
async fn main() {
    let server = std::env::var("POSTGRES_URL")
        .expect("POSTGRES_URL: eval \"$(scripts/services start postgres15)\"");
    let rows: u64 = std::env::var("HEADGATE_BENCH_ROWS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(500_000);
    let admin = connect(&server).await;
    let name = format!("bench_{}", std::process::id());
    run(&admin, &format!("CREATE DATABASE {name}")).await;
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let client = connect(&url).await;
    run(&client, "CREATE TABLE bench (id bigint PRIMARY KEY, name text, note text, amount numeric, paid boolean, at timestamptz); \
                  CREATE PUBLICATION bench FOR TABLE bench")
        .await;
    let slot = |word: &str| format!("{name}_{word}");
    for word in ["warm", "a", "b", "c", "d"] {
        run(
            &client,
            &format!(
                "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
                slot(word)
            ),
        )
        .await;
    }
    for chunk in 0..rows / 1000 {
        run(&client, &rows_sql(chunk * 1000 + 1, chunk * 1000 + 1000)).await;
    }
    let end = run(&client, "SELECT pg_current_wal_flush_lsn()").await;
    // An end position is passed only if something follows it.
    run(
        &client,
        "SELECT pg_logical_emit_message(true, 'bench', 'end')",
    )
    .await;
    pg_recvlogical(&url, &slot("warm"), &end);
    for (ours, theirs) in [("a", "b"), ("c", "d")] {
        let seconds = pg_recvlogical(&url, &slot(theirs), &end);
        let begun = Instant::now();
        let (_, last, bytes) = headgate(&url, &slot(ours), true, rows, begun, Arc::default()).await;
        println!(
            "{rows} rows in transactions of 1000: pg_recvlogical {:.0} rows/s; headgate, null sink {:.0} rows/s ({:.0} %), {:.0} bytes of data a row",
            rows as f64 / seconds,
            rows as f64 / last,
            100.0 * seconds / last,
            bytes as f64 / rows as f64
        );
    }
    println!("peak memory {} MB", peak_memory());
    for (word, streaming) in [("s", true), ("n", false)] {
        run(&client, "TRUNCATE bench").await;
        let slot = slot(word);
        run(
            &client,
            &format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
        )
        .await;
        let writer = connect(&url).await;
        let sql = format!("BEGIN; {}", rows_sql(1, rows));
        let events = Arc::new(AtomicU64::new(0));
        let reading = {
            let (url, slot, events) = (url.clone(), slot.clone(), Arc::clone(&events));
            tokio::spawn(async move {
                headgate(&url, &slot, streaming, rows, Instant::now(), events).await
            })
        };
        let begun = Instant::now();
        run(&writer, &sql).await;
        run(&writer, "COMMIT").await;
        let committed = begun.elapsed().as_secs_f64();
        let (first, last, _) = reading.await.unwrap();
        let mut spill = String::new();
        for _ in 0..50 {
            let sql = format!(
                "SELECT pg_stat_force_next_flush(), spill_bytes FROM pg_stat_replication_slots WHERE slot_name = '{slot}'"
            );
            spill = run(&client, &sql.replace("pg_stat_force_next_flush(), ", "")).await;
            if spill != "0" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        println!(
            "one transaction of {rows} rows, {}: first event {:.2} s and last event {:.2} s after COMMIT, spilled by the server {spill} bytes, peak memory {} MB",
            if streaming {
                "streamed"
            } else {
                "not streamed"
            },
            first - committed,
            last - committed,
            peak_memory()
        );
        run(
            &client,
            &format!("SELECT pg_drop_replication_slot('{slot}')"),
        )
        .await;
    }
    for word in ["warm", "a", "b", "c", "d"] {
        run(
            &client,
            &format!("SELECT pg_drop_replication_slot('{}')", slot(word)),
        )
        .await;
    }
    drop(client);
    run(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
