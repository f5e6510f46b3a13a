//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/webhook.rs"]
mod webhook;

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
fn webhook_signature() {
    replay("webhook_signature", webhook::webhook_signature);
}

#[test]
fn webhook_header() {
    replay("webhook_header", webhook::webhook_header);
}

#[test]
fn webhook_multipart() {
    replay("webhook_multipart", webhook::webhook_multipart);
}

#[test]
fn webhook_compressed() {
    replay("webhook_compressed", webhook::webhook_compressed);
}
