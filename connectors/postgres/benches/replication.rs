//! From the log to encoded envelopes, beside `pg_recvlogical` on the same server in the same run.
//!
//! `scripts/services with postgres15 -- cargo bench --workspace --bench replication`
//!
//! Three parts, one alone with `HEADGATE_BENCH_PART`:
//! - `rates`: `HEADGATE_BENCH_ROWS` (default 300000) rows of six columns in transactions of 1,000, read by both, each from a copy of
//!   one slot: rows a second, and CPU time a row of the reading process. A round is theirs, ours, ours, theirs, so that a machine
//!   that gets slower or faster meanwhile does so for both; before each, the server writes out what it has to (`CHECKPOINT`).
//!   `HEADGATE_BENCH_ROUNDS` (default 10) rounds after one that warms up. The verdict is that of the middle half of the rounds.
//! - `transaction`: the same table filled in one transaction of `HEADGATE_BENCH_LARGE` (default 2000000) rows, streamed and not.
//! - `latency`: 1,000 and 10,000 rows a second, in transactions of a hundredth of a second, from commit to durable.
//!
//! The sink is a lane that is durable at once and keeps nothing. `pg_recvlogical` decodes nothing and writes to `/dev/null`.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark fails as tests do, and prints floats"
)]

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use headgate_postgres::Postgres;
use headgate_sdk::{
    Batch, Timestamp,
    conformance::{NullLanes, World},
};
use serde_json::json;
use tokio_postgres::NoTls;

/// The share of `pg_recvlogical`'s rows a second that is wanted.
const AIM: f64 = 0.8;

/// What came.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    first: Mutex<Option<Instant>>,
    /// Microseconds from commit to here, of each event.
    latencies: Mutex<Vec<i64>>,
}

