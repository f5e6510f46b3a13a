//! What lies in the topics.

use headgate::sink::{
    Sink as _,
    kafka::{Config, Mode},
};
use headgate_sdk::Data;

use super::{brokers, open, topic};
use crate::support::{
    consumer::read_all,
    way::{Way, assert_complete, numbered},
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn binary_records_carry_the_data_untouched_and_the_attributes_as_headers() {
    let brokers = brokers();
    let topic = topic(&brokers, 3, &[]).await;
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    let mut traced = numbered(0);
    traced.traceparent = Some(TRACE.into());
    let mut empty = numbered(1);
    empty.data = Data::none();
    way.deliver(vec![traced.clone(), empty.clone(), numbered(2)])
        .await;
    sink.close().await;

    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..3), 0);
    let by_id = |id: &str| {
        found
            .iter()
            .find(|record| record.header("ce_id") == Some(id))
            .unwrap()
    };
    assert_eq!(by_id("0").event(), traced);
    assert_eq!(by_id("0").value, traced.data.bytes().cloned());
    assert_eq!(by_id("0").header("content-type"), Some("application/json"));
    assert_eq!(by_id("0").header("traceparent"), Some(TRACE));
    assert_eq!(by_id("1").event(), empty);
    assert_eq!(by_id("1").value, None);
    assert_eq!(by_id("2").header("traceparent"), None);
}

#[tokio::test]
async fn structured_records_are_one_json_object() {
    let brokers = brokers();
    let topic = topic(&brokers, 3, &[]).await;
    let mut config = Config::new(&brokers);
    config.mode = Mode::Structured;
    let sink = open(config);
    let mut way = Way::new(sink.clone(), "l", &topic);
    way.deliver((0..50).map(numbered).collect()).await;
    sink.close().await;

    let found = read_all(&brokers, &topic, "read_committed");
    assert_eq!(assert_complete(&found, 0..50), 0);
    for record in &found {
        assert_eq!(
            record.header("content-type"),
            Some("application/cloudevents+json")
        );
        assert_eq!(record.header("ce_id"), None);
        let json: serde_json::Value =
            serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(
            json["data"]["number"].to_string(),
            json["id"].as_str().unwrap()
        );
    }
}

#[tokio::test]
async fn a_key_lands_where_javas_partitioner_puts_it() {
    // Kafka's own: toPositive(murmur2(key)) % partitions; these numbers come from its published test vectors' function.
    let brokers = brokers();
    let topic = topic(&brokers, 7, &[]).await;
    let sink = open(Config::new(&brokers));
    let mut way = Way::new(sink.clone(), "l", &topic);
    way.deliver((0..100).map(numbered).collect()).await;
    sink.close().await;
    for record in read_all(&brokers, &topic, "read_committed") {
        let key = record.key.unwrap();
        assert_eq!(
            record.partition,
            (murmur2(key.as_bytes()) & 0x7fff_ffff) % 7,
            "{key}"
        );
    }
}

/// Kafka's hash (`org.apache.kafka.common.utils.Utils.murmur2`), written anew.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(data.len()).unwrap();
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * n);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    i32::from_ne_bytes(hash.to_ne_bytes())
}
