//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/envelope.rs"]
mod envelope;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("a readable folder").path();
        check(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count >= 5, "{target}: only {count} files");
}

#[test]
fn event_json() {
    replay("event_json", envelope::event_json);
}

#[test]
fn event_batch() {
    replay("event_batch", envelope::event_batch);
}

#[test]
fn event_http() {
    replay("event_http", envelope::event_http);
}

#[test]
fn event_kafka() {
    replay("event_kafka", envelope::event_kafka);
}

#[test]
fn event_wire() {
    replay("event_wire", envelope::event_wire);
}
