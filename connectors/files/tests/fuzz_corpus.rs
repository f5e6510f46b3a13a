//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/files.rs"]
mod files;

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
fn files_csv() {
    replay("files_csv", files::files_csv);
}

#[test]
fn files_json_lines() {
    replay("files_json_lines", files::files_json_lines);
}

#[test]
fn files_json_array() {
    replay("files_json_array", files::files_json_array);
}

#[test]
fn files_lines() {
    replay("files_lines", files::files_lines);
}

#[test]
fn files_compressed() {
    replay("files_compressed", files::files_compressed);
}
