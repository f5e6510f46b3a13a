//! A database's changes through the whole gateway, into its log and into Kafka:
//! `scripts/services with postgres15 kafka -- cargo bench --workspace --bench postgres`.
//!
//! `HEADGATE_BENCH_ROWS` (300000) rows of six columns, in transactions of 1,000, wait in a slot; the gateway's figure is rows a
//! second from the first sent events to the last, and the CPU time a row of its process with its start. Then one transaction of as
//! many rows: the time from COMMIT to the first and the last event, and the peak memory. The Kafka sink is measured where `KAFKA_BROKERS` is set.
//! How the connector alone compares with `pg_recvlogical` is the connector's own benchmark, `replication`.

mod harness;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A database that is dropped at the end.
struct Database {
    name: String,
    url: String,
    client: Client,
}

#[tokio::main]
async fn main() {
    let server = std::env::var("POSTGRES_URL").expect(
        "POSTGRES_URL: scripts/services with postgres15 kafka -- cargo bench --workspace --bench postgres",
    );
    let rows: u64 = std::env::var("HEADGATE_BENCH_ROWS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300_000);
    let admin = connect(&server).await;
    let name = format!("bench_gateway_{}", std::process::id());
    run(&admin, &format!("CREATE DATABASE {name}")).await;
    let (head, _) = server.rsplit_once('/').expect("the URL names a database");
    let url = format!("{head}/{name}");
    let client = connect(&url).await;
    run(&client, "CREATE TABLE bench (id bigint PRIMARY KEY, name text, note text, amount numeric, paid boolean, at timestamptz); \
                  CREATE PUBLICATION bench FOR TABLE bench").await;
    let database = Database { name, url, client };
    let mut sinks = vec![("log", String::new())];
    if let Ok(brokers) = std::env::var("KAFKA_BROKERS") {
        let topic = format!("bench-{}", std::process::id());
        sinks.push((
            "kafka",
            format!(
                "sinks:\n  out: {{ type: kafka, brokers: \"{brokers}\", topics: {{ create: [\"bench-*\"] }} }}\npipeline:\n  - route: \
                 {{ topic: {topic}, key: \"{{partitionkey}}\" }}\n"
            ),
        ));
    }
    for (sink, sections) in &sinks {
        steady(&database, sink, sections, rows).await;
        transaction(&database, sink, sections, rows).await;
    }
    drop(database.client);
    run(
        &admin,
        &format!("DROP DATABASE {} WITH (FORCE)", database.name),
    )
    .await;
}

async fn steady(database: &Database, sink: &str, sections: &str, rows: u64) {
    let slot = database.slot(sink, "steady").await;
    for chunk in 0..rows / 1000 {
        run(
            &database.client,
            &insert(chunk * 1000 + 1, chunk * 1000 + 1000),
        )
        .await;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut gateway = Gateway::start(home.path(), database, &slot, sections);
    let ((first, before), last) = gateway.until_sent(rows);
    println!(
        "{sink} sink, {rows} rows in transactions of 1,000: {:.0} rows/s, {:.2} us of CPU a row, peak memory {} MB",
        (rows - before) as f64 / (last - first).as_secs_f64(),
        gateway.cpu().as_secs_f64() * 1e6 / rows as f64,
        gateway.peak_megabytes()
    );
    gateway.stop();
    database.drop_slot(&slot).await;
}

async fn transaction(database: &Database, sink: &str, sections: &str, rows: u64) {
    let slot = database.slot(sink, "large").await;
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut gateway = Gateway::start(home.path(), database, &slot, sections);
    database.is_read(&slot).await;
    run(
        &database.client,
        &format!("BEGIN; {}; COMMIT", insert(1, rows)),
    )
    .await;
    let committed = Instant::now();
    let ((first, _), last) = gateway.until_sent(rows);
    println!(
        "{sink} sink, one transaction of {rows} rows: first event {:.2} s, last {:.2} s after COMMIT, peak memory {} MB",
        first.saturating_duration_since(committed).as_secs_f64(),
        last.saturating_duration_since(committed).as_secs_f64(),
        gateway.peak_megabytes()
    );
    gateway.stop();
    database.drop_slot(&slot).await;
}

impl Database {
    /// A slot that begins with an empty table.
    async fn slot(&self, sink: &str, word: &str) -> String {
        run(&self.client, "TRUNCATE bench").await;
        let slot = format!("{}_{sink}_{word}", self.name);
        let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        run(&self.client, &sql).await;
        slot
    }

    /// Waits until somebody reads from a slot.
    async fn is_read(&self, slot: &str) {
        let sql = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
        while run(&self.client, &sql).await != "t" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn drop_slot(&self, slot: &str) {
        run(
            &self.client,
            &format!("SELECT pg_drop_replication_slot('{slot}')"),
        )
        .await;
    }
}

struct Gateway {
    child: Child,
    admin: SocketAddr,
}

impl Gateway {
    fn start(home: &std::path::Path, database: &Database, slot: &str, sections: &str) -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("bound")
        };
        let (http, admin) = (free(), free());
        let config = home.join("headgate.yaml");
        let (home, url) = (home.display(), &database.url);
        fs::write(
            &config,
            format!(
                "data_dir: {home}/data\nhttp: {{ listen: \"{http}\" }}\nadmin: {{ listen: \"{admin}\" }}\nsources:\n  bench: {{ type: postgres, \
                 url: \"{url}\", tables: [public.bench], slot: {slot}, publication: bench, snapshot: {{ mode: on_demand }} }}\n{sections}"
            ),
        )
        .expect("room");
        let child = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(["run", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { child, admin }
    }

    /// Waits until the sinks have `rows` events; returns when they were seen to have some, and how many, and when they had all.
    fn until_sent(&mut self, rows: u64) -> ((Instant, u64), Instant) {
        let begun = Instant::now();
        let mut first = None;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the gateway ended: {status}");
            }
            if let Some(sent) = self.sent() {
                let now = Instant::now();
                if sent > 0 {
                    first.get_or_insert((now, sent));
                }
                if sent >= rows {
                    return (first.unwrap_or((now, 0)), now);
                }
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "not all events were sent"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn sent(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let lines = answer
            .lines()
            .filter(|line| line.starts_with("headgate_sink_sent_events_total"));
        let sent = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        answer.contains("200 OK").then(|| sent.sum())
    }

    fn cpu(&self) -> Duration {
        harness::cpu_of(self.child.id())
    }

    fn peak_megabytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the gateway runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) >> 10
    }

    /// Ends it in order, so that its slot is free.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        let _asked = Command::new("kill").args(["-TERM", &pid]).status();
        let _ended = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn insert(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO bench SELECT g, 'customer ' || g, md5(g::text) || md5((g + 1)::text), g * 1.25, g % 2 = 0, \
         timestamptz '2024-01-01' + g * interval '1 second' FROM generate_series({from}, {to}) g"
    )
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server answers");
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.expect("the statement runs");
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap_or_default()
}
