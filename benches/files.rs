//! Many small files through the whole gateway into its log, beside a bare loop; and the latency of a steady stream:
//! `cargo bench -p headgate --bench files`.
//!
//! `HEADGATE_BENCH_FILES` sets the number of files of 1 KB (100000), `HEADGATE_BENCH_ROUNDS` the interleaved rounds (3),
//! `HEADGATE_BENCH_SECONDS` how long 200 files a second arrive (20).
//!
//! Both sides of a round begin with files of their own that were written a moment ago and that nobody has read, in folders of a
//! thousand. The bare loop lists the folders, opens, reads and hashes each file, and writes and syncs one line for each, in lots of 256.
//! The gateway runs and watches an empty folder; then all files are moved into it at once. Its figure is the CPU time of its whole
//! process (finding the files, waiting until they stand still, its scans, its log, answering how far it is) from that move, with
//! which the last file is complete, to the last durable event. What it does within 3 s after that, such as writing its index of
//! checkpoints, is told beside it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant, SystemTime},
};

const LOT: usize = 256;
const SETTLE: Duration = Duration::from_secs(2);
const AFTERWARDS: Duration = Duration::from_secs(3);
const FILES_A_SECOND: u64 = 200;

fn main() {
    let files = setting("HEADGATE_BENCH_FILES", 100_000);
    let rounds = setting("HEADGATE_BENCH_ROUNDS", 3);
    println!("{files} files of 1 KB\n");
    println!(
        "round   bare us/file   gateway us/file   and in 3 s after   ratio   peak MB   seconds"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let home = tempfile::tempdir().expect("a temporary folder");
        let inbox = home.path().join("inbox");
        let bare = home.path().join("bare");
        drop_files(&bare, files);
        let bare = bare_loop(&bare, &home.path().join("lines"));
        let dropped = home.path().join("dropped");
        drop_files(&dropped, files);
        fs::create_dir_all(&inbox).expect("a folder can be made");
        let mut gateway = Gateway::start(home.path());
        gateway.until_durable(0);
        let before = gateway.cpu_time();
        let start = Instant::now();
        fs::rename(&dropped, inbox.join("dropped")).expect("the same disk");
        gateway.until_durable(files);
        let cpu = gateway.cpu_time() - before;
        let seconds = start.elapsed().as_secs_f64();
        std::thread::sleep(AFTERWARDS);
        let afterwards = gateway.cpu_time() - before - cpu;
        let peak = gateway.peak_megabytes();
        let per_file = |time: Duration| time.as_micros() as f64 / files as f64;
        let ratio = cpu.as_secs_f64() / bare.as_secs_f64();
        ratios.push(ratio);
        println!(
            "{round:5} {:14.1} {:17.1} {:18.1} {ratio:7.2} {peak:9} {seconds:9.1}",
            per_file(bare),
            per_file(cpu),
            per_file(afterwards)
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "\ngateway / bare: median {:.2}, spread {:.2} to {:.2} (bound: 3)\n",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
    latency(setting("HEADGATE_BENCH_SECONDS", 20));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn drop_files(inbox: &Path, files: u64) {
    for n in 0..files {
        let folder = inbox.join((n / 1000).to_string());
        if n % 1000 == 0 {
            fs::create_dir_all(&folder).expect("a folder can be made");
        }
        let mut content = n.to_string();
        content.push_str(&"x".repeat(1024 - content.len()));
        fs::write(folder.join(format!("{n:07}.txt")), content).expect("room");
    }
}

fn bare_loop(inbox: &Path, out: &Path) -> Duration {
    let before = cpu_time("self");
    let mut out = File::create(out).expect("a file can be made");
    let mut lines = String::new();
    let mut waiting = 0;
    for folder in fs::read_dir(inbox).expect("the inbox") {
        for file in fs::read_dir(folder.expect("listed").path()).expect("a folder") {
            let path = file.expect("listed").path();
            let mut content = Vec::with_capacity(1025);
            let mut file = File::open(&path).expect("a file");
            file.read_to_end(&mut content).expect("readable");
            lines.push_str(&blake3::hash(&content).to_hex());
            lines.push('\n');
            waiting += 1;
            if waiting == LOT {
                out.write_all(lines.as_bytes()).expect("room");
                out.sync_data().expect("a disk");
                lines.clear();
                waiting = 0;
            }
        }
    }
    out.write_all(lines.as_bytes()).expect("room");
    out.sync_data().expect("a disk");
    cpu_time("self") - before
}

/// Files that arrive steadily: from the end of `settle` to the line of the log's reader.
fn latency(seconds: u64) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let inbox = home.path().join("inbox");
    fs::create_dir_all(&inbox).expect("a folder can be made");
    let mut gateway = Gateway::start(home.path());
    gateway.until_durable(0);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(["tail", "--json", "-c"])
        .arg(&gateway.config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
    let (told, seen) = mpsc::sync_channel(1 << 16);
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let now = SystemTime::now();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let subject = event["subject"].as_str().unwrap_or_default().to_owned();
            if told.send((subject, now)).is_err() {
                return;
            }
        }
    });
    // `tail` shows what comes after it began to listen.
    let mut warm_up = 0;
    while seen.recv_timeout(Duration::from_millis(200)).is_err() {
        warm_up += 1;
        assert!(warm_up < 300, "the log's reader sees nothing");
        fs::write(
            inbox.join(format!("warm-up {warm_up}")),
            warm_up.to_string(),
        )
        .expect("room");
    }
    let total = seconds * FILES_A_SECOND;
    let start = Instant::now();
    let mut complete = HashMap::new();
    for n in 0..total {
        let due = start + Duration::from_millis(n * 1000 / FILES_A_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let name = format!("{n:07}.txt");
        fs::write(inbox.join(&name), format!("{n}{}", "x".repeat(1000))).expect("room");
        complete.insert(name, SystemTime::now() + SETTLE);
    }
    gateway.until_durable(total + warm_up);
    let mut latencies = Vec::new();
    while latencies.len() < complete.len() {
        let Ok((name, at)) = seen.recv_timeout(Duration::from_secs(10)) else {
            break;
        };
        if let Some(complete) = complete.get(&name) {
            latencies.push(at.duration_since(*complete).unwrap_or_default().as_millis());
        }
    }
    latencies.sort_unstable();
    let _ended = tail.kill();
    let _reaped = tail.wait();
    reader.join().expect("no panic");
    let at = |share: f64| latencies[(((latencies.len() - 1) as f64) * share) as usize];
    println!(
        "{FILES_A_SECOND} files a second for {seconds} s, from settled to read from the log: p50 {} ms, p99 {} ms, max {} ms (bound: \
         p99 1000 ms); {} of {total} seen",
        at(0.5),
        at(0.99),
        at(1.0),
        latencies.len()
    );
}

struct Gateway {
    child: Child,
    admin: SocketAddr,
    config: PathBuf,
}

impl Gateway {
    fn start(home: &Path) -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("bound")
        };
        let (http, admin) = (free(), free());
        let config = home.join("headgate.yaml");
        let home = home.display();
        fs::write(
            &config,
            format!(
                "data_dir: {home}/data\nhttp: {{ listen: \"{http}\" }}\nadmin: {{ listen: \"{admin}\" }}\nsources:\n  inbox: {{ type: \
                 files, paths: [\"{home}/inbox\"], settle: {}s }}\n",
                SETTLE.as_secs()
            ),
        )
        .expect("room");
        let child = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .arg("run")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self {
            child,
            admin,
            config,
        }
    }

    fn until_durable(&mut self, files: u64) {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            if let Some(durable) = self.durable()
                && durable >= files
            {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the gateway ended: {status}");
            }
            assert!(Instant::now() < deadline, "not all files became durable");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn durable(&self) -> Option<u64> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let line = answer
            .lines()
            .find(|line| line.starts_with("headgate_files_acknowledged_total"));
        Some(
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
                .unwrap_or(0),
        )
    }

    fn cpu_time(&self) -> Duration {
        cpu_time(&self.child.id().to_string())
    }

    fn peak_megabytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the gateway runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) >> 10
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// User and system time of a process.
fn cpu_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("/proc");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap_or(0))
        .sum();
    Duration::from_millis(ticks * 10)
}
