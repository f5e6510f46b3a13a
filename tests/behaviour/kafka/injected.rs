//! Answers that only librdkafka's mock cluster can be made to give.

use std::time::Duration;

use headgate::sink::{Accepted, Outcome, Sink as _, kafka::Config};
use headgate_sdk::status::State;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{figure, open, state};
use crate::support::{
    consumer::read_all,
    way::{Way, assert_complete, durable, numbered},
};

const TOPIC: &str = "events";

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 4, 3).unwrap();
    cluster
}

fn batch(n: u64) -> Vec<headgate_sdk::Envelope> {
    (n * 20..(n + 1) * 20).map(numbered).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retriable_answers_in_the_middle_keep_order_and_lose_nothing() {
    use RDKafkaRespErr as E;
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", TOPIC);
    let mut outcomes = Vec::new();
    for n in 0..50 {
        let answers: &[RDKafkaRespErr] = match n {
            5 => &[E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3],
            12 => &[E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND],
            20 => &[E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2],
            // What a broker with a full disk answers.
            28 => &[E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 4],
            36 => &[
                E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                E::RD_KAFKA_RESP_ERR__TRANSPORT,
            ],
            _ => &[],
        };
        // Without a transactional id the mock checks no sequence numbers: a request that overtakes a refused one is taken, and
        // tells librdkafka that the refused one was written. A real broker refuses both. So nothing else is on its way here.
        let alone = !answers.is_empty() || n == 24;
        if alone {
            all_durable(&mut outcomes).await;
        }
        cluster.request_errors(RDKafkaApiKey::Produce, answers);
        if n == 24 {
            for partition in 0..4 {
                cluster
                    .partition_leader(TOPIC, partition, Some(1 + (partition + 1) % 3))
                    .unwrap();
            }
        }
        outcomes.push(way.send(batch(n)).await);
        if alone {
            all_durable(&mut outcomes).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    all_durable(&mut outcomes).await;
    state(&sink, |state| *state == State::Ready).await;
    sink.close().await;
    assert_complete(&read_all(&brokers, TOPIC, "read_uncommitted"), 0..1000);
    assert!(way.letters.all().await.is_empty());
}

async fn all_durable(outcomes: &mut Vec<Accepted>) {
    for outcome in outcomes.drain(..) {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_authorisation_waits_says_so_and_goes_on_once_granted() {
    use RDKafkaRespErr as E;
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", TOPIC);
    way.deliver(batch(0)).await;
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 12],
    );
    let outcome = way.send(batch(1)).await;
    let shown = state(&sink, |state| matches!(state, State::Waiting(_))).await;
    assert!(shown.reason().unwrap().contains("grant WRITE"), "{shown:?}");
    let later = way.send(batch(2)).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    assert!(matches!(durable(later).await, Outcome::Durable));
    state(&sink, |state| *state == State::Ready).await;
    assert!(sink.status().warnings().is_empty());
    let refused = Some(("error", "TopicAuthorizationFailed"));
    assert!(figure(&sink, "headgate_kafka_errors_total", refused) > 0.0);
    assert!(figure(&sink, "headgate_sink_retries_total", None) > 0.0);
    sink.close().await;
    assert_complete(&read_all(&brokers, TOPIC, "read_uncommitted"), 0..60);
    assert!(way.letters.all().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_broker_will_never_take_becomes_a_dead_letter() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", TOPIC);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        // Once more when it is sent alone.
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 2],
    );
    way.deliver(vec![numbered(0)]).await;
    way.deliver(vec![numbered(1)]).await;
    sink.close().await;
    let letters = way.letters.all().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].envelope.id.as_str(), letters[0].reason.as_str()),
        ("0", "refused_by_broker")
    );
    assert_complete(&read_all(&brokers, TOPIC, "read_uncommitted"), 1..2);
}
