//! A real broker that goes away and comes back.

use headgate::sink::{Outcome, Sink as _, kafka::Config};
use headgate_sdk::status::State;

use super::{counted, open, state, topic};
use crate::support::{
    broker::OwnBroker,
    consumer::read_all,
    way::{Way, assert_complete, durable, numbered},
};

const EVENTS: u64 = 5_000;
const BATCH: u64 = 50;

fn batch(n: u64) -> Vec<headgate_sdk::Envelope> {
    (n * BATCH..(n + 1) * BATCH).map(numbered).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_broker_is_stopped_killed_and_paused() {
    let broker = OwnBroker::start();
    let topic = topic(&broker.brokers, 3, &[]).await;
    let sink = open(Config::new(&broker.brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    let mut outcomes = Vec::new();
    let batches = EVENTS / BATCH;
    way.deliver(batch(0)).await;
    state(&sink, |state| *state == State::Ready).await;
    for n in 1..batches {
        // Every fault begins with batches on their way, and ends with batches behind it.
        match n {
            10 => broker.stop(),
            40 => {
                let shown = state(&sink, |state| matches!(state, State::Waiting(_))).await;
                assert!(
                    shown.reason().unwrap().contains("no broker answers"),
                    "{shown:?}"
                );
                let down = Some(("error", "AllBrokersDown"));
                counted(&sink, "headgate_kafka_errors_total", down).await;
                broker.start_again();
            }
            50 => broker.kill(),
            60 => broker.start_again(),
            70 => broker.pause(),
            90 => broker.resume(),
            _ => {}
        }
        outcomes.push(way.send(batch(n)).await);
    }
    for outcome in outcomes {
        assert!(matches!(durable(outcome).await, Outcome::Durable));
    }
    state(&sink, |state| *state == State::Ready).await;
    sink.close().await;
    let found = read_all(&broker.brokers, &topic, "read_committed");
    let repeats = assert_complete(&found, 0..EVENTS);
    assert_eq!(
        repeats, 0,
        "an idempotent producer that is not given up repeats nothing"
    );
    assert!(way.letters.all().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_starts_before_its_broker_delivers_once_that_is_there() {
    let broker = OwnBroker::start();
    let topic = topic(&broker.brokers, 1, &[]).await;
    broker.stop();
    let sink = open(Config::new(&broker.brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    let outcome = way.send(batch(0)).await;
    let shown = state(&sink, |state| matches!(state, State::Waiting(_))).await;
    assert!(
        shown.reason().unwrap().contains("no broker answers"),
        "{shown:?}"
    );
    let unconnected = Some(("error", "BrokerTransportFailure"));
    counted(&sink, "headgate_kafka_errors_total", unconnected).await;
    broker.start_again();
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    sink.close().await;
    assert_complete(
        &read_all(&broker.brokers, &topic, "read_committed"),
        0..BATCH,
    );
}
