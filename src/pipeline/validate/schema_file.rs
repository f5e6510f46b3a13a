//! A schema in a file, compiled once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jsonschema::{Draft, Validator};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The path of a JSON Schema. It is read when the configuration is loaded; clones share what was read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(from = "PathBuf")]
#[schemars(with = "String")]
pub struct SchemaFile {
    path: PathBuf,
    compiled: Arc<OnceLock<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    validator: Validator,
    id: Option<String>,
}

impl SchemaFile {
    /// Reads and compiles the schema; `base` is the folder of the configuration.
    ///
    /// # Errors
    /// What is wrong and what to do, in one sentence.
    pub fn load(&self, base: &Path) -> Result<(), String> {
        let path = base.join(&self.path);
        let shown = path.display();
        let text = std::fs::read(&path)
            .map_err(|error| format!("the schema `{shown}` cannot be read: {error}"))?;
        let schema: Value = serde_json::from_slice(&text)
            .map_err(|error| format!("the schema `{shown}` is not valid JSON: {error}"))?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .build(&schema)
            .map_err(|error| {
                format!(
                    "the schema `{shown}` does not compile at `{}`: {error}",
                    error.instance_path()
                )
            })?;
        let id = schema.get("$id").and_then(Value::as_str);
        let id = id
            .filter(|id| id.contains("://") || id.starts_with("urn:"))
            .map(str::to_owned);
        // Loaded before: the first reading stays.
        let _ = self.compiled.set(Compiled { validator, id });
        Ok(())
    }

    pub(super) fn validator(&self) -> Option<&Validator> {
        self.compiled.get().map(|compiled| &compiled.validator)
    }

    /// The schema's `$id`, if it is absolute.
    pub(super) fn id(&self) -> Option<&str> {
        self.compiled
            .get()
            .and_then(|compiled| compiled.id.as_deref())
    }
}

impl From<PathBuf> for SchemaFile {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            compiled: Arc::default(),
        }
    }
}

impl PartialEq for SchemaFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}
