//! One producer of librdkafka, and the room in front of it.
//!
//! The room is ours because librdkafka's own answer to a full queue is an error on some record in the middle of a batch.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    context::Context,
    encode::Encoder,
    error::{Failure, Meaning},
    health::Health,
    pending::{MAX_GROUP, Pending, Report},
};
use crate::sink::Record;

/// What a record takes inside librdkafka besides its bytes.
const RECORD_OVERHEAD: usize = 512;
/// The unit of room.
const UNIT: usize = 1024;

/// Where records wait until their reports come. Shared by the producers that follow each other in a sink.
#[derive(Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    total: u32,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits for room for `records`; a batch larger than all of it waits for all of it. Cancel safe.
    pub(super) async fn take<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> OwnedSemaphorePermit {
        let bytes: usize = records
            .map(|record| record.envelope.weight() + RECORD_OVERHEAD)
            .sum();
        let units = u32::try_from(bytes / UNIT)
            .unwrap_or(u32::MAX)
            .clamp(1, self.total);
        Arc::clone(&self.units)
            .acquire_many_owned(units)
            .await
            .expect("the room is never closed")
    }
}

/// A producer and the batches that it has.
pub(super) struct Producer {
    inner: ThreadedProducer<Context<Pending>>,
}

impl Producer {
    /// Makes a producer; connects in the background.
    pub(super) fn new(
        name: &'static str,
        settings: &ClientConfig,
        health: Arc<Health>,
    ) -> Result<Self, KafkaError> {
        let context = Context::new(name, Pending::default(), health);
        let inner = settings.create_with_context(context)?;
        Ok(Self { inner })
    }

    pub(super) fn inner(&self) -> &ThreadedProducer<Context<Pending>> {
        &self.inner
    }

    /// Hands over those of `records` whose indices are given, in order; the receiver hears where they are and what was not written, once
    /// every record has its report. After the first record that must be sent again, none is handed over any more, so that nothing
    /// overtakes it.
    pub(super) fn send(
        &self,
        records: &[Record],
        indices: &[usize],
        encoder: &Mutex<Encoder>,
        room: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Report> {
        debug_assert!(records.len() < MAX_GROUP, "batches are bounded far below");
        let pending = &self.inner.client().context().reports;
        let (open, report) = pending.open(room);
        pending.expect(&open, indices.len());
        let mut encoder = encoder.lock();
        let mut refused = Vec::new();
        let mut stopped = None;
        for &index in indices {
            if let Some(code) = stopped {
                refused.push(Failure { index, code });
                continue;
            }
            if let Err(code) = self.hand_over(&records[index], open.opaque(index), &mut encoder) {
                refused.push(Failure { index, code });
                if !Meaning::of(code).is_its_own() {
                    stopped = Some(code);
                }
            }
        }
        drop(encoder);
        pending.close(open, refused);
        report
    }

    fn hand_over(&self, record: &Record, opaque: usize, encoder: &mut Encoder) -> Result<(), Code> {
        let (headers, value) = encoder.encode(record);
        let mut message = BaseRecord::with_opaque_to(&record.topic, opaque).headers(headers);
        if let Some(key) = &record.key {
            message = message.key(key.as_bytes());
        }
        if let Some(value) = value {
            message = message.payload(value);
        }
        self.inner
            .send(message)
            .map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }

    /// Whether it will never write again.
    pub(super) fn is_fatal(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }

    /// Writes out what it has, for at most `deadline`, then gives up the rest, whose outcomes become retriable. Blocks.
    pub(super) fn close(&self, deadline: Duration) {
        if self.inner.flush(deadline).is_err() {
            self.inner.purge(PurgeConfig::default().queue().inflight());
            let _rest_is_reported_by_the_drop = self.inner.flush(Duration::from_secs(1));
        }
    }
}
