//! Brokers and coordinators that fail in the middle of transactions.

use headgate::sink::{
    Outcome, Sink as _,
    kafka::{Mechanism, Sasl},
};
use headgate_sdk::{
    LaneId,
    config::{HumanDuration, Secret},
    status::State,
};
use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    types::{RDKafkaApiKey, RDKafkaRespErr as E},
};

use super::{Place, config, group, send_ten};
use crate::{
    kafka::{brokers, counted, figure, state, topic},
    support::{
        broker::OwnBroker,
        consumer::read_all,
        gateway::DEADLINE,
        kafka_tools, server,
        way::{Way, assert_complete, durable, numbered},
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
            60 => {
                let shown = state(&sink, |state| matches!(state, State::Waiting(_))).await;
                let reason = shown.reason().unwrap();
                let said = [
                    "no broker answers",
                    "waiting for the transaction coordinator",
                ];
                assert!(said.iter().any(|said| reason.contains(said)), "{reason}");
                broker.start_again();
            }
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
    state(&sink, |state| *state == State::Ready).await;
    counted(&sink, "headgate_kafka_errors_total", None).await;
    sink.close().await;
    let found = read_all(&broker.brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..1000), 0);
}

/// One batch of a lane cannot be written for a while; those behind it are with the shard already, and could be.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_batch_that_failed_waits_in_the_shard_until_that_one_is_written() {
    let (brokers, group) = (brokers(), group());
    let (open, closed) = (topic(&brokers, 1, &[]).await, topic(&brokers, 1, &[]).await);
    let grant = |operation: &str| {
        format!(
            "kafka-acls.sh --add --allow-principal User:restricted --operation {operation} --topic {closed}"
        )
    };
    // Whoever is named for one thing may do nothing else.
    kafka_tools::run(&brokers, &grant("Describe")).await;
    let place = Place::new(&group);
    let mut settings = config(&server("KAFKA_SASL_PLAINTEXT_BROKERS", "kafka"));
    settings.sasl = Some(Sasl {
        mechanism: Mechanism::Plain,
        username: "restricted".to_owned(),
        password: Secret::new(server("KAFKA_PASSWORD", "kafka")),
    });
    // Transactions of few batches, so that many wait behind the one that fails.
    settings.transactions.interval = HumanDuration::new(std::time::Duration::from_millis(1));
    let sink = place.sink(settings);
    place.resumes(&sink, "numbers/").await;
    let mut way = Way::new(sink.clone(), "numbers/", "{subject}");
    let mut outcomes = Vec::new();
    for n in 0..60 {
        let topic = if n == 20 { &closed } else { &open };
        let events = (n * 10..n * 10 + 10).map(|n| {
            let mut event = numbered(n);
            event.subject = Some(topic.as_str().into());
            event
        });
        outcomes.push(way.send_at(events.collect(), n * 10 + 10, false).await);
    }
    let says = |state: &State| {
        state
            .reason()
            .is_some_and(|text| text.contains("grant WRITE"))
    };
    state(&sink, says).await;
    let warned = sink.status().warnings();
    assert!(warned[&format!("topic {closed}")].contains("grant WRITE"));
    // All before it comes through, and nothing behind it, however often the shard has both.
    let lane = LaneId::from_stored("numbers/");
    let began = std::time::Instant::now();
    while place.position(&lane).await < 200 {
        assert!(
            began.elapsed() < DEADLINE,
            "stays at {}",
            place.position(&lane).await
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let found = read_all(&brokers, &open, "read_committed");
    assert_eq!(assert_complete(&found, 0..200), 0, "only what is before it");
    assert_eq!(place.position(&lane).await, 200);

    kafka_tools::run(&brokers, &grant("Write")).await;
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    sink.close().await;
    let mut found = read_all(&brokers, &open, "read_committed");
    let behind = found.split_off(200);
    assert_eq!(assert_complete(&found, 0..200), 0);
    assert_eq!(assert_complete(&behind, 210..600), 0);
    let late = read_all(&brokers, &closed, "read_committed");
    assert_eq!(assert_complete(&late, 200..210), 0);
    assert!(sink.status().warnings().is_empty());
    let aborted = Some(("result", "aborted"));
    assert!(figure(&sink, "headgate_kafka_transactions_total", aborted) > 0.0);
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
    state(&sink, |state| *state == State::Ready).await;
    let aborted = Some(("result", "aborted"));
    assert!(figure(&sink, "headgate_kafka_transactions_total", aborted) >= 2.0);
    sink.close().await;
    assert_complete(&read_all(&brokers, "events", "read_uncommitted"), 0..400);
    assert!(place.letters.all().await.is_empty());
}
