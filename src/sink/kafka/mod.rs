//! Kafka: events as CloudEvents on topics, through librdkafka.
//!
//! At least once, one idempotent producer with `acks=all` serves all lanes. librdkafka sends again by itself, in order, for as long
//! as it takes (`message.timeout.ms=0`), so that an outage shows as outcomes that do not come, never as records taken back.
//! Exactly once is in the folder `transaction`: a transactional producer for each shard, and checkpoints in the transactions.
//!
//! Invariants: a record is handed to librdkafka once per attempt, and its report comes back exactly once; a batch is durable
//! when every report says so; what waits inside librdkafka is bounded by our own room, never by its queue-full
//! error; a topic is written to only after it was seen to exist, and created only if the configuration says so.
//!
//! | what happens | outcome |
//! |---|---|
//! | broker away, slow, restarted; leader moves; too few replicas; broker's disk full | none until it is over; librdkafka keeps the order and sends again |
//! | start while no broker answers | retriable |
//! | record above `max_message_bytes`, or above the topic's limit | rejected: `too_large` (a refused broker batch is sent again record by record, so that only the culprit is) |
//! | topic does not exist and may not be created | rejected: `unknown_topic`; over the cap: `too_many_topics`; impossible name: `invalid_topic` |
//! | topic deleted while in use | retriable once; then as above |
//! | record refused by the topic's rules | rejected: `refused_by_broker`, likewise |
//! | not authorised, wrong password, certificate refused | retriable, and the state says what to grant or change |
//! | fatal error of the producer | retriable, with a new producer |

pub(super) mod check;
mod client;
mod config;
mod context;
mod encode;
mod error;
mod health;
mod letters;
mod pending;
mod producer;
mod reach;
mod reader;
mod service;
mod sink;
mod tls;
mod topics;
mod transaction;

pub use config::{Compression, Config, Mechanism, Mode, Sasl, Tls, Topics};
pub use letters::{Letter, LetterTopic};
pub use reach::reach;
pub use reader::{Found, ReadError, Span, TopicReader};
pub use sink::KafkaSink;
pub use transaction::{Delivery, Member, Transactions};
