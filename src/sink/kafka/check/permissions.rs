//! Whether this user may do what the sink does.

use headgate_sdk::pattern::matches;
use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;

use super::{ask::Cluster, judge::Wishes, report::Report, rights::Rights};
use crate::sink::kafka::{Config, Delivery};

/// A topic, and what the sink does to it.
pub(super) struct Needed {
    pub(super) topic: String,
    /// Without these it does not work.
    must: Vec<Operation>,
    /// Without these it works except for what they are for.
    may: Option<(Operation, &'static str)>,
    /// Whether the sink makes it where it is missing.
    is_own: bool,
}

const WRITES: [Operation; 2] = [
    Operation::RD_KAFKA_ACL_OPERATION_WRITE,
    Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
];
const READ: Operation = Operation::RD_KAFKA_ACL_OPERATION_READ;

/// What the sink does to topics that are named, or that are there and match.
pub(super) fn needed(cluster: &Cluster, config: &Config, wishes: &Wishes) -> Vec<Needed> {
    let there = cluster.topics.iter().map(|topic| topic.name.as_str());
    let mut topics: Vec<&str> = Vec::new();
    for pattern in &wishes.topics {
        if pattern.contains('*') {
            let found = there
                .clone()
                .filter(|name| !name.starts_with("__") && matches(pattern, name));
            topics.extend(found);
        } else {
            topics.push(pattern);
        }
    }
    let mut needed: Vec<Needed> = topics
        .into_iter()
        .map(|topic| Needed {
            topic: topic.to_owned(),
            must: WRITES.into(),
            may: Some((READ, "`headgate trace` and `headgate replay` read it")),
            is_own: false,
        })
        .collect();
    let own = |name: &str| format!("{}.{name}", wishes.group);
    if config.delivery == Delivery::ExactlyOnce {
        needed.push(Needed {
            topic: own("checkpoints"),
            must: [&WRITES[..], &[READ]].concat(),
            may: None,
            is_own: true,
        });
    }
    if config.publish_dead_letters {
        needed.push(Needed {
            topic: own("dead-letters"),
            must: WRITES.into(),
            may: None,
            is_own: true,
        });
    }
    needed
}

/// Judges it. `unknown` says why the brokers did not tell.
pub(super) fn judge(
    cluster: &Cluster,
    config: &Config,
    wishes: &Wishes,
    needed: &[Needed],
    unknown: Option<String>,
    report: &mut Report,
) {
    let user = user(config);
    let list = |operations: &[Operation]| {
        let words: Vec<String> = operations.iter().map(|one| word(*one)).collect();
        words.join(" ")
    };
    if let Some(message) = unknown {
        report.note(format!("permissions: {message}; what the sink needs:"));
    }
    for needed in needed {
        let Needed {
            topic,
            must,
            may,
            is_own,
        } = needed;
        let name = format!("--topic {topic}");
        match cluster.rights(topic) {
            Some(Rights::To(Some(given))) => {
                let lacks: Vec<Operation> = must
                    .iter()
                    .copied()
                    .filter(|one| !given.contains(one))
                    .collect();
                if lacks.is_empty() {
                    report.fine(format!(
                        "topic `{topic}`: this user has {}",
                        list(must).to_uppercase()
                    ));
                } else {
                    let grant = report_grant(report, &user, &lacks, &name);
                    report.wrong(
                        format!(
                            "topic `{topic}`: this user lacks {}",
                            list(&lacks).to_uppercase()
                        ),
                        &[grant],
                    );
                }
                if let Some((operation, what_for)) = may
                    && !given.contains(operation)
                {
                    let grant = report_grant(report, &user, &[*operation], &name);
                    report.note(format!(
                        "topic `{topic}`: this user lacks {}: {what_for}",
                        word(*operation).to_uppercase()
                    ));
                    report.note(format!("  {grant}"));
                }
            }
            Some(Rights::Hidden) => {
                let grant = report_grant(report, &user, must, &name);
                report.wrong(
                    format!("topic `{topic}`: does not exist, or this user may not see it"),
                    &[grant],
                );
            }
            Some(Rights::Missing) if *is_own => {
                let create = [&must[..], &[Operation::RD_KAFKA_ACL_OPERATION_CREATE]].concat();
                let grant = report_grant(report, &user, &create, &name);
                report.note(format!(
                    "topic `{topic}`: the sink makes it; where permissions are given one by one, that needs"
                ));
                report.note(format!("  {grant}"));
            }
            // What is to be made is judged when it is there.
            Some(Rights::Missing) => {}
            Some(Rights::To(None)) | None => {
                let grant = report_grant(report, &user, must, &name);
                report.note(format!("  {grant}"));
            }
        }
    }
    patterns(wishes, &user, report);
}

/// What is not there yet cannot be asked about.
fn patterns(wishes: &Wishes, user: &str, report: &mut Report) {
    for pattern in &wishes.topics {
        let Some((prefix, _)) = pattern.split_once('*') else {
            continue;
        };
        let resource = match prefix {
            "" => "--topic '*'".to_owned(),
            prefix => format!("--topic {prefix} --resource-pattern-type prefixed"),
        };
        let grant = report_grant(report, user, &WRITES, &resource);
        report.note(format!(
            "topics `{pattern}`: where permissions are given one by one, those that come later need"
        ));
        report.note(format!("  {grant}"));
    }
}

fn report_grant(report: &Report, user: &str, operations: &[Operation], resource: &str) -> String {
    let operations: Vec<String> = operations
        .iter()
        .map(|one| format!("--operation {}", word(*one)))
        .collect();
    report.grant(user, &format!("{} {resource}", operations.join(" ")))
}

/// As Kafka's tools write it.
fn word(operation: Operation) -> String {
    match operation {
        Operation::RD_KAFKA_ACL_OPERATION_WRITE => "Write",
        Operation::RD_KAFKA_ACL_OPERATION_READ => "Read",
        Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE => "Describe",
        _ => "Create",
    }
    .to_owned()
}

/// Who the brokers take this sink for, as far as its settings tell.
pub(super) fn user(config: &Config) -> String {
    config
        .sasl
        .as_ref()
        .map_or_else(|| "ANONYMOUS".to_owned(), |sasl| sasl.username.clone())
}
