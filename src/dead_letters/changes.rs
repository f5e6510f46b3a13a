//! What happens to letters, in order: for somebody who tells it elsewhere.

use std::sync::atomic::Ordering;

use super::{
    DeadLetterStore, Kept, Resolved,
    record::{Content, decode},
    store::READ_BYTES,
};
use crate::segment::{Reader, SegmentError, Sequence};

/// One thing that happened.
#[derive(Debug)]
pub enum Change {
    /// A letter was written; it may have been resolved since. Without its data if that lies apart.
    Written(Box<Kept>),
    /// A letter was resolved.
    Resolved(Resolved),
}

/// Reads changes from a place on. What it has not [passed](Self::pass) stays in the store, within bounds.
pub struct Changes {
    store: DeadLetterStore,
    reader: Reader,
}

impl DeadLetterStore {
    /// Follows what happens to letters, from the change after `place` on. One at a time.
    #[must_use]
    pub fn follow(&self, place: Sequence) -> Changes {
        self.followed.store(place + 1, Ordering::Release);
        Changes {
            store: self.clone(),
            reader: self.log.reader(place + 1),
        }
    }

    /// The first place that the follower still needs. One that lags behind by more than half of the room must not take it from letters.
    pub(super) fn followed(&self) -> Sequence {
        let stats = self.log.stats();
        match stats.bytes > stats.max_bytes / 2 {
            true => Sequence::MAX,
            false => self.followed.load(Ordering::Acquire),
        }
    }
}

impl Changes {
    /// Waits for changes, with the place of the last one. `None`: the store is closed. `true` says that older ones were let go
    /// of unread. Cancel safe.
    ///
    /// # Errors
    /// [`SegmentError`] if the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<(Vec<Change>, Sequence, bool)>, SegmentError> {
        let expected = self.reader.position();
        let records = self.reader.next(READ_BYTES).await?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(None);
        };
        let (missed, last) = (first.sequence > expected, last.sequence);
        let mut changes = Vec::new();
        for record in records {
            let place = record.sequence;
            match decode(record.data) {
                Some(Content::Letter(stored)) => changes.push(Change::Written(Box::new(Kept {
                    // One that was moved is told again: where it was first may be gone.
                    position: stored.position.unwrap_or(place),
                    letter: *stored.letter,
                    apart: stored.apart.map(|apart| self.store.path_apart(&apart.name)),
                }))),
                Some(Content::Resolved(letters)) => {
                    changes.extend(letters.into_iter().map(Change::Resolved));
                }
                None => {}
            }
        }
        Ok(Some((changes, last, missed)))
    }

    /// Everything up to `place` was told: the store may let go of it.
    pub fn pass(&self, place: Sequence) {
        self.store.followed.store(place + 1, Ordering::Release);
        self.store.release();
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.store.followed.store(Sequence::MAX, Ordering::Release);
    }
}
