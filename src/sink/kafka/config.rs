//! The sink's settings.

use std::{collections::BTreeMap, path::PathBuf};

use headgate_sdk::config::{ByteSize, HumanDuration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::transaction::{Delivery, Transactions};

/// Apache Kafka, or what speaks its protocol.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to ask for the cluster: `host:port`, several separated by commas.
    #[schemars(length(min = 1))]
    pub brokers: String,
    /// Whether an event may be in its topic twice after a crash.
    #[serde(default)]
    pub delivery: Delivery,
    /// How transactions are put together, with `delivery: exactly_once`.
    #[serde(default)]
    pub transactions: Transactions,
    /// How an event becomes a record.
    #[serde(default)]
    pub mode: Mode,
    /// How records are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How long a record may wait for others to share a request with. Longer is cheaper, shorter is sooner.
    #[serde(default = "Config::default_linger")]
    pub linger: HumanDuration,
    /// The most bytes of one request to one partition. Must not be above the topics' `max.message.bytes`.
    #[serde(default = "Config::default_batch_size")]
    pub batch_size: ByteSize,
    /// The largest record that is tried, before compression; larger ones become dead letters. The topics' own
    /// `max.message.bytes` applies too.
    #[serde(default = "Config::default_max_message_bytes")]
    pub max_message_bytes: ByteSize,
    /// What may be on its way at once; when it is reached, lanes wait. The client's own copies of small events take as much again. With
    /// `delivery: exactly_once` it is at least twice `transactions.max_bytes`.
    #[serde(default = "Config::default_max_in_flight")]
    pub max_in_flight: ByteSize,
    /// TLS; `{}` is enough for brokers with a public certificate.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// A user and how it proves itself.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Which topics are created, and how.
    #[serde(default)]
    pub topics: Topics,
    /// Whether the compacted topic `{group}.dead-letters` is kept up to date with the dead letters that wait, for whoever wants to see or alert on
    /// them in Kafka. The letters themselves are in `data_dir`, and nobody waits for the topic. Of several sinks, the first that says so has it.
    #[serde(default)]
    pub publish_dead_letters: bool,
    /// Further settings of librdkafka by its own names. What Headgate's promises rest on cannot be set here.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Config {
    /// A configuration with defaults for everything but the brokers.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            delivery: Delivery::default(),
            transactions: Transactions::default(),
            mode: Mode::default(),
            compression: Compression::default(),
            linger: Self::default_linger(),
            batch_size: Self::default_batch_size(),
            max_message_bytes: Self::default_max_message_bytes(),
            max_in_flight: Self::default_max_in_flight(),
            tls: None,
            sasl: None,
            topics: Topics::default(),
            publish_dead_letters: false,
            settings: BTreeMap::new(),
        }
    }

    fn default_linger() -> HumanDuration {
        HumanDuration::new(std::time::Duration::from_millis(5))
    }

    fn default_batch_size() -> ByteSize {
        ByteSize::from_mb(1)
    }

    fn default_max_message_bytes() -> ByteSize {
        ByteSize::from_mb(1)
    }

    fn default_max_in_flight() -> ByteSize {
        ByteSize::from_mb(32)
    }

    /// What may be on its way at once, in bytes. In transactions, one that is being written must never wait for room that it has itself.
    pub(super) fn room(&self) -> usize {
        let in_flight = self.max_in_flight.as_usize();
        match self.delivery {
            Delivery::AtLeastOnce => in_flight,
            Delivery::ExactlyOnce => in_flight.max(self.transactions.max_bytes.as_usize() * 2),
        }
    }

    /// What cannot work, without I/O: (JSON pointer, what to write instead).
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for broker in self.brokers.split(',').map(str::trim) {
            let port = broker
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                problems.push((
                    "/brokers".to_owned(),
                    format!("`{broker}` is not `host:port`; write for example `localhost:9092`"),
                ));
            }
        }
        problems.extend(self.transactions.problems());
        for name in self.settings.keys() {
            if OURS.contains(&name.as_str()) {
                problems.push((
                    format!("/settings/{name}"),
                    format!("`{name}` is set by Headgate itself; remove it"),
                ));
            }
        }
        if let Some(tls) = &self.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            problems.push((
                "/tls".to_owned(),
                "a client certificate needs both `certificate` and `key`".to_owned(),
            ));
        }
        if self.max_in_flight.bytes() < self.max_message_bytes.bytes() {
            problems.push((
                "/max_in_flight".to_owned(),
                "must not be below `max_message_bytes`".to_owned(),
            ));
        }
        for (n, pattern) in self.topics.create.iter().enumerate() {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
            if pattern.is_empty() || !pattern.chars().all(legal) {
                problems.push((
                    format!("/topics/create/{n}"),
                    format!("`{pattern}` is not a topic name with `*`; letters, digits, `.`, `_`, `-` and `*` are allowed"),
                ));
            }
        }
        problems
    }
}

/// Settings of librdkafka that the promises of this sink rest on.
const OURS: [&str; 21] = [
    "acks",
    "batch.size",
    "bootstrap.servers",
    "compression.codec",
    "compression.type",
    "enable.idempotence",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.required.acks",
    "retries",
    "sasl.password",
    "transaction.timeout.ms",
    "transactional.id",
];

/// How an event becomes a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Attributes as `ce_` headers, the data untouched as the value.
    #[default]
    Binary,
    /// One JSON object with everything as the value. The faster one: headers cost.
    Structured,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Widely known, slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast, and smaller than snappy.
    #[default]
    Lz4,
    /// Smallest, at more work.
    Zstd,
}

impl Compression {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// TLS to the brokers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the authorities to trust, instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Whether the certificate must be for the host name that was called. Switch it off for tests only.
    #[serde(default = "Tls::default_verify_hostname")]
    pub verify_hostname: bool,
}

impl Tls {
    fn default_verify_hostname() -> bool {
        true
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca: None,
            certificate: None,
            key: None,
            verify_hostname: true,
        }
    }
}

/// A user and how it proves itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Compares without telling anybody what the password is.
impl PartialEq for Sasl {
    fn eq(&self, other: &Self) -> bool {
        self.mechanism == other.mechanism
            && self.username == other.username
            && self.password.expose() == other.password.expose()
    }
}

/// How a user proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password as it is; use it with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password, with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password, with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Which topics are created, and how.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Names that may be created, with `*` for any text. Events for other topics that do not exist become dead letters.
    #[serde(default)]
    pub create: Vec<String>,
    /// The most topics that may match `create`, against names made of outside data without end.
    #[serde(default = "Topics::default_max")]
    pub max: usize,
    /// Partitions of a created topic; the broker's default if not given.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub partitions: Option<i32>,
    /// Copies of a created topic; the broker's default if not given.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub replication: Option<i32>,
    /// How long a created topic keeps records; the broker's default if not given.
    #[serde(default)]
    pub retention: Option<HumanDuration>,
    /// Further settings of a created topic by Kafka's own names.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Topics {
    fn default_max() -> usize {
        100
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            create: Vec::new(),
            max: Self::default_max(),
            partitions: None,
            replication: None,
            retention: None,
            settings: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_transaction_fits_into_the_room_twice() {
        let mut config = Config::new("localhost:9092");
        assert_eq!(config.room(), 32_000_000);
        config.delivery = Delivery::ExactlyOnce;
        assert_eq!(config.room(), 64_000_000);
        config.max_in_flight = ByteSize::from_mb(100);
        assert_eq!(config.room(), 100_000_000);
        config.transactions.max_bytes = ByteSize::from_mb(64);
        assert_eq!(config.room(), 128_000_000);
    }
}
