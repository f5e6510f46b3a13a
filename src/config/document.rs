//! Other YAML files with mistakes told by place, like the configuration's.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Finding};
use super::load::json_pointer;
use super::parse::parse;
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
        let place = root.find(&at).value_place();
        let finding = Finding::new(
            file,
            place,
            at.key_path(&root),
            error.into_inner().to_string(),
        );
        ConfigError::new(vec![finding])
    })
}
