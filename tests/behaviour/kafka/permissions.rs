//! `headgate kafka check` of a user who may do nothing yet: running what it prints, until it finds nothing more.

use std::{collections::BTreeSet, time::Instant};

use super::{brokers, topic};
use crate::support::{
    gateway::{DEADLINE, Place},
    kafka_tools, server, unique,
};

/// The commands below lines that say WRONG, or below notes that say `of`.
fn commands(told: &str, of: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_of = false;
    for line in told.lines() {
        let line = line.trim_start_matches("  ");
        match line
            .find("kafka-")
            .filter(|at| line[..*at].trim_start_matches("note").trim().is_empty())
        {
            Some(at) if is_of => found.push(line[at..].to_owned()),
            Some(_) => {}
            None => is_of = line.starts_with(of),
        }
    }
    found
}

#[tokio::test]
async fn running_what_the_check_prints_mends_everything_that_it_found() {
    let brokers = brokers();
    let settings = [
        ("retention.ms", "3600000"),
        ("max.message.bytes", "100000"),
        ("min.insync.replicas", "2"),
    ];
    let (events, group) = (topic(&brokers, 1, &settings).await, unique("group"));
    let missing = format!("{group}.missing");
    // What somebody is named for is closed to all others.
    for resource in [
        format!("--topic {events}"),
        format!("--topic {group}. --resource-pattern-type prefixed"),
        format!("--transactional-id {group}- --resource-pattern-type prefixed"),
    ] {
        let line = format!(
            "kafka-acls.sh --add --allow-principal User:somebody --operation Read --operation Write {resource}"
        );
        let line = match resource.starts_with("--transactional-id") {
            true => line.replace("--operation Read ", ""),
            false => line,
        };
        kafka_tools::run(&brokers, &line).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let sasl = server("KAFKA_SASL_PLAINTEXT_BROKERS", "kafka");
    let sections = format!(
        r#"
group: {group}
pipeline: [{{ route: {{ topic: "{events}", rules: [{{ types: [other.*], topic: "{missing}" }}], unmatched: default }} }}]
sink:
  type: kafka
  brokers: "{sasl}"
  delivery: exactly_once
  publish_dead_letters: true
  sasl: {{ mechanism: PLAIN, username: restricted, password: {password} }}
"#,
        password = server("KAFKA_PASSWORD", "kafka"),
    );
    let place = Place::new(folder.path(), &sections);
    let check = || {
        let output = place.command(&["kafka", "check", "--peak", "50MB", "--recovery", "72h"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    };
    let mut ran = BTreeSet::new();
    let began = Instant::now();
    let told = loop {
        let (code, told) = check();
        if code == Some(0) {
            assert!(!told.contains("WRONG"), "{told}");
            break told;
        }
        assert_eq!(code, Some(1), "{told}");
        let commands = commands(&told, "WRONG");
        // One that is there again has not got around yet, or mends nothing.
        for command in commands {
            if ran.insert(command.clone()) {
                kafka_tools::run(&brokers, &command).await;
            }
        }
        assert!(began.elapsed() < DEADLINE, "{ran:#?}\n{told}");
    };

    let at = format!("--bootstrap-server {sasl} --command-config client.properties");
    let grant =
        |what: &str| format!("kafka-acls.sh {at} --add --allow-principal User:restricted {what}");
    let set = |what: &str| {
        format!(
            "kafka-configs.sh {at} --alter --entity-type topics --entity-name {events} --add-config {what}"
        )
    };
    let expected = BTreeSet::from([
        grant(&format!(
            "--operation Write --operation Describe --topic {events}"
        )),
        grant(&format!(
            "--operation Write --operation Describe --topic {missing}"
        )),
        grant(&format!(
            "--operation Write --operation Describe --operation Read --topic {group}.checkpoints"
        )),
        grant(&format!(
            "--operation Write --operation Describe --topic {group}.dead-letters"
        )),
        grant(&format!(
            "--operation Write --operation Describe --transactional-id {group}- --resource-pattern-type prefixed"
        )),
        grant(&format!("--operation DescribeConfigs --topic {events}")),
        grant(&format!("--operation DescribeConfigs --topic {missing}")),
        format!("kafka-topics.sh {at} --create --topic {missing} --partitions 5"),
        format!("kafka-topics.sh {at} --alter --topic {events} --partitions 5"),
        set("retention.ms=259200000"),
        set("max.message.bytes=1100000"),
        set("min.insync.replicas=1"),
    ]);
    let difference: Vec<_> = ran.symmetric_difference(&expected).collect();
    assert!(difference.is_empty(), "{difference:#?}\n{told}");
    for line in [
        format!("ok    topic `{events}`: this user has WRITE DESCRIBE"),
        format!("ok    topic `{events}`: 5 partitions"),
        format!("ok    transactions: `{group}-check` was registered"),
        format!("note  topic `{group}.dead-letters`: the sink makes it"),
        format!(
            "note  topic `{events}`: this user lacks READ: `headgate trace` and `headgate replay` read it"
        ),
    ] {
        assert!(told.contains(&line), "no `{line}` in:\n{told}");
    }

    // What is no more than noted goes away in the same way.
    let reads = format!("note  topic `{events}`: this user lacks READ");
    let commands = commands(&told, &reads);
    assert_eq!(
        commands,
        [grant(&format!("--operation Read --topic {events}"))]
    );
    for line in told
        .lines()
        .filter(|line| line.contains("--operation Read --topic"))
    {
        kafka_tools::run(&brokers, &line[line.find("kafka-").unwrap()..]).await;
    }
    loop {
        let (code, told) = check();
        assert_eq!(code, Some(0), "{told}");
        if !told.contains("READ: `headgate trace`") {
            return;
        }
        assert!(began.elapsed() < 2 * DEADLINE, "{told}");
    }
}
