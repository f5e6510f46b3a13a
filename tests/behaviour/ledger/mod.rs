//! The delivery ledger: numbered events through every kind of source, a gateway that is killed, cut off and restarted all the
//! time, and an audit of what arrived.
//!
//! Each number that a source was told is safe must be at the sink; not twice where exactly once is promised; and the numbers of
//! a key in their order. One line of figures a sink is printed (`make ledger ROUNDS=200`). Every run visits each failpoint once,
//! between "written at the sink", "checkpoint stored" and "source told", and sees that it was hit.
//!
//! MongoDB is not among the sources: `tests/behaviour/mongodb` has tests of its own. That transactions of Postgres stay whole
//! in Kafka is in `tests/behaviour/postgres`.

mod audit;
mod feeds;
mod rounds;

use std::path::Path;

use audit::{Accepted, Figures};
use rounds::Rounds;

use crate::support::{
    broker::OwnBroker,
    consumer::read_all,
    gateway::{Place, Running},
    root, unique,
};

/// So many rounds, unless `HEADGATE_LEDGER_ROUNDS` says another number.
const ROUNDS: u64 = 20;

/// Where a gateway that delivers anywhere can be killed.
const EVERYWHERE: [&str; 7] = [
    "segment-synced",
    "journal-written",
    "sink-written",
    "checkpoint-begun",
    "checkpoint-stored",
    "source-told",
    "journal-released",
];
/// Where one can be killed that delivers in Kafka transactions.
const TRANSACTION: [&str; 5] = [
    "shard-fenced",
    "shard-claimed",
    "transaction-filled",
    "transaction-written",
    "transaction-committed",
];

/// Where one can be killed that delivers into the embedded log.
const LOG: [&str; 1] = ["log-indexed"];
/// Visited where letters are retried: `gateway::selection`, `gateway::letters`.
const LETTERS: [&str; 1] = ["letters-accepted"];

/// A step that somebody adds is killed at, too.
#[test]
fn every_failpoint_is_visited() {
    let mut visited: Vec<_> = [&EVERYWHERE[..], &TRANSACTION, &LOG, &LETTERS]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    visited.sort_unstable();
    let mut found = Vec::new();
    let mut open = vec![root().join("src"), root().join("connectors")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let reached = text.split("failpoint::reach(\"").skip(1);
            found.extend(reached.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found.sort_unstable();
    assert_eq!(found, visited);
}

fn rounds() -> u64 {
    let asked = std::env::var("HEADGATE_LEDGER_ROUNDS").ok();
    asked
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS)
}

fn sections(folder: &Path, postgres: &str, slot: &str, sink: &str) -> String {
    let inbox = folder.join("inbox");
    format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], pipeline: flat }}
  files:
    type: files
    paths: ["{inbox}"]
    settle: 100ms
    records: {{ format: json_lines }}
    record_type: ledger.v1
    afterwards: move
    pipeline: records
  rows: {{ type: postgres, url: "{postgres}", tables: [public.ledger], slot: {slot}, publication: headgate, snapshot: {{ mode: on_demand }}, pipeline: rows }}
pipelines:
  flat:
    - route: {{ topic: {slot}, key: "{{/key}}" }}
  records:
    - filter: {{ equals: {{ type: [ledger.v1] }} }}
    - route: {{ topic: {slot}, key: "{{/key}}" }}
  rows:
    - route: {{ topic: {slot}, key: "{{/after/key}}" }}
sinks:
  main: {{ {sink} }}
"#,
        inbox = inbox.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_accepted_is_in_the_embedded_log_once_and_in_order_whatever_dies_when() {
    let folder = tempfile::tempdir().unwrap();
    let database = feeds::Database::new(&unique("ledger").replace('-', "_")).await;
    let sections = sections(folder.path(), &database.url, &database.name, "type: log");
    let place = Place::new(folder.path(), &sections);
    let failpoints = [&EVERYWHERE[..], &LOG].concat();
    let rounds = Rounds::new(&place, folder.path(), &database, &failpoints, None);
    let accepted = rounds.run(rounds_to_run(&failpoints)).await;

    let running = place.start().await;
    let found = audit::wait_for(&accepted, &running, || logged(&place)).await;
    assert!(running.stop().success());
    drop(found);
    let figures = audit::audit(&accepted, &logged(&place));
    println!("ledger: sink=log {accepted} {figures}");
    database.drop_all().await;
    assert_eq!(
        (figures.lost, figures.twice, figures.out_of_order),
        (0, 0, 0)
    );
    accepted.is_enough();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_accepted_reaches_kafka_in_order_whatever_dies_when() {
    let (accepted, figures) = through_kafka("at_least_once", &EVERYWHERE).await;
    assert_eq!((figures.lost, figures.out_of_order), (0, 0));
    accepted.is_enough();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_accepted_is_in_kafka_exactly_once_and_in_order_whatever_dies_when() {
    let failpoints = [&EVERYWHERE[..], &TRANSACTION].concat();
    let (accepted, figures) = through_kafka("exactly_once", &failpoints).await;
    assert_eq!(
        (figures.lost, figures.twice, figures.out_of_order),
        (0, 0, 0)
    );
    accepted.is_enough();
}

/// Rounds of a gateway that delivers to a broker of their own, which dies and stands still too; read with `read_committed`.
async fn through_kafka(delivery: &str, failpoints: &[&'static str]) -> (Accepted, Figures) {
    let broker = OwnBroker::start();
    let folder = tempfile::tempdir().unwrap();
    let database = feeds::Database::new(&unique("ledger").replace('-', "_")).await;
    let topic = database.name.clone();
    let sink = format!(
        "type: kafka, brokers: \"{}\", delivery: {delivery}, timeout: 2s, topics: {{ create: [\"{topic}\"], partitions: 3 }}",
        broker.brokers
    );
    let sections = sections(folder.path(), &database.url, &database.name, &sink);
    let place = Place::new(folder.path(), &sections);
    let rounds = Rounds::new(&place, folder.path(), &database, failpoints, Some(&broker));
    let accepted = rounds.run(rounds_to_run(failpoints)).await;

    let read = || {
        let records = read_all(&broker.brokers, &topic, "read_committed");
        records.iter().filter_map(audit::Found::of_record).collect()
    };
    let running = place.start().await;
    let found = audit::wait_for(&accepted, &running, read).await;
    drop(found);
    assert!(running.stop().success());
    let figures = audit::audit(&accepted, &read());
    println!("ledger: sink=kafka delivery={delivery} {accepted} {figures}");
    database.drop_all().await;
    (accepted, figures)
}

/// Every failpoint is visited, however few rounds are asked for.
fn rounds_to_run(failpoints: &[&str]) -> u64 {
    rounds().max(failpoints.len() as u64)
}

fn logged(place: &Place) -> Vec<audit::Found> {
    let events = place.tail();
    events.iter().filter_map(audit::Found::of_line).collect()
}

/// The state of a source or sink that is not ready, for messages.
async fn state(running: &Running) -> String {
    let state = running.readiness().await;
    state.map_or_else(|| "no answer".to_owned(), |state| state.to_string())
}
