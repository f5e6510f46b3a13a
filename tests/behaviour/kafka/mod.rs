//! The Kafka sink against the real broker, and against librdkafka's mock cluster where only injection can show something.

mod check;
mod exactly_once;
mod injected;
mod outage;
mod permissions;
mod plights;
mod records;
mod security;
mod topics;

use std::sync::Arc;

use headgate::sink::{
    Sink as _,
    kafka::{Config, KafkaSink},
};
use headgate_sdk::status::State;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};

use crate::support::{self, figures::Figures, gateway::DEADLINE};

fn brokers() -> String {
    support::server("KAFKA_BROKERS", "kafka")
}

/// A sink with a name of its own, by which its figures are found.
fn open(config: Config) -> Arc<KafkaSink> {
    Figures::count();
    let name = support::unique("sink").into();
    Arc::new(KafkaSink::open(name, config).unwrap())
}

/// The sum of a sink's figures of this name, of those with another label too.
fn figure(sink: &KafkaSink, name: &str, label: Option<(&str, &str)>) -> f64 {
    let mut labels = vec![("sink", sink.name().as_str())];
    labels.extend(label);
    Figures::here().sum(name, &labels)
}

/// Waits until a figure is above zero: some are told every two seconds only, and a breaker opens after several questions of ten seconds each.
async fn counted(sink: &KafkaSink, name: &str, label: Option<(&str, &str)>) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while figure(sink, name, label) == 0.0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{name} of {label:?} stays 0"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap()
}

/// Makes a topic of its own for a test.
pub(crate) async fn topic(brokers: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = support::unique("behaviour");
    let mut new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let results = admin(brokers)
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap();
    results[0].as_ref().unwrap();
    // The cluster has made it; the broker hears of it a moment later.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !exists(brokers, &name) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "`{name}` does not come"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    name
}

/// Whether a topic is in the cluster's list.
pub(crate) fn exists(brokers: &str, topic: &str) -> bool {
    let patience = std::time::Duration::from_secs(30);
    let listed = admin(brokers).inner().fetch_metadata(None, patience);
    let listed = listed.unwrap();
    listed.topics().iter().any(|known| known.name() == topic)
}

/// A setting of a topic.
pub(crate) async fn setting(brokers: &str, topic: &str, name: &str) -> String {
    let asked = [&ResourceSpecifier::Topic(topic)];
    // It answers only as long as it lives.
    let admin = admin(brokers);
    let described = admin.describe_configs(asked, &AdminOptions::new());
    let resource = described.await.unwrap().remove(0).unwrap();
    let mut entries = resource.entries.into_iter();
    entries
        .find(|entry| entry.name == name)
        .and_then(|entry| entry.value)
        .unwrap()
}

/// Deletes a topic, and waits until it is gone.
pub(crate) async fn delete_topic(brokers: &str, topic: &str) {
    let admin = admin(brokers);
    let results = admin.delete_topics(&[topic], &AdminOptions::new()).await;
    results.unwrap()[0].as_ref().unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while exists(brokers, topic) {
        assert!(tokio::time::Instant::now() < deadline, "`{topic}` stays");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Waits until the sink's state is as wanted.
async fn state(sink: &KafkaSink, wanted: impl Fn(&State) -> bool) -> State {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let now = sink.status().get();
        if wanted(&now) {
            return now;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the state stays {now:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
