//! How the journal behaves, on the simulated disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_sdk::LaneId;
use parking_lot::Mutex;

use super::{Config, Entry, Journal, JournalError, LaneReader, Record};
use crate::segment::Sequence;
use crate::segment::sim::{Fault, Rng, SimFiles};

fn small() -> Config {
    Config {
        max_bytes: 256 << 10,
        segment_bytes: 16 << 10,
        lane_queue_bytes: 2 << 10,
    }
}

fn open(files: &SimFiles) -> Journal {
    Journal::open(Path::new("/journal"), small(), files.clone())
        .unwrap()
        .0
}

fn lane(name: &str) -> LaneId {
    LaneId::from_stored(name)
}

fn record(n: u64, length: usize) -> Record {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(length.max(8), 7);
    Record {
        kind: 1,
        payload: payload.into(),
    }
}

fn number(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.payload[..8].try_into().unwrap())
}

async fn put(journal: &Journal, lane: &LaneId, n: u64) -> Sequence {
    journal.append(lane, &[record(n, 300)]).await.unwrap().start
}

/// Reads until `count` records have come.
async fn take(reader: &mut LaneReader, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let some = reader.next(500).await.unwrap();
        assert!(!some.is_empty(), "the journal ended early");
        entries.extend(some);
    }
    assert_eq!(entries.len(), count);
    entries
}

#[tokio::test]
async fn each_lane_reads_its_own_records_in_order() {
    let files = SimFiles::new();
    let journal = open(&files);
    let (a, b) = (lane("a/"), lane("b/"));
    let (mut reading_a, mut reading_b) = (journal.reader(&a, 1), journal.reader(&b, 1));
    for n in 0..50 {
        put(&journal, if n % 2 == 0 { &a } else { &b }, n).await;
    }
    let from_a: Vec<_> = take(&mut reading_a, 25).await.iter().map(number).collect();
    let from_b: Vec<_> = take(&mut reading_b, 25).await.iter().map(number).collect();
    assert!(from_a.into_iter().eq((0..50).step_by(2)));
    assert!(from_b.into_iter().eq((1..50).step_by(2)));
}

#[tokio::test]
async fn a_reader_that_fell_behind_goes_on_from_disk_and_then_from_memory_again() {
    let files = SimFiles::new();
    let journal = open(&files);
    let (a, other) = (lane("a/"), lane("other/"));
    let mut reader = journal.reader(&a, 1);
    for round in 0..5 {
        // Far more than a lane's queue holds.
        for n in 0..40 {
            put(&journal, &a, round * 40 + n).await;
            put(&journal, &other, 0).await;
        }
        let entries = take(&mut reader, 40).await;
        assert!(entries.iter().map(number).eq(round * 40..round * 40 + 40));
        let last = entries.last().unwrap().sequence;
        journal.release(&a, last);
        journal.release(&other, last);
    }
    let waiting = tokio::spawn(async move { reader.next(500).await.unwrap() });
    put(&journal, &a, 999).await;
    assert_eq!(number(&waiting.await.unwrap()[0]), 999);
}

