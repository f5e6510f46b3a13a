//! What the journal costs beside a bare loop that writes the same bytes in the same groups and syncs them.
//!
//! `cargo bench --bench journal`. The bound: at least 80 % of the bare loop, so at most 1.25 times its CPU. It also shows that the
//! time from a start after `kill -9` to the first new durable record does not grow with what the journal keeps.

mod harness;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Bound, compare, measure, start_self};
use headgate::journal::{Config, Journal, Record};
use headgate::segment::RealFiles;
use headgate_sdk::LaneId;

const RECORD_BYTES: usize = 1024;
const FILE_BYTES: u64 = 64 << 20;

/// What the bench binary is called with to be the process that fills a journal, with the folder and how many bytes.
const FILL: &str = "--fill";
/// What that says when so much is durable.
const FULL: &str = "full";
const GROUP_RECORDS: usize = 64;
const GROUP_BYTES: u64 = 4 << 20;
const RESTARTS: usize = 5;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, asked, folder, bytes] = arguments.as_slice()
        && asked == FILL
    {
        return fill(Path::new(folder), bytes.parse().expect("a number"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    for (group, groups) in [(1, 300_u64), (16, 300), (64, 300), (1024, 100)] {
        let journal = open(&folder.path().join(format!("journal-{group}")));
        let lane = LaneId::from_stored("bench/");
        runtime.block_on(use_every_segment(&journal, &lane));
        let payload = Bytes::from(vec![7_u8; RECORD_BYTES]);
        let records: Vec<_> = (0..group)
            .map(|_| Record {
                kind: 1,
                payload: payload.clone(),
            })
            .collect();
        // What the journal writes for such a group: 40 bytes a frame, 4 + 4 + the lane's id a record.
        let bytes = (40 + group * (RECORD_BYTES + 8 + lane.as_str().len())).next_multiple_of(8);
        let events = groups * group as u64;
        let mut bare = Bare::new(&folder.path().join(format!("bare-{group}")), bytes);
        let title = format!("Journal, {group} records of {RECORD_BYTES} bytes to a sync");
        let bare_loop =
            Box::new(move || measure(events, || (0..groups).for_each(|_| bare.write())));
        let runtime = &runtime;
        let journaled = Box::new(move || {
            measure(events, || {
                runtime.block_on(async {
                    for _ in 0..groups {
                        let appended = journal
                            .append(&lane, &records)
                            .await
                            .expect("there is room");
                        journal.release(&lane, appended.end - 1);
                    }
                });
            })
        });
        compare(
            &title,
            vec![
                (("bare loop", bare_loop), Bound::None),
                (("journal", journaled), Bound::AtMost(1.25)),
            ],
        );
    }
    recovery(&runtime, folder.path());
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, Config::default(), RealFiles)
        .expect("the journal opens")
        .0
}

/// Writes until segments are recycled, as they are in a journal that has run for a while.
async fn use_every_segment(journal: &Journal, lane: &LaneId) {
    let records = [Record {
        kind: 1,
        payload: Bytes::from(vec![7_u8; 4 << 20]),
    }];
    for _ in 0..6 * 16 {
        let appended = journal.append(lane, &records).await.expect("there is room");
        journal.release(lane, appended.end - 1);
    }
}

/// Writes and syncs the same bytes over and over, in a file that was written before, as recycled segments are.
struct Bare {
    file: File,
    bytes: Vec<u8>,
    at: u64,
}

impl Bare {
    fn new(path: &Path, bytes: usize) -> Self {
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)
            .expect("a file");
        let chunk = vec![1_u8; 1 << 20];
        for at in (0..FILE_BYTES).step_by(chunk.len()) {
            file.write_all_at(&chunk, at).expect("there is room");
        }
        file.sync_all().expect("the disk works");
        Self {
            file,
            bytes: vec![7; bytes],
            at: 0,
        }
    }

    fn write(&mut self) {
        if self.at + self.bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file
            .write_all_at(&self.bytes, self.at)
            .expect("there is room");
        self.file.sync_data().expect("the disk works");
        self.at += self.bytes.len() as u64;
    }
}

/// Opens journals of growing size after `kill -9`, up to the first new durable record. What they were filled with is in the page cache, as far
/// as that is large enough.
fn recovery(runtime: &tokio::runtime::Runtime, folder: &Path) {
    let most_mib: u64 = std::env::var("BENCH_JOURNAL_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10 * 1024);
    println!(
        "\nRestart after kill -9 amid appending: from opening to the first new durable record ({RESTARTS} restarts; median, lowest to highest)"
    );
    println!("| on disk | segments | ms |");
    println!("|---|---|---|");
    for mib in [128, 1024, 10 * 1024] {
        if mib > most_mib {
            break;
        }
        let folder = folder.join(format!("kept-{mib}"));
        let mut took = Vec::new();
        let mut bytes = mib << 20;
        for _ in 0..RESTARTS {
            fill_and_kill(&folder, bytes);
            bytes = GROUP_BYTES;
            let started = Instant::now();
            let journal = open_large(&folder);
            runtime
                .block_on(journal.append(&lane(), &group(1, b"first")))
                .expect("there is room");
            took.push(started.elapsed());
            let stats = journal.stats();
            if took.len() == RESTARTS {
                took.sort_unstable();
                let ms = |took: Duration| took.as_secs_f64() * 1e3;
                println!(
                    "| {} MiB | {} | {:.1} ({:.1}–{:.1}) |",
                    stats.bytes >> 20,
                    stats.segments,
                    ms(took[RESTARTS / 2]),
                    ms(took[0]),
                    ms(took[RESTARTS - 1])
                );
            }
        }
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}

fn open_large(folder: &Path) -> Journal {
    let config = Config {
        max_bytes: 64 << 30,
        ..Config::default()
    };
    Journal::open(folder, config, RealFiles)
        .expect("the journal opens")
        .0
}

fn lane() -> LaneId {
    LaneId::from_stored("bench/")
}

fn group(records: usize, payload: &[u8]) -> Vec<Record> {
    let payload = Bytes::copy_from_slice(payload);
    let record = |_| Record {
        kind: 1,
        payload: payload.clone(),
    };
    (0..records).map(record).collect()
}

/// Lets a process of its own append so much, and kills it while it goes on appending.
fn fill_and_kill(folder: &Path, bytes: u64) {
    let bytes = bytes.to_string();
    let (mut child, line) = start_self(&[FILL.as_ref(), folder.as_ref(), bytes.as_ref()]);
    assert_eq!(line, FULL, "it ended by itself");
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
}

/// What the process does that is killed.
fn fill(folder: &Path, bytes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let journal = open_large(folder);
    let records = group(GROUP_RECORDS, &[7; GROUP_BYTES as usize / GROUP_RECORDS]);
    runtime.block_on(async {
        for groups in 1_u64.. {
            journal
                .append(&lane(), &records)
                .await
                .expect("there is room");
            if groups == bytes.div_ceil(GROUP_BYTES) {
                println!("{FULL}");
            }
        }
    });
}
