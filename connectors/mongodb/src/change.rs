//! A change event as the server sent it, and the pieces of one that had to be split.

use mongodb::bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};

/// Borrowed parts of a change event. Nothing inside documents is looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) token: Option<&'a RawDocument>,
    pub(crate) operation: &'a str,
    pub(crate) database: &'a str,
    pub(crate) collection: Option<&'a str>,
    pub(crate) to: Option<(&'a str, &'a str)>,
    pub(crate) key: Option<&'a RawDocument>,
    pub(crate) after: Option<&'a RawDocument>,
    pub(crate) before: Option<&'a RawDocument>,
    pub(crate) update: Option<&'a RawDocument>,
    pub(crate) description: Option<&'a RawDocument>,
    pub(crate) cluster_time: Option<Timestamp>,
    pub(crate) wall_time: Option<DateTime>,
    pub(crate) session: Option<&'a RawDocument>,
    pub(crate) transaction: Option<i64>,
    /// (this fragment, of how many)
    pub(crate) split: Option<(i32, i32)>,
}

/// An event that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Not even its position is known.
    #[error("a change event has no resume token: `pipeline` must keep `_id`")]
    NoToken,
    /// The pipeline took away what names it.
    #[error("a change event has no `operationType`: `pipeline` must keep it")]
    NoOperation,
    /// A fragment came without those before it.
    #[error("fragment {got} of an event came where fragment {expected} belongs")]
    Fragment {
        /// Which came.
        got: i32,
        /// Which should have come.
        expected: i32,
    },
    /// The bytes are no BSON.
    #[error("a change event is malformed: {0}")]
    Malformed(#[from] mongodb::bson::error::Error),
}

impl<'a> Change<'a> {
    /// Reads the top level of an event.
    pub(crate) fn read(event: &'a RawDocument) -> Result<Self, ChangeError> {
        let mut change = Self::default();
        for element in event.iter_elements() {
            let element = element?;
            let value = element.value()?;
            match (element.key().as_str(), value) {
                ("_id", RawBsonRef::Document(token)) => change.token = Some(token),
                ("operationType", RawBsonRef::String(operation)) => change.operation = operation,
                ("ns", RawBsonRef::Document(ns)) => {
                    let (database, collection) = namespace(ns)?;
                    change.database = database;
                    change.collection = collection;
                }
                ("to", RawBsonRef::Document(to)) => {
                    if let (database, Some(collection)) = namespace(to)? {
                        change.to = Some((database, collection));
                    }
                }
                ("documentKey", RawBsonRef::Document(key)) => change.key = Some(key),
                ("fullDocument", RawBsonRef::Document(after)) => change.after = Some(after),
                ("fullDocumentBeforeChange", RawBsonRef::Document(before)) => {
                    change.before = Some(before);
                }
                ("updateDescription", RawBsonRef::Document(update)) => change.update = Some(update),
                ("operationDescription", RawBsonRef::Document(description)) => {
                    change.description = Some(description);
                }
                ("clusterTime", RawBsonRef::Timestamp(at)) => change.cluster_time = Some(at),
                ("wallTime", RawBsonRef::DateTime(at)) => change.wall_time = Some(at),
                ("lsid", RawBsonRef::Document(session)) => change.session = Some(session),
                ("txnNumber", RawBsonRef::Int64(number)) => change.transaction = Some(number),
                ("txnNumber", RawBsonRef::Int32(number)) => {
                    change.transaction = Some(i64::from(number));
                }
                ("splitEvent", RawBsonRef::Document(split)) => {
                    change.split = Some((
                        split.get_i32("fragment").unwrap_or(0),
                        split.get_i32("of").unwrap_or(0),
                    ));
                }
                _ => {}
            }
        }
        if change.token.is_none() {
            return Err(ChangeError::NoToken);
        }
        Ok(change)
    }

    /// The document's `_id`.
    pub(crate) fn id(&self) -> Option<RawBsonRef<'a>> {
        self.key.and_then(|key| key.get("_id").ok().flatten())
    }
}

