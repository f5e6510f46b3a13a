//! `headgate kafka check`, as an operator runs it.

use std::process::Output;

use super::{brokers, topic};
use crate::support::{gateway::Place, kafka_tools, unique};

/// Runs the check for `topic`.
fn check(brokers: &str, topic: &str, more: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        r#"
group: {group}
pipeline: [{{ route: {{ topic: "{topic}" }} }}]
sink: {{ type: kafka, brokers: "{brokers}"{more} }}
"#,
        group = unique("group"),
    );
    let place = Place::new(folder.path(), &sections);
    place.command(&[&["kafka", "check"], arguments].concat())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn what_is_wrong_comes_with_the_command_that_mends_it() {
    let brokers = brokers();
    let settings = [("retention.ms", "3600000"), ("max.message.bytes", "100000")];
    let topic = topic(&brokers, 1, &settings).await;
    let peak = ["--peak", "50MB", "--recovery", "72h"];
    let output = check(&brokers, &topic, "", &peak);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for line in [
        format!("WRONG topic `{topic}`: 1 partitions, the peak needs 5"),
        format!(
            "kafka-topics.sh --bootstrap-server {brokers} --alter --topic {topic} --partitions 5"
        ),
        format!("WRONG topic `{topic}`: keeps 1 h, consumers may be away for 72 h"),
        format!("--entity-name {topic} --add-config retention.ms=259200000"),
        format!("WRONG topic `{topic}`: takes at most 100000 bytes at once"),
        format!("--entity-name {topic} --add-config max.message.bytes=1100000"),
    ] {
        assert!(told.contains(&line), "no `{line}` in:\n{told}");
    }
}

#[tokio::test]
async fn what_is_fine_says_so() {
    let brokers = brokers();
    let settings = [
        ("retention.ms", "604800000"),
        ("max.message.bytes", "2000000"),
    ];
    let topic = topic(&brokers, 6, &settings).await;
    let exactly_once = ", delivery: exactly_once";
    let peak = ["--peak", "50MB", "--recovery", "72h"];
    let output = check(&brokers, &topic, exactly_once, &peak);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for line in [
        format!("ok    topic `{topic}`: 6 partitions, 5 are enough for the peak"),
        format!("ok    topic `{topic}`: keeps 168 h"),
        "ok    transactions: timeout 60000 ms, the broker allows 900000".to_owned(),
        "-check` was registered, as the shards will be".to_owned(),
    ] {
        assert!(told.contains(&line), "no `{line}` in:\n{told}");
    }
}

#[tokio::test]
async fn a_timeout_above_the_brokers_and_a_missing_topic_are_wrong() {
    let brokers = brokers();
    let missing = unique("missing");
    let long = ", delivery: exactly_once, transactions: { timeout: 1h }";
    let output = check(&brokers, &missing, long, &[]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains(&format!("--create --topic {missing}")),
        "{told}"
    );
    // Brokers take no command for it.
    let command = "kafka-configs.sh --alter --entity-type brokers --entity-default --add-config transaction.max.timeout.ms=3600000";
    let refused = kafka_tools::would_take(&brokers, command).unwrap_err();
    assert!(refused.contains("Cannot update"), "{refused}");
    for line in [
        "write `transactions: { timeout: 900000ms }`",
        "transaction.max.timeout.ms=3600000\n",
    ] {
        assert!(told.contains(line), "no `{line}` in:\n{told}");
    }
    let shorter = ", delivery: exactly_once, transactions: { timeout: 900000ms }";
    let output = check(&brokers, &topic(&brokers, 1, &[]).await, shorter, &[]);
    let told = self::told(&output);
    assert!(
        told.contains("timeout 900000 ms, the broker allows 900000"),
        "{told}"
    );
}

#[test]
fn a_cluster_that_cannot_be_asked_and_a_sink_that_is_not_there_have_their_own_exit_codes() {
    let output = check("127.0.0.1:1", "x", "", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let output = check("127.0.0.1:1", "x", "", &["other"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("no sink `other`"));
}
