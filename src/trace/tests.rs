//! The ledger, and what is found.

use headgate_sdk::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Config, Ledger, Run};
use crate::sink::Landed;

fn run(lane: &str, number: u64, attempts: u32) -> Run {
    let mut landed = Landed::default();
    landed.add("t", 0, number as i64);
    Run {
        lane: lane.into(),
        sink: "main".into(),
        first: number,
        last: number,
        batches: 1,
        events: 10,
        attempts,
        refused: 0,
        begun_ms: number as i64 * 10,
        durable_ms: number as i64 * 10 + 5,
        landed,
    }
}

async fn written(ledger: &Ledger, runs: tokio::sync::mpsc::Receiver<Run>) -> Vec<Run> {
    let stop = CancellationToken::new();
    stop.cancel();
    ledger.clone().write(runs, stop).await;
    all(ledger).await
}

async fn all(ledger: &Ledger) -> Vec<Run> {
    let mut found = Vec::new();
    ledger.each(|run| found.push(run)).await.unwrap();
    found
}

#[tokio::test]
async fn smooth_batches_share_an_entry_and_troubled_ones_have_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, runs) = Ledger::open(dir.path(), Config::default()).unwrap();
    for number in 1..=4 {
        ledger.note(run("a", number, 1));
        ledger.note(run("b", number, 1));
    }
    ledger.note(run("a", 5, 3));
    ledger.note(run("a", 6, 1));
    ledger.note(run("a", 7, 1));
    let found = written(&ledger, runs).await;
    let told: Vec<_> = found
        .iter()
        .map(|run| {
            (
                run.lane.as_str(),
                run.first,
                run.last,
                run.attempts,
                run.events,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", 1, 4, 1, 40),
            ("b", 1, 4, 1, 40),
            ("a", 5, 5, 3, 10),
            ("a", 6, 7, 1, 20)
        ]
    );
    assert_eq!((found[0].begun_ms, found[0].durable_ms), (10, 45));
    let stretch = &found[0].landed.topics[0];
    assert_eq!((stretch.first, stretch.last), (1, 4));
}

#[tokio::test]
async fn the_ledger_is_bounded_by_size_and_age_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config: Config =
        serde_json::from_str(r#"{"max_bytes": "9MB", "retention": "1h"}"#).unwrap();
    let mut kept = 0;
    for start in 0..4 {
        let (ledger, mut runs) = Ledger::open(dir.path(), config.clone()).unwrap();
        for round in 0..5 {
            for number in 0..8_000 {
                // None of them can be joined.
                ledger.note(run("a", start * 100_000 + round * 10_000 + number, 2));
            }
            ledger.write_noted(&mut runs).await.unwrap();
        }
        kept = all(&ledger).await.len();
        assert!(ledger.bytes() < 24 << 20, "{}", ledger.bytes());
    }
    assert!(kept > 8_000 && kept < 160_000, "{kept}");

    let (ledger, _runs) = Ledger::open(dir.path(), config).unwrap();
    let much_later = Timestamp::now() + jiff::SignedDuration::from_hours(3);
    ledger.retain(much_later).await.unwrap();
    while all(&ledger).await.len() == kept {
        tokio::task::yield_now().await;
    }
}
