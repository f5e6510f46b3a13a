//! Appending, reading, releasing, closing.

use std::time::Duration;

use super::{block_on, open, payload, put, read_all, shared, small};
use crate::segment::sim::SimFiles;
use crate::segment::{Options, RealFiles, SegmentError, SegmentInfo, SegmentLog, releasable};

#[test]
fn records_come_back_in_order_from_memory_and_from_disk_and_after_reopening() {
    let files = SimFiles::new();
    let (log, report) = open(&files).unwrap();
    assert_eq!((report.first, report.next), (1, 1));
    for n in 1..=60 {
        assert_eq!(put(&log, &payload(n, 700)).unwrap(), n);
    }
    let check = |log: &SegmentLog| {
        for from in [1, 17, 59, 60] {
            let records = read_all(log, from);
            let expected: Vec<_> = (from..=60).map(|n| payload(n, 700)).collect();
            assert_eq!(
                records
                    .iter()
                    .map(|record| record.data.to_vec())
                    .collect::<Vec<_>>(),
                expected
            );
            assert!(records.iter().map(|record| record.sequence).eq(from..=60));
        }
        assert!(read_all(log, 61).is_empty());
    };
    check(&log);
    log.close();
    let (log, report) = open(&files).unwrap();
    assert_eq!((report.first, report.next), (1, 61));
    assert!(report.scanned_bytes <= small().segment_bytes);
    check(&log);
}

#[test]
fn what_is_appended_together_is_committed_together_and_many_appends_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SegmentLog::open(
        dir.path(),
        Options {
            segment_bytes: 4 << 20,
            ..small()
        },
        RealFiles,
    )
    .unwrap();
    let log = shared(log);
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64_u64 {
            let log = log.clone();
            tasks.spawn(async move {
                for n in 0..20 {
                    let records = [payload(task, 50), payload(n, 50), payload(task, 50)];
                    let range = log.append(&records).await.unwrap();
                    assert_eq!(range.end - range.start, 3);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    let records = read_all(&log, 1);
    assert_eq!(records.len(), 64 * 20 * 3);
    for three in records.chunks(3) {
        assert_eq!(
            three[0].data, three[2].data,
            "the records of one append stay together"
        );
    }
}

#[test]
fn a_reader_waits_for_more() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    let mut reader = log.reader(1);
    block_on(async {
        let waiting = tokio::spawn(async move {
            let records = reader.next(1000).await.unwrap();
            (records, reader)
        });
        log.append(&[b"first".to_vec()]).await.unwrap();
        let (records, mut reader) = waiting.await.unwrap();
        assert_eq!(&records[0].data[..], b"first");
        let closing = tokio::task::spawn_blocking(move || log.close());
        assert!(reader.next(1000).await.unwrap().is_empty());
        closing.await.unwrap();
    });
}

#[test]
fn a_full_log_refuses_until_something_is_released_and_never_reads_old_content_again() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    for round in 0..10 {
        let error = loop {
            if let Err(error) = put(&log, &payload(round, 900)) {
                break error;
            }
        };
        assert!(matches!(error, SegmentError::Full { .. }), "{error}");
        let durable = log.durable();
        let records = read_all(&log, 1);
        assert_eq!(records.last().unwrap().sequence, durable - 1);
        assert!(
            records
                .iter()
                .map(|record| record.sequence)
                .eq(records[0].sequence..durable)
        );
        block_on(async {
            let room = log.room();
            log.release(durable - 1);
            room.await;
        });
    }
    assert!(log.stats().bytes <= small().max_total_bytes);
    assert!(log.corruptions().is_empty());
    drop(log);
    let (log, report) = open(&files).unwrap();
    assert!(report.corruptions.is_empty());
    assert!(log.corruptions().is_empty());
}

#[test]
fn a_reader_of_a_released_segment_goes_on_at_the_oldest_record() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    for n in 1..=60 {
        put(&log, &payload(n, 900)).unwrap();
    }
    let mut reader = log.reader(1);
    assert_eq!(reader.read(1).unwrap()[0].sequence, 1);
    block_on(async {
        let room = log.room();
        log.release(40);
        room.await;
    });
    for n in 61..=100 {
        put(&log, &payload(n, 900)).unwrap();
    }
    let first = log.stats().first;
    assert!(first > 20 && first <= 41, "{first}");
    let rest: Vec<_> = std::iter::from_fn(|| reader.read(500).unwrap().pop()).collect();
    assert_eq!(rest.last().unwrap().sequence, 100);
    for record in rest {
        assert_eq!(
            record.data,
            payload(record.sequence, 900),
            "recycling shows through"
        );
    }
}

#[test]
fn too_large_is_refused_and_large_goes_alone() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    assert!(matches!(
        put(&log, &[0; 16 << 10]).unwrap_err(),
        SegmentError::TooLarge { .. }
    ));
    assert_eq!(put(&log, &[7; 11 << 10]).unwrap(), 1);
    assert_eq!(read_all(&log, 1)[0].data.len(), 11 << 10);
}

#[test]
fn appending_nothing_is_fine() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    assert_eq!(block_on(log.append::<Vec<u8>>(&[])).unwrap(), 1..1);
}

#[test]
fn sequences_can_be_skipped_over() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    put(&log, b"one").unwrap();
    log.skip_to(100);
    assert_eq!(put(&log, b"two").unwrap(), 100);
    assert_eq!(put(&log, b"three").unwrap(), 101);
    drop(log);
    let (log, report) = open(&files).unwrap();
    assert_eq!(report.next, 102);
    assert_eq!(read_all(&log, 2).len(), 2);
}

#[test]
fn rolling_completes_a_segment_once() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    put(&log, b"one").unwrap();
    log.roll();
    put(&log, b"two").unwrap();
    log.roll();
    log.roll();
    put(&log, b"three").unwrap();
    let segments: Vec<_> = log
        .segments()
        .unwrap()
        .iter()
        .map(|segment| segment.first)
        .collect();
    // A roll that races with an append comes before or after it, never twice.
    assert!(segments.len() <= 3 && segments.is_sorted(), "{segments:?}");
    assert_eq!(read_all(&log, 1).len(), 3);
}

#[test]
fn retention_goes_by_age_and_size_and_never_beyond_what_is_kept() {
    let segment = |first, created_ms| SegmentInfo {
        first,
        bytes: 10,
        created_ms,
    };
    let segments = [
        segment(1, 1000),
        segment(11, 2000),
        segment(21, 3000),
        segment(31, 4000),
    ];
    let age = |ms| Some(Duration::from_millis(ms));
    assert_eq!(releasable(&segments, 5000, age(10_000), None, 99), None);
    assert_eq!(releasable(&segments, 5000, age(2500), None, 99), Some(10));
    assert_eq!(releasable(&segments, 5000, age(500), None, 99), Some(30));
    assert_eq!(releasable(&segments, 5000, age(500), None, 21), Some(20));
    assert_eq!(releasable(&segments, 5000, None, Some(25), 99), Some(20));
    assert_eq!(releasable(&segments, 5000, None, Some(5), 99), Some(30));
    assert_eq!(releasable(&segments, 5000, None, None, 99), None);
}
