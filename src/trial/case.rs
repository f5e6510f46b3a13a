//! Cases as they are written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headgate_sdk::envelope::{Receipt, json};
use headgate_sdk::{Data, Envelope, ExtensionValue, SourceInfo, Str, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::pipeline::set::misspelt;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The cases, in order.
    pub tests: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The source whose pipeline is tried; may be left out where there is only one.
    #[serde(default)]
    pub source: Option<String>,
    /// The event that goes in.
    #[serde(default)]
    pub event: Option<EventSpec>,
    /// Several events, one after the other, each in a batch of its own.
    #[serde(default)]
    pub events: Vec<EventSpec>,
    /// What has to come out.
    pub expect: Expect,
}

/// An event: attributes by name, and `data` (JSON), `text` (the bytes as they are) or `file` (a CloudEvent in JSON).
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct EventSpec(Map<String, Value>);

/// What has to come out. What is not named must not come, except that a case without `sinks` does not look at sinks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// By sink: the records, each with those of its parts that matter: `topic`, `key`, `headers`, `data`, `text`, attributes, and
    /// JSON pointers into the data (`/customer/id`). An expected `null` is a part that must not be there.
    #[serde(default)]
    pub sinks: Option<BTreeMap<String, Vec<Map<String, Value>>>>,
    /// That nothing comes out at all.
    #[serde(default)]
    pub dropped: bool,
    /// The dead letters, in order.
    #[serde(default)]
    pub dead_letters: Vec<ExpectedLetter>,
}

/// A dead letter, by the parts that matter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedLetter {
    /// The step that failed.
    #[serde(default)]
    pub step: Option<String>,
    /// The word for machines.
    #[serde(default)]
    pub reason: Option<String>,
    /// A part of the sentence for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// An event that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Its file cannot be read.
    #[error("the event file `{file}` cannot be read")]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file holds no CloudEvent.
    #[error("the event file `{file}` is no CloudEvent: {message}")]
    Event {
        /// Which.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// An attribute cannot have its value.
    #[error("{0}")]
    Attribute(String),
}

/// Attributes that a source says, and a step cannot.
const BY_SOURCE: [&str; 6] = [
    "id",
    "source",
    "tenantid",
    "recordedtime",
    "authtype",
    "authid",
];

impl EventSpec {
    /// The event, the `number`th of its case, as `source` would make it. `folder` is where file names start.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn event(
        &self,
        number: usize,
        source: &SourceInfo,
        folder: &Path,
    ) -> Result<Envelope, CaseError> {
        let mut event = match self.0.get("file") {
            Some(file) => read_file(file, source, folder)?,
            None => {
                let id = format!("test-{number}");
                let mut event = Envelope::new(
                    id,
                    source.urn.clone(),
                    "test.v1",
                    Timestamp::now(),
                    Data::none(),
                );
                event.tenantid = source.tenant.clone();
                event
            }
        };
        let mut has_correlation = self.0.contains_key("file");
        for (name, value) in &self.0 {
            match name.as_str() {
                "file" => {}
                "data" => event.data = Data::json(value.to_string()),
                "text" => event.data = Data::opaque(value.as_str().unwrap_or_default().to_owned()),
                name if BY_SOURCE.contains(&name) => set_by_source(&mut event, name, value)?,
                name => {
                    if let Some(known) = misspelt(name) {
                        return Err(CaseError::Attribute(format!(
                            "there is no attribute `{name}`; did you mean `{known}`?"
                        )));
                    }
                    has_correlation |= name == "correlationid";
                    event
                        .set_attribute(name, attribute(name, value)?)
                        .map_err(|error| CaseError::Attribute(error.to_string()))?;
                }
            }
        }
        if !has_correlation {
            event.correlationid = event.id.clone();
        }
        Ok(event)
    }
}

fn read_file(file: &Value, source: &SourceInfo, folder: &Path) -> Result<Envelope, CaseError> {
    let file = folder.join(file.as_str().unwrap_or_default());
    let bytes = std::fs::read(&file).map_err(|source| CaseError::File {
        file: file.clone(),
        source,
    })?;
    let wrong = |error: headgate_sdk::envelope::InvalidEvent| CaseError::Event {
        file: file.clone(),
        message: error.to_string(),
    };
    let event = json::read(&Bytes::from(bytes)).map_err(wrong)?;
    if event.extensions.get("envelopeversion").is_some() {
        return event.into_envelope().map_err(wrong);
    }
    let receipt = Receipt {
        source: source.urn.clone(),
        tenantid: source.tenant.clone(),
        recordedtime: Timestamp::now(),
    };
    event.received(receipt).map_err(wrong)
}

fn set_by_source(event: &mut Envelope, name: &str, value: &Value) -> Result<(), CaseError> {
    let text = value
        .as_str()
        .ok_or_else(|| CaseError::Attribute(format!("`{name}` must be a string")))?;
    match name {
        "id" => event.id = text.into(),
        "source" => event.source = text.into(),
        "tenantid" => event.tenantid = text.into(),
        "authtype" => event.authtype = Some(text.into()),
        "authid" => event.authid = Some(text.into()),
        _ => {
            event.recordedtime = headgate_sdk::envelope::time::parse(text).map_err(|_| {
                CaseError::Attribute(format!("`{name}` must be an RFC 3339 date and time"))
            })?;
        }
    }
    Ok(())
}

fn attribute(name: &str, value: &Value) -> Result<Option<ExtensionValue>, CaseError> {
    Ok(match value {
        Value::Null => None,
        Value::Bool(truth) => Some(ExtensionValue::Boolean(*truth)),
        Value::String(text) => Some(ExtensionValue::String(Str::new(text))),
        Value::Number(number) => {
            let number = number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok());
            let number = number.ok_or_else(|| {
                CaseError::Attribute(format!("`{name}` must be an integer of 32 bits"))
            })?;
            Some(ExtensionValue::Integer(number))
        }
        _ => {
            return Err(CaseError::Attribute(format!(
                "`{name}` must be a string, an integer or a boolean"
            )));
        }
    })
}