fn namespace(ns: &RawDocument) -> Result<(&str, Option<&str>), ChangeError> {
    let text = |key| match ns.get(key) {
        Ok(Some(RawBsonRef::String(text))) => Ok(Some(text)),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    Ok((text("db")?.unwrap_or_default(), text("coll")?))
}

/// Puts split events together again.
///
/// Invariant: nothing of an event is passed on before its last fragment is there, so only that one's token is ever stored.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    held: Option<RawDocumentBuf>,
    seen: i32,
}

impl Fragments {
    /// Takes a fragment; the whole event, under its last token, if this was the last.
    pub(crate) fn add(
        &mut self,
        fragment: &RawDocument,
        (number, of): (i32, i32),
    ) -> Result<Option<RawDocumentBuf>, ChangeError> {
        if number != self.seen + 1 {
            return Err(ChangeError::Fragment {
                got: number,
                expected: self.seen + 1,
            });
        }
        let last = number >= of;
        let held = self.held.get_or_insert_with(RawDocumentBuf::new);
        for element in fragment.iter_elements() {
            let element = element?;
            match element.key().as_str() {
                "splitEvent" => {}
                "_id" if !last => {}
                _ => held.append(element.key(), element.value()?),
            }
        }
        self.seen = number;
        if last {
            self.seen = 0;
            return Ok(self.held.take());
        }
        Ok(None)
    }

    /// Whether an event is incomplete: nothing that was read since may be stored as a position.
    pub(crate) fn is_pending(&self) -> bool {
        self.seen > 0
    }

    /// Forgets an incomplete event: the stream is read again from before it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    fn fragments() -> [RawDocumentBuf; 3] {
        [
            rawdoc! { "_id": { "_data": "1" }, "splitEvent": { "fragment": 1, "of": 3 }, "operationType": "update", "ns": { "db": "a", "coll": "b" }, "clusterTime": Timestamp { time: 1, increment: 2 } },
            rawdoc! { "_id": { "_data": "2" }, "splitEvent": { "fragment": 2, "of": 3 }, "fullDocument": { "_id": 1, "x": "y" } },
            rawdoc! { "_id": { "_data": "3" }, "splitEvent": { "fragment": 3, "of": 3 }, "fullDocumentBeforeChange": { "_id": 1 }, "documentKey": { "_id": 1 } },
        ]
    }

    #[test]
    fn fragments_become_one_event_under_the_last_token() {
        let mut whole = None;
        let mut pieces = Fragments::default();
        for fragment in &fragments() {
            assert!(whole.is_none());
            let split = Change::read(fragment).unwrap().split.unwrap();
            whole = pieces.add(fragment, split).unwrap();
            assert_eq!(pieces.is_pending(), whole.is_none());
        }
        let whole = whole.unwrap();
        let change = Change::read(&whole).unwrap();
        assert_eq!(change.token.unwrap().get_str("_data").unwrap(), "3");
        assert_eq!(change.operation, "update");
        assert_eq!(change.after.unwrap().get_str("x").unwrap(), "y");
        assert!(change.before.is_some() && change.key.is_some() && change.split.is_none());
    }

    #[test]
    fn a_missing_fragment_is_an_error_and_a_new_start_is_possible() {
        let all = fragments();
        let mut pieces = Fragments::default();
        pieces.add(&all[0], (1, 3)).unwrap();
        assert!(matches!(
            pieces.add(&all[2], (3, 3)),
            Err(ChangeError::Fragment {
                got: 3,
                expected: 2
            })
        ));
        pieces.clear();
        assert!(pieces.add(&all[0], (1, 3)).unwrap().is_none());
    }

    #[test]
    fn an_event_without_a_token_is_an_error() {
        assert!(matches!(
            Change::read(&rawdoc! { "operationType": "insert" }),
            Err(ChangeError::NoToken)
        ));
    }
}
