//! Other YAML files with mistakes told by place, like the configuration's.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Finding};
use super::load::json_pointer;
use super::parse::parse;
use super::suggest::{nearest, one_of};
use super::tree::Pointer;

/// Reads `text`, called `file` in errors, as a `T`.
///
/// # Errors
/// What is not YAML, or the first thing that is no `T`, with its place.
pub fn document<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let mut refused = Vec::new();
    let root = parse(text, &mut refused);
    let findings: Vec<Finding> = refused
        .into_iter()
        .map(|refused| Finding::new(file, refused.place, String::new(), refused.message))
        .collect();
    let Some(root) = root.filter(|_| findings.is_empty()) else {
        return Err(ConfigError::new(findings));
    };
    serde_path_to_error::deserialize(root.to_json()).map_err(|error| {
        let at = root.longest(&Pointer::from_json(&json_pointer(error.path())));
        let found = root.find(&at);
        let message = error.into_inner().to_string();
        let (place, message) = match unknown_key(&message) {
            Some(message) => (found.key_place(), message),
            None => (found.value_place(), message),
        };
        let finding = Finding::new(file, place, at.key_path(&root), message);
        ConfigError::new(vec![finding])
    })
}

/// What serde says of a key that it does not know, in the configuration's words.
fn unknown_key(message: &str) -> Option<String> {
    let (written, known) = message
        .strip_prefix("unknown field `")?
        .split_once("`, expected ")?;
    // Every second piece stands between backticks.
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    Some(match nearest(written, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; the keys here are {}", one_of(known)),
    })
}
