//! Webhooks: signature checked, journaled with an fsync before the answer, delivered to the embedded log; beside a bare `axum`
//! handler that reads the body and answers.
//!
//! `cargo bench --bench webhooks`. Both servers are processes of their own, and only their CPU time counts; the load comes from this
//! one, over 64 keep-alive connections.

mod harness;

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use harness::{Bound, Measured, compare, cpu_of, percentile, start_self};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;
const REQUESTS: usize = 10_000;
/// What the bench binary is called with to be the bare server.
const BARE: &str = "--bare-server";

/// A signed request of about 600 bytes.
struct Signed {
    body: Bytes,
    signature: String,
}

fn main() {
    if std::env::args().any(|argument| argument == BARE) {
        return bare_server();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gateway = Server::gateway(folder.path());
    let bare = Server::bare();
    let signed = sign(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let mut latencies = Vec::new();
    compare(
        "Webhooks, 64 connections",
        vec![
            (
                (
                    "bare axum handler",
                    Box::new(|| runtime.block_on(load(&bare, &signed)).0),
                ),
                Bound::None,
            ),
            (
                (
                    "headgate: verified, journaled with fdatasync, in the log",
                    Box::new(|| {
                        let (measured, round) = runtime.block_on(load(&gateway, &signed));
                        latencies = round;
                        measured
                    }),
                ),
                Bound::AtMost(2.0),
            ),
        ],
    );
    let sync = fdatasync_latency(folder.path());
    println!(
        "latency of the last round at {CONNECTIONS} connections: p50 {:?}, p99 {:?}; one fdatasync of 4 KiB here: p50 {:?}, p99 {:?}",
        percentile(&mut latencies, 50),
        percentile(&mut latencies, 99),
        sync.0,
        sync.1
    );
    println!(
        "memory of the gateway after all rounds: {} MiB resident",
        resident_mib(gateway.child.id())
    );
}

/// One round: so many requests, spread over the connections; the server's CPU time and each request's latency.
async fn load(server: &Server, signed: &Signed) -> (Measured, Vec<Duration>) {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(server.address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("a TCP option");
        let (sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                .await
                .expect("HTTP");
        tokio::spawn(connection);
        connections.push(sender);
    }
    let (cpu, started) = (cpu_of(server.child.id()), Instant::now());
    let senders = connections.into_iter().map(|mut sender| async move {
        let mut latencies = Vec::with_capacity(REQUESTS / CONNECTIONS);
        for _ in 0..REQUESTS / CONNECTIONS {
            let request = Request::post("/webhook/github")
                .header("host", "bench")
                .header("content-type", "application/json")
                .header("x-github-event", "push")
                .header("x-hub-signature-256", &signed.signature)
                .body(Full::new(signed.body.clone()))
                .expect("a request");
            let sent = Instant::now();
            sender.ready().await.expect("the connection lives");
            let response = sender.send_request(request).await.expect("an answer");
            assert!(response.status().is_success(), "{}", response.status());
            response.into_body().collect().await.expect("a body");
            latencies.push(sent.elapsed());
        }
        latencies
    });
    let latencies: Vec<Duration> = futures::future::join_all(senders)
        .await
        .into_iter()
        .flatten()
        .collect();
    let wall = started.elapsed();
    // What was accepted is still on its way to the log; it counts.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let measured = Measured {
        cpu: cpu_of(server.child.id()) - cpu,
        wall,
        events: latencies.len() as u64,
    };
    (measured, latencies)
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn bare() -> Self {
        let (child, address) = start_self(&[BARE.as_ref()]);
        Self {
            child,
            address: address.parse().expect("an address"),
        }
    }

    fn gateway(folder: &std::path::Path) -> Self {
        let (http, admin) = (free_address(), free_address());
        let config = format!(
            "data_dir: {}\nhttp: {{ listen: \"{http}\" }}\nadmin: {{ listen: \"{admin}\" }}\n\
             sources:\n  github: {{ type: webhook, scheme: github, secrets: [benchmark] }}\n",
            folder.join("data").display()
        );
        std::fs::write(folder.join("headgate.yaml"), config).expect("the folder is writable");
        let child = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(["run", "-c"])
            .arg(folder.join("headgate.yaml"))
            .stdout(Stdio::null())
            .env("HEADGATE_LOG", "warn")
            .spawn()
            .expect("the gateway starts");
        let started = Instant::now();
        while std::net::TcpStream::connect(http).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "the gateway does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        // Its source mounts its path a moment after the port is open.
        std::thread::sleep(Duration::from_millis(500));
        Self {
            child,
            address: http,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

#[tokio::main]
async fn bare_server() {
    let answer = |body: Bytes| async move {
        (
            http::StatusCode::ACCEPTED,
            format!("{{\"bytes\":{}}}", body.len()),
        )
    };
    let app = axum::Router::new().route("/webhook/github", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    println!("{}", listener.local_addr().expect("bound"));
    axum::serve(listener, app)
        .await
        .expect("it serves until it is killed");
}

/// Lets Headgate itself sign, so that the benchmark has no second implementation.
fn sign(folder: &std::path::Path) -> Signed {
    let body = format!(
        r#"{{"ref":"refs/heads/main","padding":"{}"}}"#,
        "x".repeat(560)
    );
    let file = folder.join("body.json");
    std::fs::write(&file, &body).expect("the folder is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args([
            "webhook",
            "sign",
            "--scheme",
            "github",
            "--secret",
            "benchmark",
            "--body-file",
        ])
        .arg(&file)
        .output()
        .expect("the command runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    let signature = printed
        .split(|c: char| c.is_whitespace() || c == '\'' || c == '"')
        .find(|word| word.starts_with("sha256="))
        .unwrap_or_else(|| panic!("a signature in {printed:?}"));
    Signed {
        body: body.into(),
        signature: signature.to_owned(),
    }
}

/// What a sync costs here: p50 and p99 of 200.
fn fdatasync_latency(folder: &std::path::Path) -> (Duration, Duration) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(folder.join("sync")).expect("the folder is writable");
    file.set_len(1 << 20).expect("room");
    let mut latencies: Vec<Duration> = (0..200)
        .map(|n| {
            file.write_all_at(&[n as u8; 4096], (n % 256) * 4096)
                .expect("written");
            let started = Instant::now();
            file.sync_data().expect("synced");
            started.elapsed()
        })
        .collect();
    (
        percentile(&mut latencies, 50),
        percentile(&mut latencies, 99),
    )
}

fn resident_mib(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs, on Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("Linux says so");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
}
