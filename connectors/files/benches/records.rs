//! A large CSV through the source beside the `csv` crate's bare read of it: `cargo bench -p headgate-files --bench records`.
//!
//! `HEADGATE_BENCH_CSV_MB` sets the size (500), `HEADGATE_BENCH_ROUNDS` the number of interleaved rounds (5). The source hashes the file,
//! parses it, makes an event of each row and sends them on a lane that forgets them at once; the bare read only parses.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use headgate_files::{Files, config::Config};
use headgate_sdk::{
    Batch, Connector as _, Delivery, Lane, LaneError, LaneId, LaneSpec, Lanes, Source as _,
    SourceContext, SourceInfo, Str,
    admission::Admission,
    blobs::FolderStore,
    control::Controls,
    http::{Handler, MountError, MountTable, Mounts},
    lane::{LaneBackend, LaneOpener, LaneParts, Progress, ProgressState, Restored},
    status::Status,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

fn main() {
    let megabytes = setting("HEADGATE_BENCH_CSV_MB", 500);
    let rounds = setting("HEADGATE_BENCH_ROUNDS", 5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("big.csv");
    let rows = write_csv(&path, megabytes << 20);
    let bytes = std::fs::metadata(&path).expect("just written").len();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut ratios = Vec::new();
    println!("{rows} rows, {} MB\n", bytes >> 20);
    println!("round   bare MB/s   source MB/s   ratio   CPU ns/row bare   source   peak MB");
    for round in 1..=rounds {
        let (bare, bare_cpu) = timed(|| read_bare(&path, rows));
        let (source, source_cpu) = timed(|| runtime.block_on(stream(folder.path(), rows)));
        let rate = |time: Duration| (bytes >> 20) as f64 / time.as_secs_f64();
        let ratio = rate(source) / rate(bare);
        ratios.push(ratio);
        println!(
            "{round:5} {:11.0} {:13.0} {ratio:7.2} {:17.0} {:8.0} {:9}",
            rate(bare),
            rate(source),
            bare_cpu.as_nanos() as f64 / rows as f64,
            source_cpu.as_nanos() as f64 / rows as f64,
            peak_megabytes()
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "\nsource / bare: median {:.2}, spread {:.2} to {:.2}",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn write_csv(path: &Path, bytes: u64) -> u64 {
    let mut out = BufWriter::new(File::create(path).expect("a file can be made"));
    let (mut written, mut rows) = (0, 0);
    writeln!(out, "id,customer,street,city,amount,currency,note").expect("room");
    while written < bytes {
        let line = format!(
            "{rows},Customer {rows},\"Long Street {}, back\",Hamburg,{}.{:02},EUR,delivered on time and paid\n",
            rows % 997,
            rows % 10_007,
            rows % 100
        );
        out.write_all(line.as_bytes()).expect("room");
        written += line.len() as u64;
        rows += 1;
    }
    out.flush().expect("room");
    rows
}

fn timed(work: impl FnOnce()) -> (Duration, Duration) {
    let (start, cpu) = (Instant::now(), cpu_time());
    work();
    (start.elapsed(), cpu_time() - cpu)
}

fn read_bare(path: &Path, rows: u64) {
    let mut reader = csv::Reader::from_path(path).expect("the file");
    let mut record = csv::ByteRecord::new();
    let mut count = 0;
    while reader.read_byte_record(&mut record).expect("valid") {
        count += 1;
    }
    assert_eq!(count, rows);
}

async fn stream(folder: &Path, rows: u64) {
    let lanes = Forgetting::default();
    let config: Config = serde_json::from_value(serde_json::json!({
        "paths": [folder], "settle": "1ms", "watch": "poll", "records": { "format": "csv" },
    }))
    .expect("a configuration");
    let info = SourceInfo {
        name: "bench".into(),
        tenant: "default".into(),
        urn: "urn:headgate:default:files:bench".into(),
        group: "headgate".into(),
        instance: "0".into(),
        public_url: None,
    };
    let source = Files::build(config, &info).expect("a source");
    let shutdown = CancellationToken::new();
    let (_controls, queue) = mpsc::channel(1);
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let running = tokio::spawn(source.run(SourceContext {
        source: info,
        lanes: Lanes::new(Arc::new(lanes.clone())),
        http: Mounts::new(Arc::new(NoMounts)),
        admission: Admission::unlimited(),
        control: Controls::new(queue),
        blobs: Arc::new(FolderStore::new(scratch.path())),
        scratch: scratch.path().to_owned(),
        status: Status::default(),
        shutdown: shutdown.clone(),
    }));
    let mut events = lanes.events.subscribe();
    // The rows, and the file's own event.
    events
        .wait_for(|events| *events > rows)
        .await
        .expect("the lanes live");
    shutdown.cancel();
    running.await.expect("no panic").expect("no error");
}

/// Lanes on which everything is durable at once, and forgotten.
#[derive(Clone)]
struct Forgetting {
    events: Arc<watch::Sender<u64>>,
}

impl Default for Forgetting {
    fn default() -> Self {
        Self {
            events: Arc::new(watch::Sender::new(0)),
        }
    }
}

struct Backend {
    events: Arc<watch::Sender<u64>>,
    state: Mutex<watch::Sender<ProgressState>>,
    progress: Progress,
}

impl LaneOpener for Forgetting {
    fn open(&self, spec: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        let (state, progress) = watch::channel(ProgressState::default());
        let progress = Progress::new(progress);
        let (_, paused) = watch::channel(false);
        let lane = Lane::new(LaneParts {
            id: LaneId::new("bench", &spec, "0"),
            spec,
            restored: Restored::default(),
            capacity: 4 << 20,
            progress: progress.clone(),
            revoked: CancellationToken::new(),
            paused,
            backend: Arc::new(Backend {
                events: Arc::clone(&self.events),
                state: Mutex::new(state),
                progress,
            }),
        });
        Box::pin(async move { Ok(lane) })
    }
}

impl LaneBackend for Backend {
    fn send(&self, batch: Batch, _room: OwnedSemaphorePermit) -> Delivery {
        let state = self.state.lock().expect("nobody panics");
        let mut number = 0;
        state.send_modify(|state| {
            state.durable += 1;
            number = state.durable;
        });
        self.events
            .send_modify(|events| *events += batch.events.len() as u64);
        Delivery::accepted_now(number, self.progress.clone())
    }

    fn entries<'a>(
        &'a self,
        _prefix: &'a str,
        _after: Option<&'a str>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, bytes::Bytes)>, LaneError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn entry<'a>(
        &'a self,
        _key: &'a str,
    ) -> BoxFuture<'a, Result<Option<bytes::Bytes>, LaneError>> {
        Box::pin(async { Ok(None) })
    }
}

struct NoMounts;

impl MountTable for NoMounts {
    fn mount(&self, path: &str, _handler: Arc<dyn Handler>) -> Result<(), MountError> {
        Err(MountError {
            path: path.to_owned(),
        })
    }

    fn unmount(&self, _path: &str) {}
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap_or(0))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) >> 10
}
