//! Replays the fuzz corpus of the configuration loader with the fuzz target's own check.

#[path = "../fuzz/checks/config.rs"]
mod checks;

#[test]
fn the_corpus_of_configurations_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        checks::config(&std::fs::read(&path).unwrap());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} files in {folder}");
}

#[path = "../fuzz/checks/pipeline.rs"]
mod pipeline;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        check(&std::fs::read(entry.expect("a readable folder").path()).expect("a readable file"));
        count += 1;
    }
    assert!(count >= 5, "{target}: only {count} files");
}

#[test]
fn json_edit() {
    replay("json_edit", pipeline::json_edit);
}

#[test]
fn script_data() {
    replay("script_data", pipeline::script_data);
}
