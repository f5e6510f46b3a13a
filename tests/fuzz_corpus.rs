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