impl Seen {
    fn look(&self, batch: &Batch) {
        if batch.events.is_empty() {
            return;
        }
        self.first.lock().unwrap().get_or_insert_with(Instant::now);
        let now = Timestamp::now().as_microsecond();
        let latencies = batch.events.iter().map(|e| now - e.time.as_microsecond());
        self.latencies.lock().unwrap().extend(latencies);
        let bytes: usize = batch.events.iter().map(|e| e.data.len()).sum();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What reading took.
struct Reading {
    /// Seconds to the first and to the last event.
    first: f64,
    last: f64,
    /// CPU seconds of this process.
    cpu: f64,
    bytes: u64,
    /// The most that the spool had.
    spool: u64,
    latencies: Vec<i64>,
}

/// Reads `rows` events from `slot`.
async fn headgate(url: &str, slot: &str, streaming: bool, rows: u64, begun: Instant) -> Reading {
    let seen = Arc::new(Seen::default());
    let null = {
        let seen = Arc::clone(&seen);
        NullLanes::new(16 << 20, move |batch| seen.look(batch))
    };
    let world = World::new(0);
    let config = json!({ "url": url, "tables": ["public.bench"], "slot": slot, "publication": "bench", "streaming": streaming,
                         "snapshot": { "mode": "on_demand" } });
    let cpu = cpu_seconds(13);
    let run = world.start_on::<Postgres>(null.lanes(), config).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut spool = 0;
    while null.events() < rows {
        tick.tick().await;
        spool = spool.max(size_of(&world.scratch().join("spool")));
        assert!(!run.is_over(), "the source ended");
    }
    let last = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(13) - cpu;
    run.stop(Duration::from_secs(10)).await.unwrap();
    let first = seen.first.lock().unwrap().unwrap();
    let latencies = std::mem::take(&mut *seen.latencies.lock().unwrap());
    Reading {
        first: first.duration_since(begun).as_secs_f64(),
        last,
        cpu,
        bytes: seen.bytes.load(Ordering::Relaxed),
        spool,
        latencies,
    }
}

fn size_of(folder: &std::path::Path) -> u64 {
    let Ok(files) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

/// CPU time of this process (field 13 of its `stat` and the next one) or of its ended children (field 15).
fn cpu_seconds(field: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[field - 2..field]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}

/// Seconds, and CPU seconds.
fn pg_recvlogical(url: &str, slot: &str, end: &str) -> (f64, f64) {
    let cpu = cpu_seconds(15);
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
    (begun.elapsed().as_secs_f64(), cpu_seconds(15) - cpu)
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

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Bench {
    name: String,
    url: String,
    client: tokio_postgres::Client,
}

impl Bench {
    fn slot(&self, word: &str) -> String {
        format!("{}_{word}", self.name)
    }

    async fn create_slot(&self, word: &str) -> String {
        let slot = self.slot(word);
        let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        run(&self.client, &sql).await;
        slot
    }

    async fn rates(&self) {
        let rows = setting("HEADGATE_BENCH_ROWS", 300_000);
        let rounds = setting("HEADGATE_BENCH_ROUNDS", 10);
        let base = self.create_slot("base").await;
        for chunk in 0..rows / 1000 {
            run(
                &self.client,
                &rows_sql(chunk * 1000 + 1, chunk * 1000 + 1000),
            )
            .await;
        }
        let end = run(&self.client, "SELECT pg_current_wal_flush_lsn()").await;
        // An end position is passed only if something follows it.
        let follow = "SELECT pg_logical_emit_message(true, 'bench', 'end')";
        run(&self.client, follow).await;
        println!("{rows} rows in transactions of 1,000, null sink");
        println!(
            "| round | pg_recvlogical rows/s | headgate rows/s | share | CPU us a row, theirs | ours |"
        );
        println!("|---|---|---|---|---|---|");
        let mut shares = Vec::new();
        for round in 0..=rounds {
            let (mut theirs, mut ours) = ((0.0, 0.0), (0.0, 0.0));
            for (i, is_ours) in [false, true, true, false].into_iter().enumerate() {
                let slot = self.copy_slot(&base, &format!("r{round}_{i}")).await;
                if is_ours {
                    let reading = headgate(&self.url, &slot, true, rows, Instant::now()).await;
                    ours.0 += reading.last;
                    ours.1 += reading.cpu;
                    if (round, i) == (0, 1) {
                        println!("({} bytes of data a row)", reading.bytes / rows);
                    }
                } else {
                    let (seconds, cpu) = pg_recvlogical(&self.url, &slot, &end);
                    theirs.0 += seconds;
                    theirs.1 += cpu;
                }
                self.drop_slot(&slot).await;
            }
            if round == 0 {
                continue;
            }
            let share = theirs.0 / ours.0;
            shares.push(share);
            let read = 2.0 * rows as f64;
            println!(
                "| {round} | {:.0} | {:.0} | {share:.2} | {:.2} | {:.2} |",
                read / theirs.0,
                read / ours.0,
                1e6 * theirs.1 / read,
                1e6 * ours.1 / read
            );
        }
        shares.sort_by(f64::total_cmp);
        let at = |part: usize| shares[(shares.len() - 1) * part / 4];
        let verdict = match (at(1) >= AIM, at(3) >= AIM) {
            (true, _) => "kept",
            (false, true) => "open",
            (false, false) => "missed",
        };
        println!(
            "share of pg_recvlogical's rows/s: median {:.2}, half of the rounds {:.2} to {:.2}, all {:.2} to {:.2} (aim: at least {AIM:.2}, \
             {verdict}); peak memory {} MB\n",
            at(2),
            at(1),
            at(3),
            at(0),
            at(4),
            peak_memory()
        );
        self.drop_slot(&base).await;
    }

    /// A slot that begins where `base` does. What the server has to write is written before.
    async fn copy_slot(&self, base: &str, word: &str) -> String {
        let slot = self.slot(word);
        let sql =
            format!("CHECKPOINT; SELECT pg_copy_logical_replication_slot('{base}', '{slot}')");
        run(&self.client, &sql).await;
        slot
    }

    /// Drops a slot when its reader is gone.
    async fn drop_slot(&self, slot: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
        );
        while run(&self.client, &sql).await != "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        run(
            &self.client,
            &format!("SELECT pg_drop_replication_slot('{slot}')"),
        )
        .await;
    }

    async fn transaction(&self) {
        let rows = setting("HEADGATE_BENCH_LARGE", 2_000_000);
        for (word, streaming) in [("s", true), ("n", false)] {
            run(&self.client, "TRUNCATE bench").await;
            let slot = self.create_slot(word).await;
            let writer = connect(&self.url).await;
            let begun = Instant::now();
            let reading = {
                let (url, slot) = (self.url.clone(), slot.clone());
                tokio::spawn(async move { headgate(&url, &slot, streaming, rows, begun).await })
            };
            run(&writer, &format!("BEGIN; {}", rows_sql(1, rows))).await;
            let committing = begun.elapsed().as_secs_f64();
            run(&writer, "COMMIT").await;
            let committed = begun.elapsed().as_secs_f64();
            let reading = reading.await.unwrap();
            let spilled = format!(
                "SELECT spill_bytes FROM pg_stat_replication_slots WHERE slot_name = '{slot}'"
            );
            println!(
                "one transaction of {rows} rows, {}: written in {committing:.1} s; first event {:.2} s and last {:.2} s after COMMIT; \
                 spilled by the server {} MB, spooled here {} MB, peak memory {} MB",
                if streaming {
                    "streamed"
                } else {
                    "not streamed"
                },
                reading.first - committed,
                reading.last - committed,
                run(&self.client, &spilled)
                    .await
                    .parse::<u64>()
                    .unwrap_or(0)
                    >> 20,
                reading.spool >> 20,
                peak_memory()
            );
        }
        println!();
    }

    async fn latency(&self) {
        const SECONDS: u64 = 15;
        for rate in [1_000, 10_000] {
            run(&self.client, "TRUNCATE bench").await;
            let slot = self.create_slot(&format!("l{rate}")).await;
            let (url, rows) = (self.url.clone(), rate * SECONDS);
            let reading =
                tokio::spawn(
                    async move { headgate(&url, &slot, true, rows, Instant::now()).await },
                );
            let lot = rate / 100;
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            for n in 0..SECONDS * 100 {
                tick.tick().await;
                run(&self.client, &rows_sql(n * lot + 1, n * lot + lot)).await;
            }
            let mut latencies = reading.await.unwrap().latencies;
            // What was written before the stream began says nothing.
            latencies.drain(..latencies.len() / 10);
            latencies.sort_unstable();
            let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100] as f64 / 1e3;
            println!(
                "{rate} rows a second for {SECONDS} s, from commit to durable (null sink): p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                at(50),
                at(99),
                at(100)
            );
        }
    }
}

#[tokio::main]
async fn main() {
    let server = std::env::var("POSTGRES_URL")
        .expect("POSTGRES_URL: scripts/services with postgres15 -- cargo bench --workspace --bench replication");
    let part = std::env::var("HEADGATE_BENCH_PART").ok();
    let admin = connect(&server).await;
    let name = format!("bench_{}", std::process::id());
    run(&admin, &format!("CREATE DATABASE {name}")).await;
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let client = connect(&url).await;
    run(&client, "CREATE TABLE bench (id bigint PRIMARY KEY, name text, note text, amount numeric, paid boolean, at timestamptz) \
                  WITH (autovacuum_enabled = false); CREATE PUBLICATION bench FOR TABLE bench")
        .await;
    let bench = Bench { name, url, client };
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("rates") {
        bench.rates().await;
    }
    if wanted("transaction") {
        bench.transaction().await;
    }
    if wanted("latency") {
        bench.latency().await;
    }
    // A sender that was left ends when it next writes.
    let ours = "FROM pg_replication_slots WHERE database = current_database()";
    let end = format!("SELECT count(pg_terminate_backend(active_pid)) {ours} AND active");
    while run(&bench.client, &end).await != "0" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let forget = format!("SELECT count(pg_drop_replication_slot(slot_name)) {ours}");
    run(&bench.client, &forget).await;
    drop(bench.client);
    run(
        &admin,
        &format!("DROP DATABASE {} WITH (FORCE)", bench.name),
    )
    .await;
}
