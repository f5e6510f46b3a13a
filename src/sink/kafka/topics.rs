//! Which topics exist, and which may be made.
//!
//! A topic is looked for in the list of all topics, because asking for one by name creates it on many clusters.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headgate_sdk::{Str, pattern::matches};
use parking_lot::RwLock;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::Producer as _,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Config, client,
    error::{Meaning, explain},
    producer::Producer,
};
use crate::sink::SinkError;

/// How long the cluster may take to list its topics or to make one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The topics seen to exist, shared by all lanes.
pub(super) struct Topics {
    config: Config,
    known: RwLock<HashSet<Str>>,
    /// One question at a time; whoever waited for it shares its answer.
    asking: tokio::sync::Mutex<Option<SinkError>>,
    asked: AtomicU64,
}

/// Why no record may go to a topic: a stable word and a sentence.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Topics {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            known: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Makes sure that the topics exist; those that do not and must not be made come back with the reason.
    ///
    /// # Errors
    /// When the cluster cannot be asked now.
    pub(super) async fn ensure<'a>(
        &self,
        producer: &Arc<Producer>,
        topics: impl Iterator<Item = &'a Str>,
    ) -> Result<HashMap<Str, Refusal>, SinkError> {
        let unknown: BTreeSet<Str> = {
            let known = self.known.read();
            topics
                .filter(|topic| !known.contains(*topic))
                .cloned()
                .collect()
        };
        let mut refused = HashMap::new();
        if unknown.is_empty() {
            return Ok(refused);
        }
        let before = self.asked.load(Ordering::Acquire);
        let mut last = self.asking.lock().await;
        if self.asked.load(Ordering::Acquire) == before {
            *last = self.list(producer).await.err();
            self.asked.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(error) = &*last {
            return Err(error.clone());
        }
        for topic in unknown {
            if self.known.read().contains(&topic) {
                continue;
            }
            match self.make(&topic).await? {
                None => drop(self.known.write().insert(topic)),
                Some(refusal) => drop(refused.insert(topic, refusal)),
            }
        }
        Ok(refused)
    }

    /// The topic was not there after all.
    pub(super) fn forget(&self, topic: &str) {
        self.known.write().remove(topic);
    }

    /// Reads the list of all topics.
    pub(super) async fn list(&self, producer: &Arc<Producer>) -> Result<(), SinkError> {
        let producer = Arc::clone(producer);
        let listed = tokio::task::spawn_blocking(move || {
            let metadata = producer.inner().client().fetch_metadata(None, PATIENCE)?;
            Ok(metadata
                .topics()
                .iter()
                .map(|topic| Str::from(topic.name()))
                .collect::<HashSet<_>>())
        });
        match listed.await {
            Ok(Ok(topics)) => {
                *self.known.write() = topics;
                Ok(())
            }
            Ok(Err(error)) => {
                let error: rdkafka::error::KafkaError = error;
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                Err(SinkError::caused(explain(code, ""), error))
            }
            Err(_cancelled) => Err(SinkError::new("the runtime is shutting down")),
        }
    }

    /// Makes a topic, if the configuration allows it.
    async fn make(&self, topic: &Str) -> Result<Option<Refusal>, SinkError> {
        let config = &self.config.topics;
        let allowed = |name: &str| config.create.iter().any(|pattern| matches(pattern, name));
        if !allowed(topic) {
            return Ok(Some(Refusal {
                reason: "unknown_topic",
                message: explain(Code::UnknownTopic, topic),
            }));
        }
        let made = self
            .known
            .read()
            .iter()
            .filter(|known| allowed(known))
            .count();
        if made >= config.max {
            return Ok(Some(Refusal {
                reason: "too_many_topics",
                message: format!(
                    "`{topic}` would be one more than the {} topics that `topics.max` allows",
                    config.max
                ),
            }));
        }
        let admin: AdminClient<DefaultClientContext> =
            client::connection(&self.config).create().map_err(|error| {
                SinkError::caused(
                    "cannot talk to the cluster; check the sink's settings",
                    error,
                )
            })?;
        let retention = config
            .retention
            .map(|kept| kept.get().as_millis().to_string());
        let mut new = NewTopic::new(
            topic,
            config.partitions.unwrap_or(-1),
            TopicReplication::Fixed(config.replication.unwrap_or(-1)),
        );
        if let Some(retention) = &retention {
            new = new.set("retention.ms", retention);
        }
        for (name, value) in &config.settings {
            new = new.set(name, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let code = match admin.create_topics([&new], &options).await {
            Ok(results) => match results.into_iter().next() {
                Some(Err((_, code))) => Some(code),
                _ => None,
            },
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                return Err(SinkError::caused(explain(code, topic), error));
            }
        };
        match code {
            None => {
                tracing::info!(%topic, "created");
                Ok(None)
            }
            Some(Code::TopicAlreadyExists) => Ok(None),
            Some(code) => match Meaning::of(code) {
                Meaning::Rejected(reason) => Ok(Some(Refusal {
                    reason,
                    message: explain(code, topic),
                })),
                _ => Err(SinkError::new(explain(code, topic))),
            },
        }
    }
}
