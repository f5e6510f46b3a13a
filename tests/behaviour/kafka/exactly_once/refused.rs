//! Records that a topic never takes, in a transaction.

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::{Data, Envelope, LaneId};

use super::{Place, config, group, send_ten};
use crate::{
    kafka::{brokers, topic},
    support::{
        consumer::{Found, read_all},
        gateway::DEADLINE,
        way::{Way, durable, numbered},
    },
};

/// Everything but `missing`, once each.
fn assert_all_but(found: &[Found], end: u64, missing: &[u64]) {
    let mut numbers: Vec<u64> = found
        .iter()
        .map(|record| record.event().id.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..end).filter(|n| !missing.contains(n)).collect();
    assert_eq!(numbers, expected);
}

async fn assert_buried(place: &Place, way: &Way, reason: &str, ids: &[&str]) {
    let first: Vec<_> = place.letters.all().await;
    let letters: Vec<_> = first
        .iter()
        .map(|l| (l.envelope.id.as_str(), l.reason.as_str()))
        .collect();
    let expected: Vec<_> = ids.iter().map(|id| (*id, reason)).collect();
    assert_eq!(letters, expected, "durable before the commit");
    // The layer in front hears of them too: the same letters, in the place of the first.
    let second = way.letters.all().await;
    assert_eq!(second.len(), ids.len());
    assert!(second.iter().zip(&first).all(|(a, b)| a.step == b.step));
}

/// Bytes that no compression makes smaller.
fn large(number: u64) -> Envelope {
    let mut event = numbered(number);
    let mut random = fastrand::Rng::with_seed(number);
    event.data = Data::opaque((0..8000).map(|_| random.u8(..)).collect::<Vec<u8>>());
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_becomes_a_dead_letter_and_all_others_are_there_once() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[("max.message.bytes", "6000")]).await;
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let before = send_ten(&mut way, 0).await;
    let events = (10..30).map(|n| {
        if n == 13 || n == 27 {
            large(n)
        } else {
            numbered(n)
        }
    });
    let outcome = way.send_at(events.collect(), 30, false).await;
    let after = send_ten(&mut way, 30).await;
    for outcome in [before, outcome, after] {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 40);
    sink.close().await;
    assert_all_but(&read_all(&brokers, &topic, "read_committed"), 40, &[13, 27]);
    assert_buried(&place, &way, "too_large", &["13", "27"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_topics_rules_refuse_becomes_a_dead_letter() {
    let (brokers, group) = (brokers(), group());
    // A compacted topic takes no record without a key.
    let topic = topic(&brokers, 1, &[("cleanup.policy", "compact")]).await;
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let events = (0..10).map(|n| {
        let mut event = numbered(n);
        event.partitionkey = if n == 4 {
            None
        } else {
            Some(format!("key-{n}").into())
        };
        event
    });
    let outcome = way.send_at(events.collect(), 10, false).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    sink.close().await;
    assert_all_but(&read_all(&brokers, &topic, "read_committed"), 10, &[4]);
    assert_buried(&place, &way, "refused_by_broker", &["4"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_for_a_topic_that_is_not_there_become_dead_letters_with_the_checkpoint() {
    let (brokers, group) = (brokers(), group());
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &crate::support::unique("nowhere"));
    let outcome = way.send_at(vec![numbered(0)], 1, false).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 1);
    sink.close().await;
    assert_buried(&place, &way, "unknown_topic", &["0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_dead_letters_hold_up_their_lane_and_no_other_of_the_shard() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[("max.message.bytes", "6000")]).await;
    let place = Place::new(&group);
    place.letters.be_full(true);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let mut other = Way::new(sink.clone(), "others/", &topic);
    let waits = way.send_at(vec![numbered(0), large(1)], 2, false).await;
    let waits = tokio::spawn(durable(waits));
    let behind = way.send_at(vec![numbered(2)], 3, false).await;
    let behind = tokio::spawn(durable(behind));
    let shown = || sink.status().warnings().into_values().collect::<String>();
    let began = std::time::Instant::now();
    let mut n = 100;
    // What is in one transaction with those that wait goes on without them; often, for the chance that it is.
    while n < 150 || !shown().contains("dead letters cannot be stored") {
        assert!(began.elapsed() < DEADLINE, "nothing is shown");
        let outcome = other.send_at(vec![numbered(n)], n + 1, false).await;
        assert!(matches!(durable(outcome).await, Outcome::Durable));
        n += 1;
    }
    assert!(!waits.is_finished() && !behind.is_finished());
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 0);
    place.letters.be_full(false);
    assert!(matches!(waits.await.unwrap(), Outcome::Durable));
    assert!(matches!(behind.await.unwrap(), Outcome::Durable));
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 3);
    assert_eq!(shown(), "");
    sink.close().await;
    let found = read_all(&brokers, &topic, "read_committed");
    let missing: Vec<u64> = (1..2).chain(3..100).collect();
    assert_all_but(&found, n, &missing);
    assert_buried(&place, &way, "too_large", &["1"]).await;
}
