//! Torn ends, corruption, and failing disks.

use std::path::{Path, PathBuf};

use super::{block_on, open, payload, put, read_all, small};
use crate::segment::frame::FRAME_HEADER_BYTES;
use crate::segment::header::HEADER_BYTES;
use crate::segment::sim::{Fault, SimFiles};
use crate::segment::{SegmentError, SegmentLog};

fn filled(files: &SimFiles, records: u64) {
    let (log, _) = open(files).unwrap();
    for n in 1..=records {
        assert_eq!(put(&log, &payload(n, 1000)).unwrap(), n);
    }
}

fn segments(files: &SimFiles) -> Vec<PathBuf> {
    let mut paths = files.paths();
    paths.retain(|path| path.parent() == Some(Path::new("/log")));
    paths.retain(|path| !path.to_string_lossy().contains("spare"));
    paths
}

/// Where the `n`th frame of a segment of 1000-byte records begins, counted from 0.
fn frame_at(n: usize) -> usize {
    HEADER_BYTES as usize + n * (FRAME_HEADER_BYTES + 4 + 1000usize).next_multiple_of(8)
}

#[test]
fn a_torn_frame_at_the_end_is_dropped_and_its_sequence_is_given_again() {
    let files = SimFiles::new();
    filled(&files, 5);
    files.edit(&segments(&files)[0], |bytes| bytes[frame_at(4) + 500] ^= 1);
    let (log, report) = open(&files).unwrap();
    assert_eq!(report.torn_bytes, 1044);
    assert!(report.corruptions.is_empty());
    assert_eq!(read_all(&log, 1).len(), 4);
    assert_eq!(put(&log, b"again").unwrap(), 5);
    assert_eq!(&read_all(&log, 5)[0].data[..], b"again");
}

#[test]
fn a_bad_frame_before_a_valid_one_is_copied_aside_reported_and_skipped() {
    let files = SimFiles::new();
    filled(&files, 5);
    files.edit(&segments(&files)[0], |bytes| {
        bytes[frame_at(2) + 20..frame_at(3) - 20].fill(0xEE)
    });
    let (log, report) = open(&files).unwrap();
    let [found] = &report.corruptions[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        (found.offset, found.missing.clone()),
        (frame_at(2) as u64, 3..4)
    );
    let kept = found.kept_at.clone().unwrap();
    assert!(files.paths().contains(&kept));
    let sequences: Vec<_> = read_all(&log, 1)
        .iter()
        .map(|record| record.sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 4, 5]);
    assert_eq!(put(&log, b"on").unwrap(), 6);
}

#[test]
fn damage_in_an_older_segment_is_found_when_it_is_read() {
    let files = SimFiles::new();
    filled(&files, 40);
    let older = segments(&files)[1].clone();
    files.edit(&older, |bytes| bytes[frame_at(0)..frame_at(2)].fill(0));
    let (log, report) = open(&files).unwrap();
    assert!(report.corruptions.is_empty());
    let sequences: Vec<_> = read_all(&log, 1)
        .iter()
        .map(|record| record.sequence)
        .collect();
    let [found] = &log.corruptions()[..] else {
        panic!("{:?}", log.corruptions())
    };
    assert_eq!(found.segment, older);
    assert_eq!(found.missing.end - found.missing.start, 2);
    let expected: Vec<_> = (1..=40).filter(|n| !found.missing.contains(n)).collect();
    assert_eq!(sequences, expected);
}

#[test]
fn damage_at_the_end_of_an_older_segment_is_told_from_its_unused_rest() {
    let files = SimFiles::new();
    filled(&files, 40);
    let older = segments(&files)[0].clone();
    let (log, _) = open(&files).unwrap();
    assert_eq!(read_all(&log, 1).len(), 40);
    assert!(
        log.corruptions().is_empty(),
        "an unused rest is no damage: {:?}",
        log.corruptions()
    );
    drop(log);
    let last = frame_at(
        ((small().segment_bytes as usize - frame_at(0)) / (frame_at(1) - frame_at(0))) - 1,
    );
    files.edit(&older, |bytes| bytes[last + 100] ^= 4);
    let (log, _) = open(&files).unwrap();
    assert_eq!(read_all(&log, 1).len(), 39);
    assert_eq!(log.corruptions().len(), 1);
}

