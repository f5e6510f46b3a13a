//! Transactions end where the sources' own end.

use std::time::Duration;

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::config::HumanDuration;

use super::{Place, config, group};
use crate::{
    kafka::{brokers, topic},
    support::{
        consumer::read_all,
        way::{Way, assert_complete, durable, numbered},
    },
};

/// Events of one transaction of the source, and of one of its batches.
const AT_ONCE: u64 = 50;
const BATCH: u64 = 10;
/// Transactions of the source.
const COMMITS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_committed_at_once_is_in_one_transaction() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[]).await;
    let place = Place::new(&group);
    let mut settings = config(&brokers);
    // A batch is enough for a commit. A source that gives nothing for as long as `interval` counts as silent, even on a busy machine.
    settings.transactions.bytes = "1KB".parse().unwrap();
    settings.transactions.interval = HumanDuration::new(Duration::from_secs(15));
    let sink = place.sink(settings);
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let end = COMMITS * AT_ONCE;
    let mut outcomes = Vec::new();
    for from in (0..end).step_by(usize::try_from(BATCH).unwrap()) {
        let to = from + BATCH;
        let events = (from..to).map(numbered).collect();
        outcomes.push(way.send_at(events, to, !to.is_multiple_of(AT_ONCE)).await);
    }
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    sink.close().await;

    // Where a restart could have resumed: nowhere inside.
    let checkpoints = read_all(&brokers, &format!("{group}.checkpoints"), "read_committed");
    let positions: Vec<u64> = checkpoints
        .iter()
        .filter(|found| found.key.as_ref().is_some_and(|key| key.starts_with("p:")))
        .map(|found| serde_json::from_slice(found.value.as_ref().unwrap()).unwrap())
        .collect();
    let ends: Vec<u64> = (1..=COMMITS).map(|n| n * AT_ONCE).collect();
    assert_eq!(positions, ends);
    // What ends a transaction of Kafka takes an offset in the partition: a reader that stops anywhere has all of it, or nothing.
    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..end), 0);
    for at_once in found.chunks(usize::try_from(AT_ONCE).unwrap()) {
        let offsets = at_once.iter().map(|record| record.offset);
        let first = at_once[0].offset;
        assert!(offsets.eq(first..first + at_once.len() as i64));
    }
}
