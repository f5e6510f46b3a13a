//! How the log behaves, on the simulated disk unless it says otherwise.

mod codec;
mod damage;
mod flow;
mod power;

use std::path::Path;
use std::sync::Arc;

use super::sim::SimFiles;
use super::{Options, Record, RecoveryReport, SegmentError, SegmentLog, Sequence};

/// Segments of 16 KiB, at most 16 of them.
fn small() -> Options {
    Options {
        segment_bytes: 16 << 10,
        max_total_bytes: 256 << 10,
        max_group_bytes: 6 << 10,
        max_pending_bytes: 20 << 10,
        tail_bytes: 8 << 10,
        spare_segments: 2,
        ..Options::new("test log")
    }
}

fn open(files: &SimFiles) -> Result<(SegmentLog, RecoveryReport), SegmentError> {
    SegmentLog::open(Path::new("/log"), small(), files.clone())
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Appends one record and waits for it.
fn put(log: &SegmentLog, data: &[u8]) -> Result<Sequence, SegmentError> {
    block_on(log.append(&[data.to_vec()])).map(|range| range.start)
}

fn read_all(log: &SegmentLog, from: Sequence) -> Vec<Record> {
    let mut reader = log.reader(from);
    let mut all = Vec::new();
    loop {
        let some = reader.read(4 << 10).unwrap();
        if some.is_empty() {
            assert!(reader.is_at_end());
            return all;
        }
        all.extend(some);
    }
}

fn payload(n: u64, length: usize) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(length.max(8), n as u8);
    bytes
}

fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
