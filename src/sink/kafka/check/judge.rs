//! What is fine and what is not.

use std::time::Duration;

use headgate_sdk::pattern::matches;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{
    ask::{Cluster, Settings, Topic},
    permissions::user,
    report::Report,
    rights::Rights,
};
use crate::sink::kafka::{Config, Delivery};

/// What the person asks about.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// Names, with `*` for any text.
    pub(super) topics: Vec<String>,
    pub(super) group: String,
    pub(super) shards: Option<u16>,
    /// Bytes a second of one topic.
    pub(super) peak: Option<u64>,
    /// Bytes a second that one partition takes.
    pub(super) per_partition: u64,
    pub(super) recovery: Option<Duration>,
}

/// Judges every topic that is written to.
pub(super) fn topics(
    cluster: &Cluster,
    config: &Config,
    wishes: &Wishes,
    report: &mut Report,
) -> Result<(), String> {
    for pattern in &wishes.topics {
        if pattern.contains('*') {
            let found = cluster.topics.iter();
            let found: Vec<&Topic> = found
                .filter(|topic| !topic.name.starts_with("__") && matches(pattern, &topic.name))
                .collect();
            if found.is_empty() {
                report.note(format!(
                    "topics `{pattern}`: none is there yet{}",
                    creation(config, pattern)
                ));
            }
            for topic in found {
                judge(cluster, topic, config, wishes, report)?;
            }
        } else if let Some(topic) = cluster.topic(pattern) {
            judge(cluster, topic, config, wishes, report)?;
        } else if config
            .topics
            .create
            .iter()
            .any(|allowed| matches(allowed, pattern))
        {
            report.note(format!(
                "topic `{pattern}`: not there yet; `topics.create` allows it to be made"
            ));
        } else if matches!(cluster.rights(pattern), Some(Rights::To(_))) {
            report.wrong(
                format!(
                    "topic `{pattern}`: was made, or opened to this user, a moment ago; check again"
                ),
                &[],
            );
        } else if cluster.rights(pattern) != Some(&Rights::Hidden) {
            let create = format!(
                "kafka-topics.sh {} --create --topic {pattern} --partitions {}",
                report.bootstrap,
                wanted_partitions(wishes).unwrap_or(3)
            );
            report.wrong(
                format!("topic `{pattern}`: does not exist, and `topics.create` does not allow it to be made"),
                &[create],
            );
        }
    }
    Ok(())
}

fn creation(config: &Config, pattern: &str) -> String {
    if config.topics.create.is_empty() {
        return "; `topics.create` allows none to be made, so events for others become dead letters"
            .to_owned();
    }
    format!(
        "; those that match {} are made when `{pattern}` leads there",
        config.topics.create.join(", ")
    )
}

fn wanted_partitions(wishes: &Wishes) -> Option<u64> {
    Some(wishes.peak?.div_ceil(wishes.per_partition).max(1))
}

fn judge(
    cluster: &Cluster,
    topic: &Topic,
    config: &Config,
    wishes: &Wishes,
    report: &mut Report,
) -> Result<(), String> {
    let name = &topic.name;
    match wanted_partitions(wishes) {
        None => report.note(format!(
            "topic `{name}`: {} partitions; say `--peak SIZE` to know whether that is enough",
            topic.partitions
        )),
        Some(wanted) if topic.partitions as u64 >= wanted => report.fine(format!(
            "topic `{name}`: {} partitions, {wanted} are enough for the peak",
            topic.partitions
        )),
        Some(wanted) => {
            let more = format!(
                "kafka-topics.sh {} --alter --topic {name} --partitions {wanted}",
                report.bootstrap
            );
            report.wrong(
                format!(
                    "topic `{name}`: {} partitions, the peak needs {wanted} (more partitions move keys: their order holds from then on)",
                    topic.partitions
                ),
                &[more],
            );
        }
    }
    let Some(settings) = cluster.settings(name)? else {
        let user = user(config);
        report.wrong(
            format!(
                "topic `{name}`: its settings are hidden from this user, so they are not checked"
            ),
            &[report.grant(
                &user,
                &format!("--operation DescribeConfigs --topic {name}"),
            )],
        );
        return Ok(());
    };
    retention(name, &settings, wishes, report);
    replicas(cluster, topic, &settings, report);
    size(name, &settings, config, report);
    Ok(())
}

fn retention(name: &str, settings: &Settings, wishes: &Wishes, report: &mut Report) {
    let compacted = settings.text("cleanup.policy").unwrap_or("delete") == "compact";
    let Some(kept) = settings.number("retention.ms").filter(|_| !compacted) else {
        return report.fine(format!(
            "topic `{name}`: compacted, it keeps the last record of each key"
        ));
    };
    let Some(recovery) = wishes.recovery else {
        return report.note(format!(
            "topic `{name}`: keeps {}; say `--recovery TIME` to know whether that is enough",
            hours(kept)
        ));
    };
    let needed = i64::try_from(recovery.as_millis()).unwrap_or(i64::MAX);
    if kept >= 0 && kept < needed {
        return report.wrong(
            format!(
                "topic `{name}`: keeps {}, consumers may be away for {}",
                hours(kept),
                hours(needed)
            ),
            &[report.alter(name, "retention.ms", needed)],
        );
    }
    match settings.number("retention.bytes") {
        Some(bytes) if bytes >= 0 => report.note(format!(
            "topic `{name}`: keeps {}, but at most {bytes} bytes a partition (retention.bytes), which may be less",
            hours(kept)
        )),
        _ => report.fine(format!("topic `{name}`: keeps {}", hours(kept))),
    }
}

