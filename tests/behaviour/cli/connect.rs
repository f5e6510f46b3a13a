//! `validate --connect`: the servers are asked, each says for itself what is wrong.

use super::process::Folder;
use crate::support::server;

#[test]
fn a_cluster_that_answers_is_fine() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let folder = Folder::with(&format!(
        "sources: {{ inbox: {{ type: files, paths: [./inbox] }} }}\nsinks: {{ main: {{ type: kafka, brokers: \"{brokers}\" }} }}\n"
    ));
    let ended = folder.run(&["validate", "--connect"]).expect(0);
    assert!(
        ended.stdout.contains("main: the cluster answers"),
        "{}",
        ended.stdout
    );
    assert!(
        !folder.path().join("data").exists(),
        "checking opens nothing"
    );
}

#[test]
fn every_server_that_does_not_answer_is_told() {
    let folder = Folder::with(
        r#"
sources:
  crm: { type: postgres, url: "postgres://me@127.0.0.1:1/crm", tables: ["public.accounts"] }
  shop: { type: mongodb, url: "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300", database: shop }
sinks:
  one: { type: kafka, brokers: "127.0.0.1:1" }
  two: { type: log, required: false }
  three: { type: kafka, brokers: "127.0.0.1:1", required: false }
"#,
    );
    folder.run(&["validate"]).expect(0);
    let ended = folder.run(&["validate", "--connect"]).expect(3);
    let told = ended.stdout + &ended.stderr;
    for who in ["crm", "shop", "sink `one`", "sink `three`"] {
        let lines = told.lines().filter(|line| line.contains(who)).count();
        assert!(lines >= 1, "{who} is missing from\n{told}");
    }
    assert!(told.contains("check `brokers`"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn without_a_server_there_is_nothing_to_ask() {
    let folder = Folder::with("sources: { inbox: { type: files, paths: [./inbox] } }\n");
    folder.run(&["validate", "--connect"]).expect(0);
}
