//! `dedup` in front of Kafka with exactly once: its keys are on disk before a transaction ends, and transactions are aborted.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer as _},
};

use crate::{
    kafka::topic,
    support::{
        consumer::read_all,
        gateway::{DEADLINE, Place, Running},
        server, unique,
    },
};

/// Where events go, and what a consumer finds there.
struct Kafka {
    brokers: String,
    topic: String,
    group: String,
}

impl Kafka {
    async fn new() -> Self {
        let brokers = server("KAFKA_BROKERS", "kafka");
        let topic = topic(&brokers, 1, &[]).await;
        Self {
            brokers,
            topic,
            group: unique("group"),
        }
    }

    /// Lines of files, of which each number is to go on once. Transactions stay open for `interval`.
    fn place(&self, folder: &Path, interval: &str) -> Place {
        std::fs::create_dir(folder.join("inbox")).unwrap();
        let sections = format!(
            r#"
group: {group}
shards: 1
sources:
  inbox: {{ type: files, paths: ["{inbox}"], settle: 20ms, scan_interval: 200ms, event_type: file.read.v1, record_type: line.read.v1, records: {{ format: json_lines }} }}
pipeline:
  - filter: {{ equals: {{ type: [line.read.v1] }} }}
  - dedup: {{ key: .number, window: 1h }}
  - route: {{ topic: "{topic}", key: "{{/number}}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: {interval} }} }}
"#,
            group = self.group,
            inbox = folder.join("inbox").display(),
            topic = self.topic,
            brokers = self.brokers,
        );
        Place::new(folder, &sections)
    }

    /// How often each number is in the topic.
    fn numbers(&self, isolation: &str) -> BTreeMap<u64, u32> {
        let mut numbers = BTreeMap::new();
        for record in read_all(&self.brokers, &self.topic, isolation) {
            let data: serde_json::Value =
                serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            *numbers.entry(data["number"].as_u64().unwrap()).or_default() += 1;
        }
        numbers
    }

    /// Waits until `number` is in the topic.
    async fn wait_for(&self, number: u64, isolation: &str, place: &Place) {
        let started = Instant::now();
        while !self.numbers(isolation).contains_key(&number) {
            assert!(
                started.elapsed() < DEADLINE,
                "{number} does not come: {}",
                place.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the coordinator does when a transaction takes too long: it is aborted, the producer's epoch moves on.
    async fn fence(&self) {
        let passing: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", format!("{}-0", self.group))
            .create()
            .unwrap();
        tokio::task::spawn_blocking(move || passing.init_transactions(DEADLINE).unwrap())
            .await
            .unwrap();
    }
}

/// A file with `number` twice: the second one is a duplicate.
fn write(folder: &Path, number: u64) {
    let line = format!("{{\"number\":{number}}}\n");
    let part = folder.join(format!("{number}.part"));
    std::fs::write(&part, line.repeat(2)).unwrap();
    std::fs::rename(&part, folder.join("inbox").join(format!("{number}.jsonl"))).unwrap();
}

/// Waits until it has let itself die.
async fn died(mut running: Running, place: &Place) {
    let started = Instant::now();
    while running.ended().is_none() {
        assert!(
            started.elapsed() < DEADLINE,
            "it did not come to the failpoint: {}",
            place.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dedup_let_through_into_an_aborted_transaction_is_delivered_once() {
    const MOST: u64 = 10;
    let kafka = Kafka::new().await;
    let folder = tempfile::tempdir().unwrap();
    let place = kafka.place(folder.path(), "5s");
    let running = place.start().await;
    let mut number = 0;
    loop {
        write(folder.path(), number);
        // Written, and not yet committed if the fence is fast enough: that is what the end looks at.
        kafka.wait_for(number, "read_uncommitted", &place).await;
        kafka.fence().await;
        kafka.wait_for(number, "read_committed", &place).await;
        let written: u32 = kafka.numbers("read_uncommitted").values().sum();
        number += 1;
        if u64::from(written) > number {
            break;
        }
        assert!(
            number < MOST,
            "no transaction was aborted in {number} rounds"
        );
    }
    // The key is still known: whoever sends the number again is a duplicate.
    write_again(folder.path(), 0);
    write(folder.path(), number);
    kafka.wait_for(number, "read_committed", &place).await;
    assert!(running.stop().success(), "{}", place.log());
    let once: BTreeMap<u64, u32> = (0..=number).map(|number| (number, 1)).collect();
    assert_eq!(kafka.numbers("read_committed"), once);
}

/// The number once more, in a file of another name.
fn write_again(folder: &Path, number: u64) {
    let part = folder.join("again.part");
    std::fs::write(&part, format!("{{\"number\":{number}}}\n")).unwrap();
    std::fs::rename(&part, folder.join("inbox").join("again.jsonl")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dedup_let_through_before_a_crash_inside_the_transaction_is_delivered_once() {
    const ABORTS: u64 = 3;
    const MOST: u64 = 20;
    let kafka = Kafka::new().await;
    let folder = tempfile::tempdir().unwrap();
    let place = kafka.place(folder.path(), "300ms");
    let mut number = 0;
    loop {
        write(folder.path(), number);
        // The keys are stored, the events are in Kafka, and the process dies in front of the commit.
        let running = place.launch(Some("transaction-written:1"));
        died(running, &place).await;
        assert_eq!(kafka.numbers("read_committed"), BTreeMap::new());
        number += 1;
        let written: u32 = kafka.numbers("read_uncommitted").values().sum();
        if u64::from(written) >= ABORTS {
            break;
        }
        assert!(number < MOST, "only {written} were written and aborted");
    }
    let running = place.start().await;
    write(folder.path(), number);
    for number in 0..=number {
        kafka.wait_for(number, "read_committed", &place).await;
    }
    assert!(running.stop().success(), "{}", place.log());
    let once: BTreeMap<u64, u32> = (0..=number).map(|number| (number, 1)).collect();
    assert_eq!(kafka.numbers("read_committed"), once);
}
