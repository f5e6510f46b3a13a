//! Two with the same identity.

use std::time::Duration;

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::{LaneId, status::State};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer as _},
};

use super::{Place, config, group, send_ten, within};
use crate::{
    kafka::{brokers, counted, figure, state, topic},
    support::{
        consumer::read_all,
        way::{Way, assert_complete, durable},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_the_same_identity_one_stops_and_names_the_other() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 3, &[]).await;
    let (one, two) = (Place::new(&group), Place::new(&group));
    let first = one.sink(config(&brokers));
    let second = two.sink(config(&brokers));
    // At once: who comes last is not ours to say.
    let lane = LaneId::from_stored("numbers/");
    tokio::join!(
        async { drop(within(first.prepare(&lane, 0)).await) },
        async { drop(within(second.prepare(&lane, 0)).await) },
    );
    let mut way_of_first = Way::new(first.clone(), "numbers/", &topic);
    let mut way_of_second = Way::new(second.clone(), "numbers/", &topic);
    let of_first = tokio::spawn(durable(send_ten(&mut way_of_first, 0).await));
    let of_second = tokio::spawn(durable(send_ten(&mut way_of_second, 0).await));

    let is_held = |state: &State| matches!(state, State::Failed(_));
    let (winner, loser, mut way) = tokio::select! {
        _ = state(&first, is_held) => (&second, &first, way_of_second),
        _ = state(&second, is_held) => (&first, &second, way_of_first),
    };
    let refused = within(loser.prepare(&lane, 0)).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("shard 0 is held by instance one on host"),
        "{text}"
    );
    let warnings = loser.status().warnings();
    assert_eq!(warnings.get(&format!("{group}-0")), Some(&text));
    assert!((figure(loser, "headgate_kafka_shards_held", None) - 1.0).abs() < 0.1);
    assert!(figure(winner, "headgate_kafka_shards_held", None) < 0.1);
    // The other goes on, and nobody takes the shard from it again.
    for n in 1..20 {
        let outcome = send_ten(&mut way, n * 10).await;
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    assert!(matches!(
        loser.status().get(),
        State::Failed(_) | State::Waiting(_)
    ));
    state(winner, |state| *state == State::Ready).await;
    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..200), 0);
    of_first.abort();
    of_second.abort();
}

/// Kafka says who was fenced when that one writes, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_nothing_to_write_hears_of_the_other_too() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[]).await;
    let (one, two) = (Place::new(&group), Place::new(&group));
    let lane = LaneId::from_stored("numbers/");
    let first = one.sink(config(&brokers));
    one.resumes(&first, "numbers/").await;
    let mut way = Way::new(first.clone(), "numbers/", &topic);
    for n in 0..3 {
        let outcome = send_ten(&mut way, n * 10).await;
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    let second = two.sink(config(&brokers));
    assert_eq!(two.resumes(&second, "numbers/").await, 30);
    let reason = within(first.lost(&lane, 0)).await;
    assert!(
        reason.contains("shard 0 is held by instance one on host"),
        "{reason}"
    );
    assert!(matches!(first.status().get(), State::Failed(_)));
    // The other has it, and looks in vain.
    let lost = second.lost(&lane, 0);
    let none = tokio::time::timeout(Duration::from_secs(12), lost).await;
    assert!(none.is_err(), "{none:?}");
    let mut way = Way::new(second.clone(), "numbers/", &topic);
    let outcome = send_ten(&mut way, 30).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    second.close().await;
    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..40), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_fenced_and_finds_no_claim_but_its_own_goes_on() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 3, &[]).await;
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let outcome = send_ten(&mut way, 0).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    // What the coordinator does to a transaction that takes too long: the producer's epoch moves on.
    let passing: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("transactional.id", format!("{group}-0"))
        .create()
        .unwrap();
    passing.init_transactions(Duration::from_secs(30)).unwrap();
    for n in 1..10 {
        let outcome = send_ten(&mut way, n * 10).await;
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 100);
    counted(&sink, "headgate_kafka_errors_total", None).await;
    state(&sink, |state| *state == State::Ready).await;
    sink.close().await;
    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..100), 0);
}
