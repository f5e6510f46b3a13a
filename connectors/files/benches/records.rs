//! A large CSV through the source beside the `csv` crate's bare read of it: `cargo bench -p headgate-files --bench records`.
//!
//! `HEADGATE_BENCH_CSV_MB` sets the size (3000), `HEADGATE_BENCH_ROUNDS` the number of interleaved rounds (3). The source hashes the file,
//! parses it, makes an event of each row and sends them on a lane that forgets them at once; the bare read only parses.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use headgate_files::Files;
use headgate_sdk::conformance::{NullLanes, World};

fn main() {
    let megabytes = setting("HEADGATE_BENCH_CSV_MB", 3000);
    let rounds = setting("HEADGATE_BENCH_ROUNDS", 3);
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
    let null = NullLanes::new(4 << 20, |_| {});
    let world = World::new(0);
    let config = serde_json::json!({
        "paths": [folder], "settle": "1ms", "watch": "poll", "records": { "format": "csv" },
    });
    let run = world
        .start_on::<Files>(null.lanes(), config)
        .expect("a source");
    // The rows, and the file's own event.
    null.wait_for(rows + 1).await;
    run.stop(Duration::from_secs(10)).await.expect("no error");
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
