//! What librdkafka reports about the records of the transaction under way.

use headgate_sdk::Str;
use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::sink::{
    Landed,
    kafka::context::{At, Reports},
};

/// The opaque of records that are no event: checkpoints and claims.
pub(super) const OURS: usize = usize::MAX;
/// Bits of an opaque that hold a record's index in its batch; the batch's index is above them.
const INDEX_BITS: u32 = 24;

/// An event's place in the transaction: the batch, the record in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) job: usize,
    pub(super) record: usize,
}

impl Place {
    pub(super) const fn opaque(self) -> usize {
        (self.job << INDEX_BITS) | self.record
    }

    const fn of(opaque: usize) -> Self {
        Self {
            job: opaque >> INDEX_BITS,
            record: opaque & ((1 << INDEX_BITS) - 1),
        }
    }
}

/// A record that was not written; `None` stands for one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) place: Option<Place>,
    pub(super) code: Code,
}

#[derive(Default)]
pub(in crate::sink::kafka) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    unwritten: Vec<Unwritten>,
    last_of_ours: Option<i64>,
    /// Where the events of each batch are.
    landed: Vec<Landed>,
    must_abort: bool,
    /// A topic that this user may not write to.
    denied: Option<Str>,
}

impl Ledger {
    /// Takes the failures so far, in the order of reports.
    pub(super) fn take_unwritten(&self) -> Vec<Unwritten> {
        std::mem::take(&mut self.0.lock().unwritten)
    }

    /// Whether something failed, so that nothing more of the transaction will be sent.
    pub(super) fn has_failed(&self) -> bool {
        let book = self.0.lock();
        book.must_abort || !book.unwritten.is_empty()
    }

    /// The topic that could not become part of the transaction, because this user may not write to it.
    pub(super) fn denied(&self) -> Option<Str> {
        self.0.lock().denied.clone()
    }

    /// The highest offset that a record of ours got.
    pub(super) fn last_of_ours(&self) -> Option<i64> {
        self.0.lock().last_of_ours
    }

    /// Where the events are, by batch; one without any may be missing. Call it when everything has its report.
    pub(super) fn take_landed(&self) -> Vec<Landed> {
        std::mem::take(&mut self.0.lock().landed)
    }

    /// Begins anew. Call it when nothing is on its way.
    pub(super) fn clear(&self) {
        *self.0.lock() = Book::default();
    }
}

impl Reports for Ledger {
    fn written(&self, opaque: usize, at: At<'_>) {
        let mut book = self.0.lock();
        if opaque == OURS {
            book.last_of_ours = book.last_of_ours.max(Some(at.offset));
            return;
        }
        let job = Place::of(opaque).job;
        if book.landed.len() <= job {
            book.landed.resize_with(job + 1, Landed::default);
        }
        book.landed[job].add(at.topic, at.partition, at.offset);
    }

    fn must_abort(&self) {
        self.0.lock().must_abort = true;
    }

    fn denied(&self, topic: &str) {
        self.0.lock().denied = Some(topic.into());
    }

    fn unwritten(&self, opaque: usize, code: Code) {
        let place = (opaque != OURS).then(|| Place::of(opaque));
        self.0.lock().unwritten.push(Unwritten { place, code });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_names_its_place() {
        let place = Place {
            job: 4711,
            record: 99,
        };
        let ledger = Ledger::default();
        let at = |offset| At {
            topic: "t",
            partition: 0,
            offset,
        };
        ledger.written(place.opaque(), at(5));
        ledger.written(OURS, at(9));
        ledger.written(OURS, at(7));
        let landed = ledger.take_landed();
        assert_eq!(landed.len(), place.job + 1);
        assert_eq!(landed[place.job].topics[0].last, 5);
        assert_eq!(ledger.last_of_ours(), Some(9));
        assert!(!ledger.has_failed());
        ledger.unwritten(place.opaque(), Code::MessageSizeTooLarge);
        ledger.unwritten(OURS, Code::PurgeQueue);
        let places: Vec<_> = ledger
            .take_unwritten()
            .into_iter()
            .map(|unwritten| unwritten.place)
            .collect();
        assert_eq!(places, [Some(place), None]);
        ledger.clear();
        assert_eq!(ledger.last_of_ours(), None);
        ledger.must_abort();
        assert!(ledger.has_failed() && ledger.take_unwritten().is_empty());
    }
}