fn hours(ms: i64) -> String {
    if ms < 0 {
        "everything".to_owned()
    } else {
        format!("{} h", ms / 3_600_000)
    }
}

fn replicas(cluster: &Cluster, topic: &Topic, settings: &Settings, report: &mut Report) {
    let name = &topic.name;
    let least = settings.number("min.insync.replicas").unwrap_or(1);
    let least = usize::try_from(least).unwrap_or(1);
    if topic.replicas < least {
        return report.wrong(
            format!("topic `{name}`: {} replicas, but min.insync.replicas={least}: there are never so many, and some versions of Kafka then refuse what is written", topic.replicas),
            &[report.alter(name, "min.insync.replicas", topic.replicas.max(1))],
        );
    }
    if topic.in_sync < least {
        return report.wrong(
            format!(
                "topic `{name}`: only {} replicas in sync, min.insync.replicas={least}: nothing can be written until brokers come back",
                topic.in_sync
            ),
            &[],
        );
    }
    if topic.replicas == 1 {
        let why = if cluster.brokers > 1 {
            "one replica: losing its broker loses events; make the topic anew with --replication-factor 3"
        } else {
            "one replica on the cluster's only broker: losing that disk loses events"
        };
        report.note(format!("topic `{name}`: {why}"));
    } else if least < 2 {
        report.wrong(
            format!(
                "topic `{name}`: {} replicas, but min.insync.replicas=1: what was acknowledged may be on one broker alone",
                topic.replicas
            ),
            &[report.alter(name, "min.insync.replicas", 2)],
        );
    } else {
        report.fine(format!(
            "topic `{name}`: {} replicas, min.insync.replicas={least}",
            topic.replicas
        ));
    }
}

fn size(name: &str, settings: &Settings, config: &Config, report: &mut Report) {
    let Some(largest) = settings.number("max.message.bytes") else {
        return;
    };
    let largest = u64::try_from(largest).unwrap_or(0);
    let (record, batch) = (config.max_message_bytes.bytes(), config.batch_size.bytes());
    let needed = record.max(batch);
    if largest < needed {
        report.wrong(
            format!(
                "topic `{name}`: takes at most {largest} bytes at once, the sink sends up to {needed} (`max_message_bytes`, `batch_size`): what is \
                 larger becomes a dead letter, and requests are refused and sent again singly"
            ),
            &[report.alter(name, "max.message.bytes", needed + needed / 10)],
        );
    } else {
        report.fine(format!(
            "topic `{name}`: takes {largest} bytes at once, the sink sends at most {needed}"
        ));
    }
}

/// Judges what exactly once needs besides.
pub(super) fn transactions(
    cluster: &Cluster,
    config: &Config,
    wishes: &Wishes,
    report: &mut Report,
) -> Result<(), String> {
    if config.delivery != Delivery::ExactlyOnce {
        return Ok(());
    }
    let timeout_ms =
        i64::try_from(config.transactions.timeout.get().as_millis()).unwrap_or(i64::MAX);
    let settings = cluster.broker()?;
    let most = settings.and_then(|settings| settings.number("transaction.max.timeout.ms"));
    match most {
        // No command of Kafka's tools changes it: brokers refuse to in operation.
        Some(most) if timeout_ms > most => report.wrong(
            format!(
                "transactions: `transactions.timeout` is {timeout_ms} ms, the broker's transaction.max.timeout.ms {most}: write `transactions: {{ timeout: {most}ms }}`, or \
                 put the line below into server.properties of every broker, and restart one after the other"
            ),
            &[format!("transaction.max.timeout.ms={timeout_ms}")],
        ),
        Some(most) => report.fine(format!("transactions: timeout {timeout_ms} ms, the broker allows {most}")),
        None => report.note("transactions: the broker's transaction.max.timeout.ms is hidden from this user"),
    }
    let id = format!("{}-check", wishes.group);
    match cluster.register(config, &id) {
        Ok(()) => report.fine(format!(
            "transactions: `{id}` was registered, as the shards will be"
        )),
        Err((Code::TransactionalIdAuthorizationFailed, _)) => {
            let what = format!(
                "--operation Write --operation Describe --transactional-id {}- --resource-pattern-type prefixed",
                wishes.group
            );
            report.wrong(
                format!("transactions: this user may not use the transactional id `{id}`"),
                &[report.grant(&user(config), &what)],
            );
        }
        Err((Code::InvalidTransactionTimeout, _)) if most.is_some_and(|most| timeout_ms > most) => {
        }
        Err((_, message)) => {
            report.wrong(
                format!("transactions: `{id}` was not registered: {message}"),
                &[],
            );
        }
    }
    checkpoints(cluster, wishes, report)
}

fn checkpoints(cluster: &Cluster, wishes: &Wishes, report: &mut Report) -> Result<(), String> {
    let name = format!("{}.checkpoints", wishes.group);
    let Some(topic) = cluster.topic(&name) else {
        report.note(format!("topic `{name}`: not there yet; it is made at the first start, with one partition a shard"));
        return Ok(());
    };
    match wishes.shards {
        Some(shards) if usize::from(shards) != topic.partitions => report.wrong(
            format!("topic `{name}`: {} partitions, but `shards: {shards}`: the gateway will refuse to start its shards; write `shards: {}`", topic.partitions, topic.partitions),
            &[],
        ),
        _ => report.fine(format!("topic `{name}`: {} partitions, the group's number of shards", topic.partitions)),
    }
    if let Some(settings) = cluster.settings(&name)?
        && settings.text("cleanup.policy") != Some("compact")
    {
        report.wrong(
            format!("topic `{name}`: must be compacted, or checkpoints are deleted"),
            &[report.alter(&name, "cleanup.policy", "compact")],
        );
    }
    Ok(())
}
