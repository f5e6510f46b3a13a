//! Many files at once, in bounded memory.

use std::{collections::HashSet, fs};

use serde_json::json;

use crate::support::{Bench, scaled};

/// Beyond what the process needs without files: candidates, index, and the lanes in memory, which keep every event of the test.
const BYTES_A_FILE: u64 = 6 * 1024;

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn drop_files(bench: &Bench, count: usize) {
    for n in 0..count {
        if n % 1000 == 0 {
            fs::create_dir_all(bench.path(&format!("{}", n / 1000))).unwrap();
        }
        let path = bench.path(&format!("{}/{n:06}.txt", n / 1000));
        let mut content = n.to_string();
        content.push_str(&"x".repeat(1024 - content.len()));
        fs::write(path, content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_at_once_are_all_published_once() {
    let count = scaled(10_000, 100_000);
    let bench = Bench::started(json!({ "scan_interval": "2s" }));
    let before = resident_bytes();
    drop_files(&bench, count);
    bench
        .until("all events", |bench| bench.events().len() >= count)
        .await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < 64 * 1024 * 1024 + BYTES_A_FILE * count as u64,
        "{grown} bytes"
    );
    bench.settled().await;
    let subjects: HashSet<_> = bench.subjects().into_iter().collect();
    assert_eq!((subjects.len(), bench.events().len()), (count, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_old_files_move_through_a_crash() {
    let count = scaled(5_000, 50_000);
    let mut bench = Bench::new(json!({ "afterwards": "move" }));
    drop_files(&bench, count);
    bench.start();
    bench
        .until("some events", |bench| bench.events().len() >= count / 3)
        .await;
    bench.crash().await;
    bench.start();
    bench
        .until("all events", |bench| bench.events().len() >= count)
        .await;
    bench.settled().await;
    let moved = |bench: &Bench| -> usize {
        let folders = fs::read_dir(bench.path("processed")).unwrap();
        folders
            .map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count())
            .sum()
    };
    bench
        .until("all moves", |bench| moved(bench) >= count)
        .await;
    assert_eq!((moved(&bench), bench.events().len()), (count, count));
}
