//! Brokers and coordinators that fail in the middle of transactions.

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::LaneId;
use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    types::{RDKafkaApiKey, RDKafkaRespErr as E},
};

use super::{Place, config, group, send_ten};
use crate::{
    kafka::topic,
    support::{
        broker::OwnBroker,
        consumer::read_all,
        way::{Way, assert_complete, durable},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_twice_while_the_broker_is_stopped_killed_and_paused() {
    let broker = OwnBroker::start();
    let group = group();
    let topic = topic(&broker.brokers, 3, &[]).await;
    let place = Place::new(&group);
    let sink = place.sink(config(&broker.brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let mut outcomes = Vec::new();
    for n in 0..100 {
        // Every fault begins with a transaction on its way.
        match n {
            10 => broker.kill(),
            30 => broker.start_again(),
            40 => broker.stop(),
            60 => broker.start_again(),
            70 => broker.pause(),
            90 => broker.resume(),
            _ => {}
        }
        outcomes.push(send_ten(&mut way, n * 10).await);
        if n % 10 == 5 && !(10..30).contains(&n) && !(40..60).contains(&n) && !(70..90).contains(&n)
        {
            for outcome in outcomes.drain(..) {
                assert!(matches!(durable(outcome).await, Outcome::Durable));
            }
        }
    }
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 1000);
    sink.close().await;
    let found = read_all(&broker.brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..1000), 0);
}

/// The mock shows what was aborted too, so this is about what is sent, in which order, and what the lane hears.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_comes_again_in_order_with_all_that_was_behind_it() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("events", 4, 3).unwrap();
    let group = group();
    cluster
        .create_topic(&format!("{group}.checkpoints"), 1, 3)
        .unwrap();
    let brokers = cluster.bootstrap_servers();
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", "events");
    let mut outcomes = Vec::new();
    for n in 0..40 {
        let (key, answers): (_, &[E]) = match n {
            5 => (
                RDKafkaApiKey::Produce,
                &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 4],
            ),
            10 => (
                RDKafkaApiKey::AddPartitionsToTxn,
                &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
            ),
            15 => (
                RDKafkaApiKey::EndTxn,
                &[
                    E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    E::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                ],
            ),
            20 => (
                RDKafkaApiKey::EndTxn,
                &[E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED],
            ),
            25 => (
                RDKafkaApiKey::Produce,
                &[E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 4],
            ),
            30 => {
                let moved = MockCoordinator::Transaction(format!("{group}-0"));
                cluster.coordinator(moved, 2).unwrap();
                (RDKafkaApiKey::Produce, &[])
            }
            _ => (RDKafkaApiKey::Produce, &[]),
        };
        cluster.request_errors(key, answers);
        outcomes.push(send_ten(&mut way, n * 10).await);
        if n % 5 == 4 {
            for outcome in outcomes.drain(..) {
                assert!(matches!(durable(outcome).await, Outcome::Durable));
            }
        }
    }
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    assert_eq!(place.position(&LaneId::from_stored("numbers/")).await, 400);
    sink.close().await;
    assert_complete(&read_all(&brokers, "events", "read_uncommitted"), 0..400);
    assert!(place.letters.all().await.is_empty());
}