#[test]
fn a_damaged_header_is_rebuilt_from_the_first_frame() {
    let files = SimFiles::new();
    filled(&files, 15);
    for segment in segments(&files) {
        files.edit(&segment, |bytes| bytes[..100].fill(0xAA));
    }
    let (log, _) = open(&files).unwrap();
    assert_eq!(read_all(&log, 1).len(), 15);
}

#[test]
fn a_last_segment_that_cannot_be_read_at_all_is_set_aside_and_no_sequence_comes_twice() {
    let files = SimFiles::new();
    filled(&files, 15);
    let last = segments(&files).pop().unwrap();
    files.edit(&last, |bytes| bytes.fill(0x55));
    let (log, report) = open(&files).unwrap();
    assert_eq!(report.corruptions.len(), 1);
    assert!(put(&log, b"new").unwrap() > 15);
    let records = read_all(&log, 1);
    assert_eq!(&records.last().unwrap().data[..], b"new");
    assert!(records.len() > 5);
}

#[test]
fn payloads_that_imitate_frames_are_never_taken_for_frames() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    put(&log, &payload(1, 1000)).unwrap();
    drop(log);
    // What an attacker would need to know: the whole frame as it lies on the disk.
    let mut stolen = Vec::new();
    files.edit(&segments(&files)[0], |bytes| {
        stolen = bytes[frame_at(0)..frame_at(1)].to_vec()
    });
    stolen[0] ^= 0xFF;
    let (log, _) = open(&files).unwrap();
    put(&log, &stolen).unwrap();
    drop(log);
    files.edit(&segments(&files)[0], |bytes| bytes[frame_at(1)] ^= 1);
    let (log, report) = open(&files).unwrap();
    assert!(report.corruptions.is_empty());
    assert_eq!(read_all(&log, 1).len(), 1);
}

#[test]
fn after_a_failed_sync_the_log_takes_nothing_more() {
    for fault in [Fault::SyncFails, Fault::WriteFails] {
        let files = SimFiles::new();
        let (log, _) = open(&files).unwrap();
        put(&log, b"fine").unwrap();
        files.inject(Some(fault));
        let error = put(&log, b"lost").unwrap_err();
        assert!(matches!(error, SegmentError::Failed { .. }), "{error}");
        files.inject(None);
        let error = put(&log, b"refused").unwrap_err();
        assert!(matches!(error, SegmentError::Failed { .. }), "{error}");
        assert!(log.health().is_err());
        assert_eq!(read_all(&log, 1).len(), 1);
        let mut reader = log.reader(2);
        assert!(
            block_on(reader.next(100)).unwrap().is_empty(),
            "a reader learns that nothing will come"
        );
    }
}

#[test]
fn a_full_disk_refuses_records_and_takes_them_again_when_there_is_room() {
    let files = SimFiles::new();
    let (log, _) = open(&files).unwrap();
    files.limit_allocation(Some(40 << 10));
    let mut stored = 0;
    let error = loop {
        match put(&log, &payload(stored, 1000)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SegmentError::NoSpace { .. }), "{error}");
    assert!(error.is_retriable());
    let unhealthy = log.health().unwrap_err();
    assert!(
        matches!(unhealthy, SegmentError::NoSpace { .. }),
        "{unhealthy}"
    );
    files.limit_allocation(None);
    assert_eq!(put(&log, b"room again").unwrap(), stored + 1);
    log.health().unwrap();

    files.inject(Some(Fault::DiskFull));
    assert!(matches!(
        put(&log, b"x").unwrap_err(),
        SegmentError::NoSpace { .. }
    ));
    files.inject(None);
    assert_eq!(put(&log, b"room again").unwrap(), stored + 2);
    drop(log);
    let (log, report) = open(&files).unwrap();
    assert!(report.corruptions.is_empty());
    assert_eq!(read_all(&log, 1).len() as u64, stored + 2);
}

#[test]
fn an_unknown_format_is_refused_at_opening() {
    let files = SimFiles::new();
    filled(&files, 1);
    files.edit(&segments(&files)[0], |bytes| {
        bytes[8] = 9;
        bytes[12..16].fill(0);
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES as usize]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = SegmentLog::open(Path::new("/log"), small(), files.clone())
        .err()
        .unwrap();
    assert!(refused.to_string().contains("format 9"), "{refused}");
}
