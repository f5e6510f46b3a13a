//! The power goes at random moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{block_on, open, payload};
use crate::segment::sim::{Rng, SimFiles};
use crate::segment::{SegmentError, SegmentLog, Sequence};

/// What was promised: the payloads of records that were reported as stored and not released since.
#[derive(Default)]
struct Promises {
    stored: BTreeMap<Sequence, Vec<u8>>,
    released: Sequence,
    numbers: u64,
}

/// Appends from four tasks until the power goes.
fn append_until_cut(log: SegmentLog, promises: &Arc<Mutex<Promises>>, seed: u64) {
    let log = Arc::new(log);
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let (log, promises) = (log.clone(), promises.clone());
            let mut rng = Rng::new(seed * 4 + task);
            tasks.spawn(async move { append_some(&log, &promises, &mut rng).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
}

async fn append_some(log: &SegmentLog, promises: &Mutex<Promises>, rng: &mut Rng) {
    loop {
        let records: Vec<_> = (0..1 + rng.below(4))
            .map(|_| {
                let mut promises = promises.lock();
                promises.numbers += 1;
                payload(promises.numbers, rng.below(1500) as usize)
            })
            .collect();
        match log.append(&records).await {
            Ok(sequences) => {
                let mut promises = promises.lock();
                let released = promises.released;
                let kept = sequences
                    .zip(records)
                    .filter(|(sequence, _)| *sequence > released);
                promises.stored.extend(kept);
                let first = promises.stored.keys().next().copied();
                if let Some(first) = first.filter(|_| rng.below(4) == 0) {
                    let up_to = (first + rng.below(20)).min(log.durable() - 1);
                    promises.stored = promises.stored.split_off(&(up_to + 1));
                    promises.released = promises.released.max(up_to);
                    log.release(up_to);
                }
            }
            Err(SegmentError::Full { .. }) => tokio::task::yield_now().await,
            Err(_) => return,
        }
    }
}

fn check(log: &SegmentLog, promises: &Promises) -> Result<(), String> {
    let mut reader = log.reader(promises.released + 1);
    let mut found = BTreeMap::new();
    loop {
        let records = reader.read(64 << 10).map_err(|error| error.to_string())?;
        if records.is_empty() {
            break;
        }
        for record in records {
            if found
                .insert(record.sequence, record.data.to_vec())
                .is_some()
            {
                return Err(format!("{} came twice", record.sequence));
            }
        }
    }
    for (sequence, data) in &promises.stored {
        match found.get(sequence) {
            Some(found) if found == data => {}
            Some(_) => return Err(format!("{sequence} is another record")),
            None => return Err(format!("{sequence} was lost")),
        }
    }
    if !log.corruptions().is_empty() {
        return Err(format!("a cut is no corruption: {:?}", log.corruptions()));
    }
    Ok(())
}

/// Cuts the power `cuts` times, starting again on what is left.
fn survive(mut files: SimFiles, seed: u64, cuts: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed + 1);
    let promises = Arc::new(Mutex::new(Promises::default()));
    for cut in 0..cuts {
        files.cut_after(rng.below(120));
        match open(&files) {
            Ok((log, _)) => append_until_cut(log, &promises, seed * 1000 + cut),
            Err(error) if files.is_off() => drop(error),
            Err(error) => return Err(error.to_string()),
        }
        assert!(
            files.is_off(),
            "the appenders end only when the power is off"
        );
        files = files.after_cut(&mut rng);
        let (log, _) = open(&files).map_err(|error| error.to_string())?;
        check(&log, &promises.lock())?;
    }
    Ok(())
}

#[test]
fn five_hundred_power_cuts_lose_nothing_that_was_reported_stored() {
    for seed in 0..100 {
        if let Err(loss) = survive(SimFiles::new(), seed, 5) {
            panic!("seed {seed}: {loss}");
        }
    }
}

#[test]
fn the_same_cuts_lose_records_when_syncing_is_left_out() {
    let lost = (0..100)
        .filter(|seed| survive(SimFiles::ignoring_sync(), *seed, 5).is_err())
        .count();
    assert!(
        lost > 50,
        "only {lost} of 100 runs without sync lost anything"
    );
}
