//! A plain Kafka consumer that knows nothing of Headgate.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use headgate_sdk::{Envelope, envelope::kafka};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::Headers,
};

use super::gateway::DEADLINE;

/// A record as it lies in a topic.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) value: Option<Bytes>,
}

impl Found {
    /// Reads it as the CloudEvents binding says.
    pub(crate) fn event(&self) -> Envelope {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        kafka::read(headers, self.value.as_ref())
            .and_then(|event| event.into_envelope())
            .unwrap_or_else(|error| panic!("{self:?} is no CloudEvent of ours: {error}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        value
            .as_deref()
            .map(|text| std::str::from_utf8(text).unwrap())
    }
}

/// Everything in a topic up to its end now, as `read_committed` or `read_uncommitted` shows it. Partitions one after the other.
pub(crate) fn read_all(brokers: &str, topic: &str, isolation: &str) -> Vec<Found> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap();
    let patience = Duration::from_secs(60);
    let metadata = consumer.fetch_metadata(Some(topic), patience).unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        assignment
            .add_partition_offset(topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    let mut open = assignment.count();
    consumer.assign(&assignment).unwrap();
    let mut found: HashMap<i32, Vec<Found>> = HashMap::new();
    let deadline = Instant::now() + DEADLINE;
    while open > 0 {
        assert!(Instant::now() < deadline, "`{topic}` does not end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            // A broker that has just come back, or is busy: librdkafka asks again.
            Some(Err(KafkaError::MessageConsumption(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::RequestTimedOut,
            ))) => {}
            Some(Err(error)) => panic!("reading `{topic}`: {error}"),
            Some(Ok(message)) => {
                let headers = message.headers().map_or_else(Vec::new, |headers| {
                    headers
                        .iter()
                        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                        .collect()
                });
                found.entry(message.partition()).or_default().push(Found {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message
                        .key()
                        .map(|key| String::from_utf8(key.to_vec()).unwrap()),
                    headers,
                    value: message.payload().map(Bytes::copy_from_slice),
                });
            }
        }
    }
    let mut partitions: Vec<_> = found.into_iter().collect();
    partitions.sort_by_key(|(partition, _)| *partition);
    partitions
        .into_iter()
        .flat_map(|(_, records)| records)
        .collect()
}

/// Everything in a topic whose sink writes structured events, as a reader of what is committed sees it now.
pub(crate) fn read_events(brokers: &str, topic: &str) -> Vec<serde_json::Value> {
    let records = read_all(brokers, topic, "read_committed");
    let event = |record: Found| serde_json::from_slice(record.value.as_ref()?).ok();
    records.into_iter().filter_map(event).collect()
}
