//! One transactional producer of librdkafka. Every call blocks: it belongs to a shard's own thread.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaError, KafkaResult},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};

use super::ledger::{Ledger, OURS, Place};
use crate::sink::{
    Record,
    kafka::{Config, client, context::Context, encode::Encoder, error::explain, health::Health},
};

/// How long one call may take before it is made again.
const SLICE: Duration = Duration::from_secs(1);
/// How long draining looks away from whether something failed.
const DRAIN_SLICE: Duration = Duration::from_millis(50);
/// The same for the first request, which may have to wait for a coordinator to be made.
const INIT_SLICE: Duration = Duration::from_secs(10);

/// What an error of a transaction calls for.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The same call again.
    Retriable(String),
    /// To abort, and to begin again with everything that was in it.
    Abortable(String),
    /// Another producer, if nobody else has this one's place.
    Fatal { message: String, fenced: bool },
}

impl Trouble {
    fn of(error: &KafkaError) -> Self {
        let KafkaError::Transaction(said) = error else {
            return Self::Retriable(error.to_string());
        };
        let message =
            match said.code() {
                code @ (Code::TransactionalIdAuthorizationFailed
                | Code::ClusterAuthorizationFailed) => explain(code, ""),
                _ => format!("{}: {said}", said.name()),
            };
        if said.is_fatal() {
            let fenced = matches!(
                said.code(),
                Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
            );
            Self::Fatal { message, fenced }
        } else if said.txn_requires_abort() {
            Self::Abortable(message)
        } else if said.is_retriable() {
            Self::Retriable(message)
        } else {
            // Such as a call that does not fit the state: this producer is of no more use.
            let fenced = false;
            Self::Fatal { message, fenced }
        }
    }
}

pub(super) struct Client {
    inner: ThreadedProducer<Context<Ledger>>,
}

impl Client {
    pub(super) fn new(
        config: &Config,
        transactional_id: &str,
        health: Arc<Health>,
    ) -> KafkaResult<Self> {
        let timeout = config.transactions.timeout.get().as_millis().to_string();
        let mut settings = client::producer(config);
        settings
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", &timeout)
            // A record that cannot be written in time fails its transaction, and goes again in the next.
            .set("message.timeout.ms", &timeout)
            // Transactions coalesce already.
            .set("linger.ms", "0");
        let context = Context::new(transactional_id, Ledger::default(), health);
        let inner = settings.create_with_context(context)?;
        Ok(Self { inner })
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.inner.context().reports
    }

    /// Registers with the coordinator: from now on, nobody else with this id can write.
    pub(super) fn init(&self) -> Result<(), Trouble> {
        self.judged(self.inner.init_transactions(INIT_SLICE))
    }

    pub(super) fn begin(&self) -> Result<(), Trouble> {
        self.judged(self.inner.begin_transaction())
    }

    /// Call it when everything is [drained](Self::drain): the binding waits for the rest in slices of 100 ms.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        self.judged(self.inner.commit_transaction(SLICE))
    }

    pub(super) fn abort(&self) -> Result<(), Trouble> {
        self.judged(self.inner.abort_transaction(SLICE))
    }

    fn judged(&self, result: KafkaResult<()>) -> Result<(), Trouble> {
        result.map_err(|error| {
            if let KafkaError::Transaction(said) = &error {
                self.inner.context().count(said.code());
            }
            Trouble::of(&error)
        })
    }

    /// Hands an event over.
    pub(super) fn send(
        &self,
        record: &Record,
        place: Place,
        encoder: &mut Encoder,
    ) -> Result<(), Code> {
        let (headers, value) = encoder.encode(record);
        let mut message =
            BaseRecord::with_opaque_to(&record.topic, place.opaque()).headers(headers);
        if let Some(key) = &record.key {
            message = message.key(key.as_bytes());
        }
        if let Some(value) = value {
            message = message.payload(value);
        }
        self.hand_over(message)
    }

    /// Hands a record of ours over.
    pub(super) fn send_ours(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Code> {
        let mut message = BaseRecord::with_opaque_to(topic, OURS)
            .partition(partition)
            .key(key.as_bytes());
        if let Some(value) = value {
            message = message.payload(value);
        }
        self.hand_over(message)
    }

    fn hand_over(&self, message: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), Code> {
        self.inner
            .send(message)
            .map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }

    /// Waits until every record has its report; false if some have none after a while.
    pub(super) fn drain(&self) -> bool {
        flush(&self.inner, DRAIN_SLICE)
    }

    /// Where a partition ends now.
    pub(super) fn end_of(
        &self,
        topic: &str,
        partition: i32,
        patience: Duration,
    ) -> KafkaResult<i64> {
        let client = self.inner.client();
        let (_, end) = client.fetch_watermarks(topic, partition, patience)?;
        Ok(end)
    }

    /// Why it will never write again, if it will not.
    pub(super) fn fatal(&self) -> Option<Trouble> {
        let (code, message) = self.inner.client().fatal_error()?;
        let fenced = matches!(
            code,
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
        );
        Some(Trouble::Fatal { message, fenced })
    }
}

/// librdkafka's own flush, which returns with the last report and makes nothing wait for company; the binding's looks every 100 ms.
fn flush(producer: &ThreadedProducer<Context<Ledger>>, patience: Duration) -> bool {
    let patience_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    #[expect(
        unsafe_code,
        reason = "the binding does not offer this call; the pointer is valid for as long as `producer` is, and the call may \
                  be made from any thread"
    )]
    let answer =
        unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), patience_ms) };
    answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}
