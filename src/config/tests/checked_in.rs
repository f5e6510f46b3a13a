//! The checked-in schema, reference page and examples.

use std::fs;
use std::path::Path;

use crate::config::{Loader, reference_page, schema};
use crate::connectors::registry;

/// Compares a generated text with its checked-in copy; `HEADGATE_REFRESH=1` writes the copy instead.
fn is_fresh(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("HEADGATE_REFRESH").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "{file} is stale; refresh it with `HEADGATE_REFRESH=1 cargo test -p headgate --lib checked_in` and commit it"
    );
}

#[test]
fn the_schema_is_fresh() {
    is_fresh(
        "config/headgate.schema.json",
        &(serde_json::to_string_pretty(&schema(registry())).unwrap() + "\n"),
    );
}

#[test]
fn the_reference_page_is_fresh() {
    is_fresh(
        "docs/reference/configuration.md",
        &reference_page(&schema(registry())),
    );
}

#[test]
fn every_key_is_documented() {
    fn judge(at: &str, schema: &serde_json::Value, silent: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    if key == "properties" && !at.ends_with("/if") {
                        for (name, property) in value.as_object().into_iter().flatten() {
                            if ["description", "$ref", "const"]
                                .iter()
                                .all(|key| property.get(key).is_none())
                            {
                                silent.push(format!("{at}/{name}"));
                            }
                        }
                    }
                    judge(&format!("{at}/{key}"), value, silent);
                }
            }
            serde_json::Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(n, value)| judge(&format!("{at}/{n}"), value, silent));
            }
            _ => {}
        }
    }
    let mut silent = Vec::new();
    judge("", &schema(registry()), &mut silent);
    assert!(
        silent.is_empty(),
        "these keys have no doc comment: {silent:#?}"
    );
}

/// Every configuration in `config/` loads, without a warning, when its variables are set.
#[test]
fn every_example_loads() {
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "yaml" && extension != "yml")
        {
            continue;
        }
        // Cases of `headgate test`, not a configuration.
        if path.to_string_lossy().ends_with(".test.yaml") {
            continue;
        }
        seen += 1;
        let variable = |name: &str| {
            Some(
                if name.ends_with("_URL") {
                    "postgres://user:password@localhost/db"
                } else {
                    "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
                }
                .to_owned(),
            )
        };
        let file = |_: &Path| Ok("secret-from-a-file".to_owned());
        match Loader::new().variables(&variable).files(&file).load(&path) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", path.display()),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(seen > 0, "there are no examples in config/");
}
