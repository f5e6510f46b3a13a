//! What the fuzz target of the configuration does with its bytes: load them as a file, and hold the errors against what they
//! promise.

use std::path::Path;

use headgate::config::Loader;

/// What every variable and every secret file holds; no error may show it.
const SECRET: &str = "Zq7secretZq7";

/// A configuration file.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let variable = |_: &str| Some(SECRET.to_owned());
    let file = |_: &Path| Ok(SECRET.to_owned());
    let loader = Loader::new().variables(&variable).files(&file);
    match loader.read(Path::new("fuzz.yaml"), text) {
        Ok(loaded) => {
            let printed = format!("{:?}", loaded.config.sources);
            assert!(!printed.contains(SECRET), "a secret was printed: {printed}");
        }
        Err(error) => {
            let findings = error.findings();
            assert!(!findings.is_empty(), "an error says what is wrong");
            let places: Vec<_> = findings
                .iter()
                .map(|finding| (finding.line, finding.column))
                .collect();
            assert!(
                places.is_sorted(),
                "findings are ordered by place: {places:?}"
            );
            let lines = text.split(['\n', '\r']).count();
            assert!(
                places.iter().all(|(line, _)| *line <= lines + 1),
                "a place is in the file: {places:?} of {lines} lines"
            );
            let printed = error.to_string();
            assert!(
                text.contains(SECRET) || !printed.contains(SECRET),
                "a secret was printed: {printed}"
            );
        }
    }
}
