//! Questions to the cluster.

use std::collections::HashMap;

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    client::DefaultClientContext,
    error::KafkaError,
    producer::{Producer as _, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use tokio::runtime::Handle;

use super::{
    PATIENCE,
    rights::{self, Rights},
};
use crate::sink::kafka::{Config, client, error::explain, tls};

/// A cluster that answers.
pub(super) struct Cluster {
    admin: AdminClient<DefaultClientContext>,
    pub(super) topics: Vec<Topic>,
    broker: i32,
    pub(super) brokers: usize,
    /// What this user may do to the topics that were asked about.
    rights: HashMap<String, Rights>,
}

/// A topic as the cluster lists it.
#[derive(Clone)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: usize,
    /// The fewest replicas of a partition.
    pub(super) replicas: usize,
    /// The fewest of them in sync.
    pub(super) in_sync: usize,
}

impl Cluster {
    /// Asks for the list of topics.
    pub(super) fn connect(config: &Config) -> Result<Self, String> {
        tls::check(config).map_err(|error| error.to_string())?;
        let admin: AdminClient<DefaultClientContext> = client::connection(config)
            .create()
            .map_err(|error| tls::unmade(config, error).to_string())?;
        let metadata = admin
            .inner()
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| said(&error, ""))?;
        let topics = metadata.topics().iter().map(|topic| {
            let partitions = topic.partitions();
            Topic {
                name: topic.name().to_owned(),
                partitions: partitions.len(),
                replicas: partitions
                    .iter()
                    .map(|p| p.replicas().len())
                    .min()
                    .unwrap_or(0),
                in_sync: partitions.iter().map(|p| p.isr().len()).min().unwrap_or(0),
            }
        });
        Ok(Self {
            topics: topics.collect(),
            broker: metadata.brokers().first().map_or(0, |broker| broker.id()),
            brokers: metadata.brokers().len(),
            rights: HashMap::new(),
            admin,
        })
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// Asks what this user may do to `topics`; [`rights`](Self::rights) knows it from then on.
    pub(super) fn ask_rights(&mut self, topics: &[String]) -> Result<(), String> {
        if !topics.is_empty() {
            self.rights = rights::of_topics(self.admin.inner(), topics, PATIENCE)?;
        }
        Ok(())
    }

    /// What this user may do to a topic, if that was asked and answered.
    pub(super) fn rights(&self, topic: &str) -> Option<&Rights> {
        self.rights.get(topic)
    }

    /// The settings of a topic; `None` if this user may not see them.
    pub(super) fn settings(&self, topic: &str) -> Result<Option<Settings>, String> {
        self.describe(ResourceSpecifier::Topic(topic))
    }

    /// The settings of a broker; `None` if this user may not see them.
    pub(super) fn broker(&self) -> Result<Option<Settings>, String> {
        self.describe(ResourceSpecifier::Broker(self.broker))
    }

    fn describe(&self, what: ResourceSpecifier<'_>) -> Result<Option<Settings>, String> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = self.admin.describe_configs([&what], &options);
        let described = Handle::current()
            .block_on(asked)
            .map_err(|error| said(&error, ""))?;
        match described.into_iter().next() {
            // What this user may not see comes without an error, and without anything else.
            Some(Ok(resource)) if resource.entries.is_empty() => Ok(None),
            Some(Ok(resource)) => Ok(Some(Settings::of(&resource))),
            Some(Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) | None => {
                Ok(None)
            }
            Some(Err(code)) => Err(explain(code, "")),
        }
    }

    /// Registers a transactional id, as a shard does at its start.
    pub(super) fn register(&self, config: &Config, id: &str) -> Result<(), (Code, String)> {
        let timeout = config.transactions.timeout.get().as_millis().to_string();
        let mut settings = client::producer(config);
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", &timeout);
        let failed = |error: KafkaError| {
            let code = match &error {
                KafkaError::Transaction(said) => said.code(),
                other => other.rdkafka_error_code().unwrap_or(Code::Unknown),
            };
            (code, error.to_string())
        };
        let producer: ThreadedProducer<_> = settings.create().map_err(failed)?;
        producer.init_transactions(PATIENCE).map_err(failed)
    }
}

/// Settings by name.
pub(super) struct Settings(HashMap<String, String>);

impl Settings {
    fn of(resource: &ConfigResource) -> Self {
        let entries = resource.entries.iter();
        Self(
            entries
                .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)))
                .collect(),
        )
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
}

fn said(error: &KafkaError, topic: &str) -> String {
    match error.rdkafka_error_code() {
        Some(code) => explain(code, topic),
        None => error.to_string(),
    }
}
