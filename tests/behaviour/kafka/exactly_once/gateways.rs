//! Whole gateways that share a partition of the topic of checkpoints, of which one dies in the middle of a transaction.

use std::{collections::BTreeMap, ops::Range, path::Path};

use hyper::StatusCode;
use serde_json::Value;

use super::group;
use crate::{
    kafka::{brokers, topic},
    support::{
        consumer::read_all,
        gateway::{Place, Running},
    },
};

/// Lines of one file.
const LINES: u64 = 200;

/// A gateway that reads files, or takes webhooks, as shard 0 of `group`; its transactions outlive this test if nobody ends them.
fn sections(source: &str, group: &str, brokers: &str, topic: &str) -> String {
    format!(
        r#"
group: {group}
shards: 1
sources:
  {source}
pipeline:
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: 5ms, timeout: 5m }} }}
"#
    )
}

/// The numbers in the topic under `name`, in its order.
fn numbers(brokers: &str, topic: &str, isolation: &str, name: &str) -> Vec<u64> {
    let records = read_all(brokers, topic, isolation);
    let values = records.iter().filter_map(|record| record.value.as_ref());
    let data = values.map(|value| serde_json::from_slice::<Value>(value).unwrap());
    data.filter_map(|data| data[name].as_u64()).collect()
}

fn write_lines(inbox: &Path, lines: Range<u64>) {
    let name = inbox.join(format!("{}.jsonl", lines.start));
    let part = inbox.join(format!("{}.jsonl.part", lines.start));
    let text: String = lines.map(|n| format!("{{\"line\":{n}}}\n")).collect();
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, name).unwrap();
}

/// Whether somebody's transaction is open there.
fn is_open(brokers: &str, topic: &str) -> bool {
    let count = |isolation| read_all(brokers, topic, isolation).len();
    count("read_committed") < count("read_uncommitted")
}

async fn sent(running: &Running) -> u64 {
    let page = running.page("/metrics").await;
    let mut lines = page.lines();
    let line = lines.find(|line| line.starts_with("headgate_sink_sent_events_total"));
    line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

async fn says_that_it_waits(running: &Running) -> bool {
    let Some(state) = running.readiness().await else {
        return false;
    };
    let reason = state["sinks"][0]["reason"].as_str().unwrap_or_default();
    reason.contains("waits for another producer's open transaction")
}

/// Gives a gateway webhooks until it dies, and returns those that it accepted.
async fn post_until_dead(place: &Place, running: &mut Running, first: u64) -> Vec<u64> {
    let (mut accepted, mut number) = (Vec::new(), first);
    place
        .until("dead in the middle of a transaction", async || {
            let body = format!(r#"{{"number":{number}}}"#);
            if running.post(body).await == Some(StatusCode::ACCEPTED) {
                accepted.push(number);
            }
            number += 1;
            running.ended().is_some()
        })
        .await;
    accepted
}

/// The files' shard commits behind what the webhooks' one has left open, dies, and takes its place again: once with its `data_dir`, and
/// once as another instance that knows nothing but what the topic says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_restarts_while_another_holds_a_transaction_open_resumes_where_it_was() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[]).await;
    let checkpoints = format!("{group}.checkpoints");
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let inbox = tempfile::tempdir().unwrap();
    let inbox = inbox.path();
    let files = format!(
        r#"inbox: {{ type: files, paths: ["{}"], settle: 50ms, scan_interval: 500ms, event_type: line.read.v1, records: {{ format: json_lines }} }}"#,
        inbox.display()
    );
    let files = sections(&files, &group, &brokers, &topic);
    let hooks = "hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret] }";
    let hooks = sections(hooks, &group, &brokers, &topic);
    let [one, another, other] = folders.each_ref();
    let (one, another) = (
        Place::new(one.path(), &files),
        Place::new(another.path(), &files),
    );
    let other = Place::new(other.path(), &hooks);
    let committed = |name: &str| {
        tokio::task::block_in_place(|| numbers(&brokers, &topic, "read_committed", name))
    };

    let mut accepted = Vec::new();
    let mut lines = 0;
    let mut reader = one.start().await;
    for next in [&one, &another] {
        let sent_before = sent(&reader).await;
        write_lines(inbox, lines..lines + LINES);
        lines += LINES;
        next.until("committed", async || {
            sent(&reader).await >= sent_before + LINES
        })
        .await;

        // Its events and its checkpoint are written, and it is gone: a reader of what is committed sees nothing from here on.
        let mut dying = other.launch(Some("transaction-written:1"));
        accepted.extend(post_until_dead(&other, &mut dying, lines * 1_000).await);
        assert!(is_open(&brokers, &checkpoints) && is_open(&brokers, &topic));
        write_lines(inbox, lines..lines + LINES);
        lines += LINES;
        next.until("committed behind it", async || {
            sent(&reader).await >= sent_before + 2 * LINES
        })
        .await;
        assert_eq!(committed("line").len() as u64, lines - LINES);
        reader.kill();

        reader = next.launch(None);
        next.until("waiting for the other's transaction", async || {
            assert!(!reader.is_ready().await, "it goes on: {}", next.log());
            says_that_it_waits(&reader).await
        })
        .await;
        write_lines(inbox, lines..lines + LINES);
        lines += LINES;
        // Whoever has its place ends it.
        let restarted = other.start().await;
        next.until("delivered", async || {
            committed("line").len() as u64 >= lines
        })
        .await;
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        other
            .until("delivered", async || {
                counts.clear();
                for number in committed("number") {
                    *counts.entry(number).or_default() += 1;
                }
                accepted.iter().all(|number| counts.contains_key(number))
            })
            .await;
        assert!(restarted.stop().success());
        assert_eq!(committed("line"), (0..lines).collect::<Vec<_>>());
        assert!(counts.values().all(|times| *times == 1), "{counts:?}");
    }
    assert!(reader.stop().success());
}
