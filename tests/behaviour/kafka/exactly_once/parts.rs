//! Transactions of sources that are too large for one of Kafka's.

use std::time::Duration;

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::{
    LaneId,
    config::{ByteSize, HumanDuration},
};

use super::{Place, config, group};
use crate::{
    kafka::{brokers, topic},
    support::{
        consumer::read_all,
        way::{Way, assert_complete, durable, numbered},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_is_committed_in_parts_and_resumes_inside() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 3, &[]).await;
    let place = Place::new(&group);
    let mut settings = config(&brokers);
    settings.transactions.bytes = ByteSize::from_mb(1);
    settings.transactions.max_bytes = ByteSize::from_mb(1);
    // A source that gives nothing for so long is committed in parts too: not before it has given all of it.
    settings.transactions.interval = HumanDuration::new(Duration::from_secs(5));
    let sink = place.sink(settings);
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::of_bytes(sink.clone(), "numbers/", &topic, 64 << 20);
    let batch = |n: u64| (n * 1000..(n + 1) * 1000).map(numbered).collect::<Vec<_>>();
    // The source's transaction is not at its end, and never will be here.
    let mut outcomes = Vec::new();
    for n in 0..20 {
        outcomes.push(way.send_at(batch(n), (n + 1) * 1000, true).await);
    }
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    sink.close().await;
    let checkpoints = read_all(&brokers, &format!("{group}.checkpoints"), "read_committed");
    let is_position = |key: &String| key.starts_with("p:");
    let parts = checkpoints
        .iter()
        .filter(|found| found.key.as_ref().is_some_and(is_position));
    assert!(parts.count() > 3, "it was committed in too few parts");
    let next = Place::new(&group);
    let sink = next.sink(config(&brokers));
    assert_eq!(next.resumes(&sink, "numbers/").await, 20_000);
    sink.close().await;
    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..20_000), 0);
    assert_eq!(
        next.position(&LaneId::from_stored("numbers/")).await,
        20_000
    );
}
