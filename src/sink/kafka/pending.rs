//! Batches whose records are on their way: one completion each, not one per record.

use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode;
use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    context::{At, Reports},
    error::Failure,
};
use crate::sink::Landed;

/// Bits of an opaque that hold the record's index; the batch's key is above them.
const INDEX_BITS: u32 = 24;
/// The most records of one group.
pub(super) const MAX_GROUP: usize = 1 << INDEX_BITS;

/// The groups of records that librdkafka has and has not reported on.
#[derive(Default)]
pub(super) struct Pending(Mutex<Slab<Group>>);

struct Group {
    /// Reports to come, plus one while records are still being handed over.
    left: usize,
    report: Report,
    reply: oneshot::Sender<Report>,
    _room: OwnedSemaphorePermit,
}

/// What became of a group.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What was not written, in the order of librdkafka's reports.
    pub(super) failures: Vec<Failure>,
    /// Where the rest is.
    pub(super) landed: Landed,
}

/// A group that is being handed over.
pub(super) struct Open(usize);

impl Open {
    /// What to give librdkafka with the record of this index.
    pub(super) const fn opaque(&self, index: usize) -> usize {
        (self.0 << INDEX_BITS) | index
    }
}

impl Pending {
    /// Starts a group that keeps `room` until its last report; the receiver hears of all of them then.
    pub(super) fn open(&self, room: OwnedSemaphorePermit) -> (Open, oneshot::Receiver<Report>) {
        let (reply, report) = oneshot::channel();
        let key = self.0.lock().insert(Group {
            left: 1,
            report: Report::default(),
            reply,
            _room: room,
        });
        (Open(key), report)
    }

    /// Announces `count` more reports. Called before the records are handed over.
    pub(super) fn expect(&self, open: &Open, count: usize) {
        self.0.lock()[open.0].left += count;
    }

    /// Ends handing over: `failures` were never taken by librdkafka, and their reports are not to come.
    pub(super) fn close(&self, open: Open, failures: Vec<Failure>) {
        let refused = failures.len();
        self.count(open.0, 1 + refused, |report| {
            report.failures.extend(failures)
        });
    }

    fn count(&self, key: usize, reports: usize, note: impl FnOnce(&mut Report)) {
        let mut groups = self.0.lock();
        let group = &mut groups[key];
        note(&mut group.report);
        group.left -= reports;
        if group.left == 0 {
            let Group { report, reply, .. } = groups.remove(key);
            drop(groups);
            let _nobody_waits = reply.send(report);
        }
    }
}

impl Reports for Pending {
    fn written(&self, opaque: usize, at: At<'_>) {
        self.count(opaque >> INDEX_BITS, 1, |report| {
            report.landed.add(at.topic, at.partition, at.offset);
        });
    }

    fn unwritten(&self, opaque: usize, code: RDKafkaErrorCode) {
        let index = opaque & (MAX_GROUP - 1);
        self.count(opaque >> INDEX_BITS, 1, |report| {
            report.failures.push(Failure { index, code });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn at(offset: i64) -> At<'static> {
        At {
            topic: "t",
            partition: 0,
            offset,
        }
    }

    async fn group(pending: &Pending, room: &Arc<Semaphore>) -> (Open, oneshot::Receiver<Report>) {
        let permit = Arc::clone(room).acquire_owned().await.expect("open");
        pending.open(permit)
    }

    #[tokio::test]
    async fn answers_once_after_the_last_report_and_gives_the_room_back() {
        let (pending, room) = (Pending::default(), Arc::new(Semaphore::new(2)));
        let (first, first_report) = group(&pending, &room).await;
        let (second, mut second_report) = group(&pending, &room).await;
        let (a, b, c) = (first.opaque(0), first.opaque(1), second.opaque(7));
        pending.expect(&first, 2);
        pending.expect(&second, 1);
        pending.written(a, at(7));
        pending.close(first, Vec::new());
        pending.close(second, Vec::new());
        assert_eq!(room.available_permits(), 0);
        pending.unwritten(b, RDKafkaErrorCode::InvalidRecord);
        let report = first_report.await.expect("answered");
        assert_eq!(report.failures.len(), 1);
        assert_eq!(report.failures[0].index, 1);
        let landed = &report.landed.topics[0];
        assert_eq!((landed.first, landed.last), (7, 7));
        assert_eq!(room.available_permits(), 1);
        assert!(second_report.try_recv().is_err());
        pending.written(c, at(8));
        assert!(second_report.await.expect("answered").failures.is_empty());
    }

    #[tokio::test]
    async fn a_group_that_was_refused_whole_answers_at_once() {
        let (pending, room) = (Pending::default(), Arc::new(Semaphore::new(1)));
        let (open, report) = group(&pending, &room).await;
        pending.expect(&open, 1);
        let refused = Failure {
            index: 0,
            code: RDKafkaErrorCode::MessageSizeTooLarge,
        };
        pending.close(open, vec![refused]);
        assert_eq!(report.await.expect("answered").failures.len(), 1);
    }
}
