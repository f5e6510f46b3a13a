//! Where a source resumes.

use std::collections::BTreeMap;

use headgate_sdk::Position;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use crate::json::{self, JsonError, JsonFormat};

/// A place between two events of the stream, which may lie inside a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamPosition {
    /// The server's resume token, opaque.
    #[serde(serialize_with = "extended_json")]
    pub(crate) token: Document,
    /// Cluster time of the last event: seconds, then the counter within the second.
    #[serde(default)]
    pub(crate) time: (u32, u32),
    /// How many events of that cluster time are done.
    #[serde(default)]
    pub(crate) ordinal: u64,
    /// How many documents and tombstones came behind the last event.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) beside: u64,
    /// The transaction of the last event, if it was of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<Transaction>,
    /// Name of the replica set that wrote the token; none on a sharded cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replica_set: Option<String>,
}

/// How much of a transaction is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transaction {
    /// Session and number.
    pub(crate) id: String,
    /// Events so far.
    pub(crate) total: u64,
    /// Events so far, by namespace.
    pub(crate) counts: BTreeMap<String, u64>,
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Tokens of old servers hold binary data, which only Extended JSON keeps.
fn extended_json<S: Serializer>(token: &Document, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::new();
    RawDocumentBuf::try_from(token)
        .map_err(JsonError::from)
        .and_then(|token| json::write_document(&token, JsonFormat::Canonical, &mut text))
        .map_err(S::Error::custom)?;
    let text = String::from_utf8(text).map_err(S::Error::custom)?;
    RawValue::from_string(text)
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

impl StreamPosition {
    /// A place before anything was read.
    pub(crate) fn new(token: Document, replica_set: Option<String>) -> Self {
        Self {
            token,
            time: (0, 0),
            ordinal: 0,
            beside: 0,
            transaction: None,
            replica_set,
        }
    }

    /// The SDK's form.
    pub(crate) fn encode(&self) -> Position {
        Position::encode(self)
    }

    /// Counts an event at `time`; how many of that time came before it.
    pub(crate) fn count(&mut self, time: Option<Timestamp>) -> u64 {
        let time = time.map_or(self.time, |at| (at.time, at.increment));
        if time != self.time {
            self.time = time;
            self.ordinal = 0;
        }
        self.ordinal += 1;
        self.beside = 0;
        self.ordinal - 1
    }

    /// Counts what is sent behind the last event without being one of the stream; from one.
    pub(crate) fn count_beside(&mut self) -> u64 {
        self.beside += 1;
        self.beside
    }

    /// Notes that an event was of no transaction.
    pub(crate) fn leave_transaction(&mut self) {
        self.transaction = None;
    }

    /// Counts an event of transaction `id`: its numbers in the transaction, and in its namespace there.
    pub(crate) fn count_in(&mut self, id: &str, namespace: &str) -> (u64, u64) {
        let known = self.transaction.take().filter(|known| known.id == id);
        let transaction = self
            .transaction
            .insert(known.unwrap_or_else(|| Transaction {
                id: id.to_owned(),
                total: 0,
                counts: BTreeMap::new(),
            }));
        transaction.total += 1;
        let count = transaction.counts.entry(namespace.to_owned()).or_insert(0);
        *count += 1;
        (transaction.total, *count)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, Bson, doc, spec::BinarySubtype};

    use super::*;

    #[test]
    fn positions_come_back() {
        let mut position = StreamPosition::new(doc! { "_data": "8263" }, Some("rs0".into()));
        position.count(Some(Timestamp {
            time: 7,
            increment: 2,
        }));
        position.count_in("s:1", "shop.orders");
        insta::assert_snapshot!(position.encode().as_json(), @r#"{"token":{"_data":"8263"},"time":[7,2],"ordinal":1,"transaction":{"id":"s:1","total":1,"counts":{"shop.orders":1}},"replica_set":"rs0"}"#);
        assert_eq!(
            position.encode().decode::<StreamPosition>().unwrap(),
            position
        );
    }

    #[test]
    fn binary_tokens_of_old_servers_come_back() {
        let data = Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0, 130, 255],
        });
        let position = StreamPosition::new(doc! { "_data": data.clone(), "_typeBits": data }, None);
        assert_eq!(
            position.encode().decode::<StreamPosition>().unwrap(),
            position
        );
    }

    #[test]
    fn events_of_one_instant_are_numbered() {
        let at = |time, increment| Some(Timestamp { time, increment });
        let mut position = StreamPosition::new(doc! {}, None);
        let numbers = [at(1, 1), at(1, 1), at(1, 2), None, at(2, 1)].map(|t| position.count(t));
        assert_eq!(numbers, [0, 1, 0, 1, 0]);
    }
}
