//! Every configuration in `config/` loads, and holds what its cases say.

use std::path::PathBuf;

use super::super::{CaseFile, Trial, compare, diff};
use crate::config::{Loader, document};

fn configurations() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("config/ is there")
        .map(|entry| entry.expect("config/ is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .filter(|path| !path.to_string_lossy().ends_with(".test.yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_loads_and_holds_its_cases() {
    let variable = |name: &str| {
        Some(if name.ends_with("_URL") {
            "postgres://headgate@localhost/crm".to_owned()
        } else {
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()
        })
    };
    let configurations = configurations();
    for example in [
        "github-to-agents",
        "inventory-csv",
        "invoices-folder",
        "postgres-thin-events",
        "tenant-isolation",
    ] {
        let found = configurations
            .iter()
            .any(|file| file.file_stem().is_some_and(|stem| stem == example));
        assert!(found, "{example}: {configurations:?}");
    }
    for file in configurations {
        let shown = file.display();
        let loaded = Loader::new()
            .variables(&variable)
            .load(&file)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{shown}: {:?}", loaded.warnings);
        let cases = file.with_extension("test.yaml");
        let text = std::fs::read_to_string(&cases)
            .unwrap_or_else(|error| panic!("{}: {error}", cases.display()));
        let cases: CaseFile = document(&cases, &text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!cases.tests.is_empty(), "{shown}");
        let folder = file.parent().expect("config/");
        for case in &cases.tests {
            let outcome = Trial::new(&loaded.config)
                .run(case, folder)
                .unwrap_or_else(|error| panic!("{shown}: {}: {error}", case.name));
            if let Err(mismatch) = compare(&case.expect, &outcome) {
                let lines: Vec<String> = diff(&mismatch)
                    .into_iter()
                    .map(|(sign, line)| format!("{sign}{line}"))
                    .collect();
                panic!(
                    "{shown}: {}:\n{}\n{outcome:#?}",
                    case.name,
                    lines.join("\n")
                );
            }
        }
    }
}
