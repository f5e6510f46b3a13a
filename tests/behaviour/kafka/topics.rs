//! Topics that are missing, made, limited, deleted; records that are too large for them.

use headgate::sink::{Sink as _, kafka::Config};
use headgate_sdk::{Data, Envelope};
use rdkafka::{
    admin::{AdminOptions, ResourceSpecifier},
    producer::Producer as _,
};

use super::{admin, brokers, open, topic};
use crate::support::{
    consumer::read_all,
    unique,
    way::{Way, assert_complete, numbered},
};

/// Bytes that no compression makes smaller.
fn noise(number: u64, bytes: usize) -> Envelope {
    let mut event = numbered(number);
    let data: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(bytes)
        .collect();
    event.data = Data::opaque(data);
    event.datacontenttype = "application/octet-stream".into();
    event
}

#[tokio::test]
async fn of_a_request_that_is_too_large_only_the_culprit_is_rejected() {
    let brokers = brokers();
    // Requests of up to 1 MB go to a topic that takes 20 kB: most are refused, though all but one of the records fit.
    let topic = topic(&brokers, 1, &[("max.message.bytes", "20000")]).await;
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    let mut events: Vec<Envelope> = (0..100).map(|n| noise(n, 2_000)).collect();
    events[50] = noise(50, 30_000);
    way.deliver(events).await;
    sink.close().await;

    let letters = way.letters.all().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].envelope.id, "50");
    assert_eq!(letters[0].reason, "too_large");
    let mut found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(found.len(), 99);
    found.retain(|record| record.event().id.parse::<u64>().unwrap() < 50);
    assert_eq!(found.len(), 50);
}

#[tokio::test]
async fn a_record_over_our_own_limit_is_rejected_and_the_others_are_written() {
    let brokers = brokers();
    let topic = topic(&brokers, 1, &[]).await;
    let mut config = Config::new(&brokers);
    config.max_message_bytes = "10KB".parse().unwrap();
    let sink = open(config);
    let mut way = Way::new(sink.clone(), "l", &topic);
    let events = (0..9)
        .map(|n| noise(n, if n == 4 { 12_000 } else { 100 }))
        .collect();
    way.deliver(events).await;
    sink.close().await;
    let letters = way.letters.all().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].envelope.id.as_str(), letters[0].reason.as_str()),
        ("4", "too_large")
    );
    assert_eq!(read_all(&brokers, &topic, "read_committed").len(), 8);
}

#[tokio::test]
async fn a_topic_that_may_not_be_made_is_not_made() {
    let brokers = brokers();
    let name = unique("nowhere");
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", &name);
    way.deliver(vec![numbered(0)]).await;
    let letters = way.letters.all().await;
    assert_eq!(letters[0].reason, "unknown_topic");
    assert!(letters[0].message.contains(&name), "{}", letters[0].message);
    assert!(!exists(&brokers, &name));
    sink.close().await;
}

#[tokio::test]
async fn topics_are_made_as_configured_up_to_the_cap() {
    let brokers = brokers();
    let prefix = unique("made");
    let mut config = Config::new(&brokers);
    config.topics.create = vec![format!("{prefix}.*")];
    config.topics.max = 2;
    config.topics.partitions = Some(5);
    config.topics.retention = Some("2h".parse().unwrap());
    let sink = open(config);
    let mut way = Way::new(sink.clone(), "l", &format!("{prefix}.{{subject}}"));
    let events = ["a", "b", "c", "a"].iter().zip(0..).map(|(subject, n)| {
        let mut event = numbered(n);
        event.subject = Some((*subject).into());
        event
    });
    way.deliver(events.collect()).await;
    let letters = way.letters.all().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].envelope.id.as_str(), letters[0].reason.as_str()),
        ("2", "too_many_topics")
    );
    assert_eq!(
        read_all(&brokers, &format!("{prefix}.a"), "read_committed").len(),
        2
    );
    let made = format!("{prefix}.b");
    assert_eq!(partitions(&brokers, &made), 5);
    let settings = admin(&brokers)
        .describe_configs([&ResourceSpecifier::Topic(&made)], &AdminOptions::new())
        .await
        .unwrap();
    let retention = settings[0]
        .as_ref()
        .unwrap()
        .get("retention.ms")
        .unwrap()
        .value
        .clone();
    assert_eq!(retention.as_deref(), Some("7200000"));
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_deleted_in_use_is_made_again_or_its_events_become_dead_letters() {
    let brokers = brokers();
    for made_again in [true, false] {
        let topic = topic(&brokers, 1, &[]).await;
        let mut config = Config::new(&brokers);
        config.settings.insert(
            "topic.metadata.propagation.max.ms".to_owned(),
            "1000".to_owned(),
        );
        config.settings.insert(
            "topic.metadata.refresh.interval.ms".to_owned(),
            "500".to_owned(),
        );
        if made_again {
            config.topics.create = vec![topic.clone()];
        }
        let sink = open(config);
        let mut way = Way::new(sink.clone(), "l", &topic);
        way.deliver((0..10).map(numbered).collect()).await;
        let deleted = admin(&brokers)
            .delete_topics(&[&topic], &AdminOptions::new())
            .await
            .unwrap();
        deleted[0].as_ref().unwrap();
        way.deliver((10..20).map(numbered).collect()).await;
        sink.close().await;
        let letters = way.letters.all().await;
        if made_again {
            assert!(letters.is_empty());
            assert_complete(&read_all(&brokers, &topic, "read_committed"), 10..20);
        } else {
            assert_eq!(letters.len(), 10);
            assert!(
                letters
                    .iter()
                    .all(|letter| letter.reason == "unknown_topic")
            );
            assert!(!exists(&brokers, &topic));
        }
    }
}

fn exists(brokers: &str, topic: &str) -> bool {
    let topics = topics(brokers);
    topics.iter().any(|(name, _)| name == topic)
}

fn partitions(brokers: &str, topic: &str) -> usize {
    let topics = topics(brokers);
    topics.iter().find(|(name, _)| name == topic).unwrap().1
}

/// Names and numbers of partitions of all topics.
fn topics(brokers: &str) -> Vec<(String, usize)> {
    let producer: rdkafka::producer::BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let metadata = producer
        .client()
        .fetch_metadata(None, std::time::Duration::from_secs(30))
        .unwrap();
    metadata
        .topics()
        .iter()
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_with_a_record_that_the_topics_rules_refuse_only_that_one_is_rejected() {
    let brokers = brokers();
    // A compacted topic takes no record without a key.
    let topic = topic(&brokers, 1, &[("cleanup.policy", "compact")]).await;
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    let events = (0..10).map(|n| {
        let mut event = numbered(n);
        event.partitionkey = (n != 4).then(|| format!("key-{n}").into());
        event
    });
    way.deliver(events.collect()).await;
    sink.close().await;
    let found = read_all(&brokers, &topic, "read_committed");
    let mut numbers: Vec<u64> = found
        .iter()
        .map(|record| record.event().id.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let letters = way.letters.all().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "refused_by_broker");
}
