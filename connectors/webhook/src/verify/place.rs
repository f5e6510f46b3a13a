//! Where a value stands in a request.

use std::{borrow::Cow, fmt, str::FromStr};

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Incoming, form, json};
use crate::multipart;

/// Where a value stands: `header:NAME`, `json:/pointer`, `query:NAME` or `form:NAME`; alternatives are separated by ` | `
/// and the first one present counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    alternatives: Vec<Spot>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    Header(HeaderName),
    Json(String),
    Query(String),
    Form(String),
}

impl Place {
    /// The value there, if any: the first of several.
    #[must_use]
    pub fn read<'a>(&self, request: &Incoming<'a>) -> Option<Cow<'a, str>> {
        self.alternatives
            .iter()
            .find_map(|spot| spot.read_all(request).into_iter().next())
    }

    /// All values there: a header may be repeated.
    #[must_use]
    pub fn read_all<'a>(&self, request: &Incoming<'a>) -> Vec<Cow<'a, str>> {
        self.alternatives
            .iter()
            .map(|spot| spot.read_all(request))
            .find(|values| !values.is_empty())
            .unwrap_or_default()
    }

    /// All values of all alternatives.
    pub(super) fn read_every<'a>(&self, request: &Incoming<'a>) -> Vec<Cow<'a, str>> {
        self.alternatives
            .iter()
            .flat_map(|spot| spot.read_all(request))
            .collect()
    }

    /// The header, if that is what it reads first.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        match self.first() {
            Spot::Header(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn first(&self) -> &Spot {
        &self.alternatives[0]
    }

    /// Whether reading it parses the body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.alternatives
            .iter()
            .any(|spot| matches!(spot, Spot::Json(_) | Spot::Form(_)))
    }
}

impl Spot {
    fn read_all<'a>(&self, request: &Incoming<'a>) -> Vec<Cow<'a, str>> {
        match self {
            Self::Header(name) => request
                .headers
                .get_all(name)
                .iter()
                .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
                .map(|value| Cow::Borrowed(value.trim_matches([' ', '\t'])))
                .collect(),
            Self::Json(pointer) => json::pointer(request.body, pointer)
                .and_then(|value| value.into_text())
                .into_iter()
                .collect(),
            Self::Query(name) => form::values(request.query().unwrap_or_default(), name),
            Self::Form(name) => form_values(request, name),
        }
    }
}

/// A field of a form, in either of its two media types.
fn form_values<'a>(request: &Incoming<'a>, name: &str) -> Vec<Cow<'a, str>> {
    let content_type = request
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Some(parts) = multipart::parts(content_type, request.body) {
        return parts
            .into_iter()
            .filter(|part| part.name == name && part.filename.is_none())
            .filter_map(|part| std::str::from_utf8(part.data).ok().map(Cow::Borrowed))
            .collect();
    }
    std::str::from_utf8(request.body)
        .map(|body| form::values(body, name))
        .unwrap_or_default()
}

/// Why a text is no [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place in a request: write `header:NAME`, `json:/pointer`, `query:NAME` or `form:NAME`"
)]
pub struct ParsePlaceError(String);

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePlaceError(text.to_owned());
        let alternatives = text
            .split('|')
            .map(|part| {
                let (kind, name) = part.trim().split_once(':').ok_or_else(wrong)?;
                if name.is_empty() {
                    return Err(wrong());
                }
                match kind {
                    "header" => HeaderName::from_str(name)
                        .map(Spot::Header)
                        .map_err(|_| wrong()),
                    "json" if name.starts_with('/') => Ok(Spot::Json(name.to_owned())),
                    "query" => Ok(Spot::Query(name.to_owned())),
                    "form" => Ok(Spot::Form(name.to_owned())),
                    _ => Err(wrong()),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            alternatives,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Place {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\s*(header|json|query|form):[^|]+(\\|\\s*(header|json|query|form):[^|]+)*$",
            "description": "header:NAME, json:/pointer, query:NAME or form:NAME; alternatives separated by |"
        })
    }
}