#[tokio::test]
async fn a_lane_that_stands_still_holds_segments_and_not_the_other_lane_restart_included() {
    let files = SimFiles::new();
    let (slow, quick) = (lane("slow/"), lane("quick/"));
    let mut position = 1;
    let first_slow;
    {
        let journal = open(&files);
        let mut reader = journal.reader(&quick, 1);
        let _slow = journal.reader(&slow, 1);
        first_slow = put(&journal, &slow, 1).await;
        for n in 0..200 {
            put(&journal, &quick, n).await;
            let entry = &take(&mut reader, 1).await[0];
            assert_eq!(number(entry), n);
            position = entry.sequence + 1;
            journal.release(&quick, entry.sequence);
        }
        let held = journal.stats();
        assert!(held.segments > 3, "the slow lane holds: {held:?}");
        // As after kill -9: nothing is closed.
        std::mem::forget(journal);
    }
    let journal = open(&files);
    let lanes = journal.lanes();
    assert_eq!(
        lanes
            .iter()
            .find(|found| found.id == slow)
            .unwrap()
            .pending_from,
        Some(first_slow)
    );
    let mut reader = journal.reader(&quick, position);
    let mut reading_slow = journal.reader(&slow, 1);
    put(&journal, &quick, 1000).await;
    assert_eq!(number(&take(&mut reader, 1).await[0]), 1000);
    let entry = take(&mut reading_slow, 1).await.remove(0);
    assert_eq!((entry.sequence, number(&entry)), (first_slow, 1));

    journal.release(&quick, position + 1);
    journal.release(&slow, entry.sequence);
    while journal.stats().segments > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lanes_that_keep_up_let_every_segment_go() {
    let journal = open(&SimFiles::new());
    let lanes = [lane("hooks"), lane("forms")];
    // Several times of what the journal may hold.
    for n in 0..4_000 {
        let lane = &lanes[n as usize % 2];
        let sequence = put(&journal, lane, n).await;
        journal.release(lane, sequence);
    }
    assert!(journal.stats().segments <= 2, "{:?}", journal.stats());
}

#[tokio::test]
async fn lanes_of_sources_that_are_gone_are_known_and_hold_their_records() {
    let files = SimFiles::new();
    let gone = lane("gone/x@i1");
    {
        let journal = open(&files);
        for n in 0..5 {
            put(&journal, &gone, n).await;
        }
        let busy = lane("busy/");
        let mut reader = journal.reader(&busy, 1);
        for n in 0..200 {
            put(&journal, &busy, n).await;
            let entry = take(&mut reader, 1).await.remove(0);
            journal.release(&busy, entry.sequence);
        }
        journal.close();
    }
    let journal = open(&files);
    let lanes = journal.lanes();
    assert_eq!(lanes.len(), 1, "{lanes:?}");
    assert_eq!(
        (&lanes[0].id, lanes[0].pending_from, lanes[0].last),
        (&gone, Some(1), 5)
    );
    let mut reader = journal.reader(&gone, lanes[0].pending_from.unwrap());
    assert!(take(&mut reader, 5).await.iter().map(number).eq(0..5));
}

#[tokio::test]
async fn a_full_journal_refuses_and_never_deletes() {
    let files = SimFiles::new();
    let journal = open(&files);
    let a = lane("a/");
    let mut reader = journal.reader(&a, 1);
    let mut stored = 0;
    let error = loop {
        match journal.append(&a, &[record(stored, 1000)]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Full(_)), "{error}");
    assert!(journal.health().is_err() || stored > 0);
    let entries = take(&mut reader, stored as usize).await;
    assert!(entries.iter().map(number).eq(0..stored));
    journal.release(&a, entries[entries.len() / 2].sequence);
    while let Err(error) = journal.append(&a, &[record(stored, 1000)]).await {
        assert!(matches!(error, JournalError::Full(_)), "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_failed_disk_ends_readers_and_refuses_appends() {
    let files = SimFiles::new();
    let journal = open(&files);
    let a = lane("a/");
    let mut reader = journal.reader(&a, 1);
    put(&journal, &a, 1).await;
    files.inject(Some(Fault::SyncFails));
    let error = journal.append(&a, &[record(2, 10)]).await.unwrap_err();
    assert!(matches!(error, JournalError::Failed(_)), "{error}");
    assert_eq!(number(&take(&mut reader, 1).await[0]), 1);
    assert!(reader.next(100).await.unwrap().is_empty());
    assert!(journal.health().is_err());
}

#[tokio::test]
async fn a_cursor_beyond_a_lost_end_skips_nothing_that_comes_later() {
    let files = SimFiles::new();
    let a = lane("a/");
    {
        let journal = open(&files);
        put(&journal, &a, 1).await;
    }
    let journal = open(&files);
    // The checkpoint knows more than the journal: somebody restored an older disk.
    let mut reader = journal.reader(&a, 1000);
    let sequence = put(&journal, &a, 2).await;
    assert!(sequence >= 1000);
    assert_eq!(number(&take(&mut reader, 1).await[0]), 2);
}

#[tokio::test]
async fn a_restart_after_a_crash_reads_no_more_when_more_is_kept() {
    let mut read_at_start = Vec::new();
    for records in [100, 500] {
        let files = SimFiles::new();
        let journal = open(&files);
        // Nobody is done with anything: all of it stays.
        for n in 0..records {
            put(&journal, &lane("a/"), n).await;
        }
        assert!(journal.stats().segments as u64 > records / 60);
        files.cut();
        drop(journal);
        let files = files.after_cut(&mut Rng::new(1));
        let before = files.bytes_read();
        let journal = open(&files);
        read_at_start.push(files.bytes_read() - before);
        let lanes = journal.lanes();
        assert_eq!((lanes[0].pending_from, lanes[0].last), (Some(1), records));
    }
    // The last segment and the index, each at most twice.
    assert!(
        read_at_start.iter().all(|read| *read < 3 * (16 << 10)),
        "{read_at_start:?}"
    );
}

#[tokio::test]
async fn a_scan_sees_all_lanes() {
    let files = SimFiles::new();
    let journal = open(&files);
    for n in 0..30 {
        put(&journal, &lane(&format!("l{}/", n % 3)), n).await;
    }
    let mut scan = journal.scan(1);
    let mut numbers = Vec::new();
    loop {
        let some = scan.next(1000).await.unwrap();
        if some.is_empty() {
            break;
        }
        for (id, entry) in some {
            assert_eq!(id, lane(&format!("l{}/", number(&entry) % 3)));
            numbers.push(number(&entry));
        }
    }
    assert!(numbers.into_iter().eq(0..30));
}

#[tokio::test]
async fn a_scan_goes_on_where_it_was_and_reads_nothing_again() {
    let files = SimFiles::new();
    let journal = open(&files);
    let mut scan = journal.scan(1);
    let (mut next, mut numbers) = (1, Vec::new());
    let before = files.bytes_read();
    for n in 0..60 {
        put(&journal, &lane("a/"), n).await;
        if n % 3 == 0 {
            continue;
        }
        scan.resume(next);
        // Durable before it is looked for, but not before the scan was resumed.
        let late = put(&journal, &lane("b/"), 1000 + n).await;
        loop {
            let some = scan.next(1 << 20).await.unwrap();
            let Some((_, last)) = some.last() else { break };
            next = last.sequence + 1;
            assert!(last.sequence < late);
            numbers.extend(some.iter().map(|(_, entry)| number(entry)));
        }
    }
    let expected = (0..60).flat_map(|n| [Some(n), (n % 3 != 0).then_some(1000 + n)]);
    let expected: Vec<_> = expected.flatten().collect();
    assert_eq!(numbers, expected[..expected.len() - 1]);
    let read = files.bytes_read() - before;
    assert!(read < 2 * journal.stats().bytes, "{read} bytes");
    // Whoever did not finish with what it got goes back.
    scan.resume(1);
    let again = scan.next(1 << 20).await.unwrap();
    assert_eq!(number(&again[0].1), 0);
}

/// What was promised to each lane and is not done yet.
type Promises = Arc<Mutex<BTreeMap<(u64, Sequence), u64>>>;

/// One life of the process: three lanes append and drain until the power goes. Cursors are what a checkpoint would hold.
async fn live(
    files: &SimFiles,
    promises: &Promises,
    cursors: &Arc<Mutex<[Sequence; 3]>>,
    seed: u64,
) {
    let Ok((journal, _)) = Journal::open(Path::new("/journal"), small(), files.clone()) else {
        return;
    };
    let mut readers = tokio::task::JoinSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..3_u64 {
        let id = lane(&format!("lane{n}/"));
        let from = cursors.lock()[n as usize];
        let mut reader = journal.reader(&id, from);
        let (writing, promised, writer_id) = (journal.clone(), promises.clone(), id.clone());
        let mut rng = Rng::new(seed * 3 + n);
        tasks.spawn(async move {
            let mut count = seed * 10_000;
            let mut refused = 0;
            // The lane that stands still fills the journal in the end.
            while refused < 20 {
                count += 1;
                match writing
                    .append(&writer_id, &[record(count, rng.below(900) as usize)])
                    .await
                {
                    Ok(range) => drop(promised.lock().insert((n, range.start), count)),
                    Err(JournalError::Full(_)) => {
                        refused += 1;
                        tokio::task::yield_now().await;
                    }
                    Err(_) => return,
                }
            }
        });
        let (journal, cursors, promised) = (journal.clone(), cursors.clone(), promises.clone());
        readers.spawn(async move {
            // The third lane stands still.
            if n == 2 {
                return;
            }
            loop {
                let Ok(entries) = reader.next(2000).await else {
                    return;
                };
                let Some(last) = entries.last() else { return };
                let last = last.sequence;
                let mut promised = promised.lock();
                for entry in &entries {
                    if let Some(count) = promised.remove(&(n, entry.sequence)) {
                        assert_eq!(count, number(entry));
                    }
                }
                drop(promised);
                cursors.lock()[n as usize] = last + 1;
                journal.release(&id, last);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    files.cut();
    readers.abort_all();
    while let Some(ended) = readers.join_next().await {
        if let Err(error) = ended {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

/// Whatever was promised and not read before must still come.
async fn check(
    files: &SimFiles,
    promises: &Promises,
    cursors: &[Sequence; 3],
) -> Result<(), String> {
    let (journal, _) = Journal::open(Path::new("/journal"), small(), files.clone())
        .map_err(|error| error.to_string())?;
    for n in 0..3 {
        let mut missing: BTreeMap<_, _> = promises
            .lock()
            .iter()
            .filter(|((of, _), _)| *of == n)
            .map(|((_, at), count)| (*at, *count))
            .collect();
        // What was read but became known as stored only afterwards is done.
        missing.retain(|at, _| *at >= cursors[n as usize]);
        let id = lane(&format!("lane{n}/"));
        let mut scan = journal.scan(cursors[n as usize]);
        loop {
            let some = scan.next(8000).await.map_err(|error| error.to_string())?;
            if some.is_empty() {
                break;
            }
            for (of, entry) in some {
                if of == id
                    && missing
                        .remove(&entry.sequence)
                        .is_some_and(|count| count != number(&entry))
                {
                    return Err(format!("another record at {}", entry.sequence));
                }
            }
        }
        if let Some(lost) = missing.first_key_value() {
            return Err(format!(
                "lane {n} lost {lost:?} and {} more",
                missing.len() - 1
            ));
        }
    }
    Ok(())
}

async fn survive(mut files: SimFiles, seed: u64, cuts: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed + 7);
    let promises = Promises::default();
    let cursors = Arc::new(Mutex::new([1; 3]));
    for cut in 0..cuts {
        files.cut_after(rng.below(150));
        live(&files, &promises, &cursors, seed * 100 + cut).await;
        files.cut();
        files = files.after_cut(&mut rng);
        let cursors = *cursors.lock();
        check(&files, &promises, &cursors).await?;
    }
    Ok(())
}

#[tokio::test]
async fn five_hundred_power_cuts_lose_nothing_that_was_accepted() {
    for seed in 0..100 {
        if let Err(loss) = survive(SimFiles::new(), seed, 5).await {
            panic!("seed {seed}: {loss}");
        }
    }
}

#[tokio::test]
async fn the_same_cuts_lose_accepted_records_when_syncing_is_left_out() {
    let mut lost = 0;
    for seed in 0..60 {
        lost += usize::from(survive(SimFiles::ignoring_sync(), seed, 5).await.is_err());
    }
    assert!(
        lost > 30,
        "only {lost} of 60 runs without sync lost anything"
    );
}
