//! `mode: append`: only new records, through rotation, truncation and crashes.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path};

use serde_json::{Value, json};

use crate::support::{Bench, scaled};

fn settings() -> Value {
    json!({ "mode": "append", "records": { "format": "lines" }, "settle": "20ms" })
}

fn append(path: &Path, text: &str) {
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn texts(bench: &Bench) -> Vec<String> {
    let events = bench.events();
    let text = |event: &headgate_sdk::Envelope| {
        String::from_utf8(event.data.bytes().unwrap().to_vec()).unwrap()
    };
    events.iter().map(text).collect()
}

async fn until_texts(bench: &Bench, expected: &[&str]) {
    bench
        .until(&format!("{expected:?}"), |bench| {
            texts(bench).len() >= expected.len()
        })
        .await;
    assert_eq!(texts(bench), expected);
    let ids: BTreeSet<_> = bench.events().into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), expected.len(), "an id was given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_records_are_read_even_while_the_file_is_open() {
    let mut bench = Bench::started(settings());
    let path = bench.path("app.log");
    let mut log = fs::File::create(&path).unwrap();
    log.write_all(b"1\n2\nhal").unwrap();
    until_texts(&bench, &["1", "2"]).await;
    log.write_all(b"f\n3\n").unwrap();
    until_texts(&bench, &["1", "2", "half", "3"]).await;
    bench.stop().await;
    log.write_all(b"4\n").unwrap();
    bench.start();
    until_texts(&bench, &["1", "2", "half", "3", "4"]).await;
    bench.settled().await;
    assert_eq!(texts(&bench).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_is_rotated_not_new() {
    let bench = Bench::started(settings());
    let path = bench.path("app.log");
    append(&path, "1\n");
    until_texts(&bench, &["1"]).await;
    append(&path, "2\n");
    fs::rename(&path, bench.path("app.log.1")).unwrap();
    append(&bench.path("app.log.1"), "3\n");
    append(&path, "4\n");
    bench
        .until("all records", |bench| texts(bench).len() >= 4)
        .await;
    bench.settled().await;
    let mut all = texts(&bench);
    all.sort();
    assert_eq!(all, ["1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_file_is_read_where_it_was_rotated_to() {
    // Neither rotated name is wanted by itself.
    for copy in [false, true] {
        let mut config = settings();
        config["include"] = json!(["*.log"]);
        let mut bench = Bench::started(config);
        let path = bench.path("app.log");
        append(&path, "1\n");
        until_texts(&bench, &["1"]).await;
        bench.stop().await;
        append(&path, "2\n");
        if copy {
            fs::copy(&path, bench.path("app.log.1")).unwrap();
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(0)
                .unwrap();
        } else {
            fs::rename(&path, bench.path("app.log.1")).unwrap();
        }
        append(&path, "3\n");
        bench.start();
        until_texts(&bench, &["1", "2", "3"]).await;
        bench.settled().await;
        assert_eq!(texts(&bench).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_starts_anew() {
    let bench = Bench::started(settings());
    let path = bench.path("app.log");
    append(&path, "same\nsame\n");
    until_texts(&bench, &["same", "same"]).await;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    bench.settled().await;
    append(&path, "same\n");
    until_texts(&bench, &["same", "same", "same"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_export_keeps_its_header_over_crashes() {
    let rows = scaled(30, 300);
    let mut config = settings();
    config["records"] = json!({ "format": "csv" });
    let mut bench = Bench::started(config);
    let path = bench.path("export.csv");
    append(&path, "i");
    append(&path, "d,name\n");
    for n in 0..rows {
        append(&path, &format!("{n},\"a\nb\"\n"));
        if n % 7 == 3 {
            bench.crash().await;
            bench.start();
        }
        if n % 10 == 9 {
            bench.until_events(n + 1).await;
        }
    }
    let events = bench.until_events(rows).await;
    for (n, event) in events.iter().enumerate() {
        let record: Value = serde_json::from_slice(event.data.bytes().unwrap()).unwrap();
        assert_eq!(record, json!({ "id": n.to_string(), "name": "a\nb" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_without_an_end_is_a_record_once_the_file_stands_still() {
    let mut config = settings();
    config["last_line_after"] = json!("300ms");
    let mut bench = Bench::started(config);
    let path = bench.path("export.txt");
    append(&path, "1\n2");
    until_texts(&bench, &["1", "2"]).await;
    // What follows is a record of its own, also over a restart.
    append(&path, "\n3\n4");
    until_texts(&bench, &["1", "2", "3", "4"]).await;
    bench.stop().await;
    append(&path, "5");
    bench.start();
    until_texts(&bench, &["1", "2", "3", "4", "5"]).await;
    bench.settled().await;
    assert_eq!(texts(&bench).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_of_a_rotated_file_is_a_record_where_nobody_looks_again() {
    let mut config = settings();
    config["include"] = json!(["*.log"]);
    let mut bench = Bench::started(config);
    let path = bench.path("app.log");
    append(&path, "1\n");
    until_texts(&bench, &["1"]).await;
    bench.stop().await;
    append(&path, "2");
    fs::rename(&path, bench.path("app.log.1")).unwrap();
    append(&path, "3\n");
    bench.start();
    until_texts(&bench, &["1", "2", "3"]).await;
}
