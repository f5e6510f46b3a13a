//! The Kafka sink beside a bare producer of `rdkafka` with the same settings and the same bytes, against a real broker:
//! `scripts/services with kafka -- cargo bench --bench kafka`.
//!
//! CPU is this process's alone; events a second include the broker, which runs on the same machine. `BENCH_ONLY=at_least_once`
//! (or `exactly_once`) runs one half.

#[path = "../harness/mod.rs"]
mod harness;

mod bare;
mod commits;
mod sink;
mod topics;

use harness::{Bound, Contender, compare, percentile};
use headgate::sink::kafka::Mode;

/// Events of one round of one contender.
const EVENTS: usize = 100_000;
/// Events of one batch.
const BATCH: usize = 256;

fn main() {
    let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_else(|_| {
        panic!("this bench needs a broker:\n    scripts/services with kafka -- cargo bench --bench kafka")
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let topics = topics::Topics::new(&runtime, &brokers);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    if only.is_empty() || only == "at_least_once" {
        at_least_once(&runtime, &brokers, &topics);
    }
    if only.is_empty() || only == "exactly_once" {
        exactly_once(&runtime, &brokers, &topics);
    }
}

/// The sink, once with each mode, beside the bare producer.
fn at_least_once(runtime: &tokio::runtime::Runtime, brokers: &str, topics: &topics::Topics<'_>) {
    for (name, mode) in [("binary", Mode::Binary), ("structured", Mode::Structured)] {
        let topic = topics.make();
        let batches = sink::batches(&topic, EVENTS / BATCH);
        let bare = bare::Bare::new(brokers, bare::payloads(&batches, mode));
        let sink = sink::Sink::at_least_once(runtime, brokers, mode, batches);
        let contenders: Vec<(Contender<'_>, Bound)> = vec![
            (
                ("bare ThreadedProducer", Box::new(|| bare.round())),
                Bound::None,
            ),
            (
                ("headgate, at least once", Box::new(|| sink.round(runtime))),
                Bound::RateAtLeast(0.8),
            ),
        ];
        compare(
            &format!("Kafka, {name} mode, batches of {BATCH}"),
            contenders,
        );
        sink.close(runtime);
    }
}

/// The sink with transactions and checkpoints, as many shards as cores, beside the bare producer without transactions.
fn exactly_once(runtime: &tokio::runtime::Runtime, brokers: &str, topics: &topics::Topics<'_>) {
    let commits = commits::Commits::install();
    let topic = topics.make();
    let batches = sink::batches(&topic, EVENTS / BATCH);
    let bare = bare::Bare::new(brokers, bare::payloads(&batches, Mode::Binary));
    let one = sink::Sink::exactly_once(runtime, brokers, 1, &batches);
    let two = sink::Sink::exactly_once(runtime, brokers, 2, &batches);
    let contenders: Vec<(Contender<'_>, Bound)> = vec![
        (
            (
                "bare ThreadedProducer, no transactions",
                Box::new(|| bare.round()),
            ),
            Bound::None,
        ),
        (
            (
                "headgate, exactly once, one shard",
                Box::new(|| one.round(runtime)),
            ),
            Bound::RateAtLeast(0.7),
        ),
        (
            (
                "headgate, exactly once, two shards",
                Box::new(|| two.round(runtime)),
            ),
            Bound::RateAtLeast(0.7),
        ),
    ];
    compare(
        &format!("Kafka, exactly once, binary mode, batches of {BATCH}"),
        contenders,
    );
    let mut took = commits.take();
    println!(
        "\n{} commits: p50 {:.1?}, p99 {:.1?}",
        took.len(),
        percentile(&mut took, 50),
        percentile(&mut took, 99)
    );
    one.close(runtime);
    two.close(runtime);
}
