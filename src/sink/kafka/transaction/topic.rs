//! The topic of checkpoints: there, compacted, with one partition a shard.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode as Code,
};
use tokio::runtime::Handle;

use crate::sink::{
    SinkError,
    kafka::{Config, client, error::explain},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Why the topic cannot be used.
#[derive(Debug)]
pub(super) enum TopicError {
    /// Not now.
    Retriable(SinkError),
    /// Its partitions are those of another number of shards.
    OtherShards(String),
}

/// Makes sure that `topic` is there with `shards` partitions, which is where the number of shards of the group is stored.
/// Blocks; to be called on a thread of its own.
pub(super) fn ensure(
    config: &Config,
    topic: &str,
    shards: u16,
    runtime: &Handle,
) -> Result<(), TopicError> {
    let admin: AdminClient<DefaultClientContext> = client::connection(config)
        .create()
        .map_err(|error| retriable(topic, &error))?;
    let partitions = count(&admin, topic)?;
    if partitions == 0 {
        return runtime.block_on(create(&admin, config, topic, shards));
    }
    if partitions != usize::from(shards) {
        return Err(TopicError::OtherShards(format!(
            "topic `{topic}` has {partitions} partitions, the group's number of shards, but this gateway has {shards} shards: \
             write `shards: {partitions}` and start with a new `data_dir`, or give this gateway a `group` of its own"
        )));
    }
    Ok(())
}

/// Its partitions, 0 if it does not exist. Asks for the list of all topics, because asking for one by name may create it.
fn count(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<usize, TopicError> {
    let metadata = admin
        .inner()
        .fetch_metadata(None, PATIENCE)
        .map_err(|error| retriable(topic, &error))?;
    let found = metadata.topics().iter().find(|known| known.name() == topic);
    Ok(found.map_or(0, |found| found.partitions().len()))
}

async fn create(
    admin: &AdminClient<DefaultClientContext>,
    config: &Config,
    topic: &str,
    shards: u16,
) -> Result<(), TopicError> {
    let replication = config.topics.replication.unwrap_or(-1);
    let new = NewTopic::new(topic, shards.into(), TopicReplication::Fixed(replication))
        .set("cleanup.policy", "compact")
        // Whoever reads it from the start must not miss that an entry was removed, even if reading takes days.
        .set("delete.retention.ms", "604800000")
        .set("segment.bytes", "67108864")
        .set("min.cleanable.dirty.ratio", "0.1");
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let results = admin
        .create_topics([&new], &options)
        .await
        .map_err(|error| retriable(topic, &error))?;
    match results.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) => {
            // Somebody else was faster; the next attempt looks at what they made.
            Err(TopicError::Retriable(SinkError::new(format!(
                "topic `{topic}` is being made"
            ))))
        }
        Some(Err((_, code))) => Err(TopicError::Retriable(SinkError::new(explain(code, topic)))),
        _ => {
            tracing::info!(%topic, shards, "created");
            Ok(())
        }
    }
}

fn retriable(topic: &str, error: &rdkafka::error::KafkaError) -> TopicError {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    TopicError::Retriable(SinkError::caused(explain(code, topic), error.clone()))
}
