//! A schema in a file, compiled once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use headgate_sdk::Envelope;
use jsonschema::{ValidationError, Validator};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::json;
#[cfg(feature = "vrl")]
use crate::pipeline::script::{Document, Numbers};

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
    /// The same for data that is there as a value of VRL.
    #[cfg(feature = "vrl")]
    of_parsed: Validator<super::value::Parsed>,
    id: Option<String>,
}

/// What is wrong with data.
#[derive(Debug)]
pub(super) struct Invalid {
    /// Where, as a JSON pointer; empty for the data as a whole.
    pub(super) pointer: String,
    /// What, without showing data.
    pub(super) message: String,
}

impl Invalid {
    fn whole(message: impl ToString) -> Self {
        Self {
            pointer: String::new(),
            message: message.to_string(),
        }
    }

    fn at(error: ValidationError<'_>) -> Self {
        Self {
            pointer: error.instance_path().to_string(),
            message: error.masked().to_string(),
        }
    }
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
        let broken = |error: ValidationError<'static>| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "/" } else { &place };
            format!("the schema `{shown}` does not compile at `{place}`: {error}")
        };
        // Draft 2020-12 is the default of the library; a schema that names another one is read as what it is.
        let validator = jsonschema::options().build(&schema).map_err(broken)?;
        #[cfg(feature = "vrl")]
        let of_parsed = jsonschema::options_for::<super::value::Parsed>()
            .build(&schema)
            .map_err(broken)?;
        let id = schema.get("$id").and_then(Value::as_str);
        let id = id
            .filter(|id| id.contains("://") || id.starts_with("urn:"))
            .map(str::to_owned);
        // Loaded before: the first reading stays.
        let _ = self.compiled.set(Compiled {
            validator,
            #[cfg(feature = "vrl")]
            of_parsed,
            id,
        });
        Ok(())
    }

    /// Whether the data of `event` is valid.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(super) fn check(&self, event: &mut Envelope) -> Result<(), Invalid> {
        let compiled = self
            .compiled
            .get()
            .ok_or_else(|| Invalid::whole("the schema was not loaded"))?;
        json::declared_of(event).map_err(Invalid::whole)?;
        #[cfg(feature = "vrl")]
        {
            let document = Document::of(event, Numbers::Text).map_err(Invalid::whole)?;
            let valid = document.exactly().map(|value| {
                // Asked first, because what is wrong costs more to find out than that something is.
                if compiled.of_parsed.is_valid(value) {
                    return Ok(());
                }
                compiled.of_parsed.validate(value).map_err(Invalid::at)
            });
            if let Some(valid) = valid {
                document.keep(event);
                return valid;
            }
            // A number that VRL cannot hold: the other way keeps all of its digits.
        }
        json::check(event).map_err(Invalid::whole)?;
        let text = json::text_of(event).map_err(Invalid::whole)?;
        let data: Value = serde_json::from_str(text).map_err(Invalid::whole)?;
        compiled.validator.validate(&data).map_err(Invalid::at)
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
