//! The yardstick: `rdkafka`'s own producer, given bytes that are ready.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use headgate::sink::{SinkBatch, kafka::Mode};
use headgate_sdk::envelope::{json, kafka};
use rdkafka::{
    ClientConfig, ClientContext,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use crate::harness::{Measured, measure};

/// A record as its bytes.
pub(crate) struct Payload {
    topic: String,
    key: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    value: Vec<u8>,
}

/// The bytes that the sink makes of `batches`.
pub(crate) fn payloads(batches: &[Arc<SinkBatch>], mode: Mode) -> Vec<Payload> {
    let mut writer = json::Writer::new();
    let records = batches.iter().flat_map(|batch| &batch.records);
    let payload = |record: &headgate::sink::Record| {
        let envelope = &record.envelope;
        let mut headers = Vec::new();
        let mut value = Vec::new();
        match mode {
            Mode::Binary => {
                kafka::for_each_header(envelope, |name, text| {
                    headers.push((name.to_owned(), text.to_vec()));
                });
                value.extend_from_slice(envelope.data.bytes().expect("data"));
            }
            Mode::Structured => {
                let content_type = kafka::STRUCTURED_CONTENT_TYPE.as_bytes().to_vec();
                headers.push((kafka::CONTENT_TYPE.to_owned(), content_type));
                writer.write(envelope, &mut value);
            }
        }
        Payload {
            topic: record.topic.to_string(),
            key: record.key.as_ref().map(ToString::to_string),
            headers,
            value,
        }
    };
    records.map(payload).collect()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "a record was not written");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Bare {
    producer: ThreadedProducer<Count>,
    payloads: Vec<Payload>,
}

impl Bare {
    pub(crate) fn new(brokers: &str, payloads: Vec<Payload>) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("batch.size", "1000000")
            .set("linger.ms", "5")
            // As much as the sink lets be on its way.
            .set("queue.buffering.max.kbytes", "62500")
            .set("queue.buffering.max.messages", "10000000")
            .set("statistics.interval.ms", "2000")
            .create_with_context(Count::default())
            .expect("a producer");
        Self { producer, payloads }
    }

    /// All payloads, until the last report.
    pub(crate) fn round(&self) -> Measured {
        let reports = &self.producer.context().0;
        let wanted = reports.load(Ordering::Relaxed) + self.payloads.len();
        measure(self.payloads.len() as u64, || {
            for payload in &self.payloads {
                self.send(payload);
            }
            while reports.load(Ordering::Relaxed) < wanted {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        })
    }

    fn send(&self, payload: &Payload) {
        loop {
            let mut headers = OwnedHeaders::new_with_capacity(payload.headers.len());
            for (key, value) in &payload.headers {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            let mut record = BaseRecord::to(&payload.topic)
                .payload(&payload.value)
                .headers(headers);
            if let Some(key) = &payload.key {
                record = record.key(key);
            }
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err((error, _)) => panic!("not sent: {error}"),
            }
        }
    }
}
