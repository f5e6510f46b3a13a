//! Templates of topics, keys and headers.

use std::{borrow::Cow, fmt, fmt::Write as _, str::FromStr};

use headgate_sdk::{Envelope, Str};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::json::{self, Pointer, PointerError};
use crate::pipeline::set::misspelt;

/// Text with holes: `{attribute}`, `{/json/pointer}`, `{lane}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = Self::FORMAT))]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(String),
    Pointer(Pointer),
    Lane,
}

impl Template {
    /// The `format` under which the JSON Schema announces a template.
    pub const FORMAT: &'static str = "template";

    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] says at which character and what to write.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            if rest[at + 1..].starts_with(brace) {
                literal.push_str(brace);
                rest = &rest[at + 2..];
                continue;
            }
            let offset = text.len() - rest.len() + at;
            if brace == "}" {
                return Err(TemplateError {
                    offset,
                    message: "`}` closes nothing: write `}}` for a brace".into(),
                });
            }
            let Some(end) = rest[at..].find('}') else {
                return Err(TemplateError {
                    offset,
                    message: "`{` is not closed: write `{{` for a brace".into(),
                });
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(hole(&rest[at + 1..at + end], offset)?);
            rest = &rest[at + end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// What it renders to, with `*` for every hole.
    #[must_use]
    pub fn pattern(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Attribute(_) | Part::Pointer(_) | Part::Lane => "*".to_owned(),
        };
        self.parts.iter().map(part).collect()
    }

    /// Renders it for an event on `lane`.
    ///
    /// # Errors
    /// The hole that the event cannot fill.
    pub fn render(&self, event: &Envelope, lane: &str) -> Result<Str, Str> {
        if let [Part::Attribute(name)] = self.parts.as_slice()
            && name == "partitionkey"
        {
            return event.partitionkey.clone().ok_or_else(|| name.into());
        }
        let mut rendered = String::with_capacity(self.text.len() + 32);
        let mut data = None;
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Lane => rendered.push_str(lane),
                Part::Attribute(name) => {
                    rendered.push_str(&event.attribute_text(name).ok_or_else(|| Str::from(name))?);
                }
                Part::Pointer(pointer) => {
                    let text = *data.get_or_insert_with(|| json::any_text_of(event));
                    let value = text
                        .and_then(|text| json::get(text, pointer).ok().flatten())
                        .and_then(scalar)
                        .ok_or_else(|| Str::from(pointer.to_string()))?;
                    rendered.push_str(&value);
                }
            }
        }
        Ok(rendered.into())
    }

    /// Whether it names `sought` in a hole.
    #[must_use]
    pub fn names(&self, sought: &str) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Lane => sought == "lane",
            Part::Attribute(name) => name == sought,
            Part::Pointer(pointer) => pointer.to_string() == sought,
        })
    }
}

fn hole(name: &str, offset: usize) -> Result<Part, TemplateError> {
    if name == "lane" {
        return Ok(Part::Lane);
    }
    if name.starts_with('/') {
        return name
            .parse()
            .map(Part::Pointer)
            .map_err(|error: PointerError| TemplateError {
                offset,
                message: error.to_string(),
            });
    }
    let legal = !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if legal && let Some(known) = misspelt(name) {
        let message = format!("there is no attribute `{name}`; did you mean `{{{known}}}`?");
        return Err(TemplateError { offset, message });
    }
    if legal {
        return Ok(Part::Attribute(name.to_owned()));
    }
    let message =
        format!("`{{{name}}}` is neither an attribute, `{{/json/pointer}}` nor `{{lane}}`");
    Err(TemplateError { offset, message })
}

/// The text of a string, number or boolean, numbers as they are written; nothing else names a topic or a key.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.into()),
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A template that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        f.write_str(" (at character ")?;
        write!(f, "{}", self.offset + 1)?;
        f.write_char(')')
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use headgate_sdk::{Data, Timestamp};

    use super::*;

    fn event(data: &str) -> Envelope {
        let mut event = Envelope::new(
            "1",
            "urn:s",
            "invoice.paid.v1",
            Timestamp::UNIX_EPOCH,
            Data::opaque(data.to_owned()),
        );
        event.tenantid = "acme".into();
        event
    }

    fn render(template: &str, data: &str) -> Result<Str, Str> {
        Template::parse(template)
            .unwrap()
            .render(&event(data), "crm/slot")
    }

    #[test]
    fn fills_attributes_pointers_and_lane() {
        assert_eq!(
            render("{tenantid}.{type}", "{}").unwrap(),
            "acme.invoice.paid.v1"
        );
        assert_eq!(
            render("{/a/b}-{{x}}", r#"{"a":{"b":17}}"#).unwrap(),
            "17-{x}"
        );
        assert_eq!(render("{lane}", "").unwrap(), "crm/slot");
        assert_eq!(
            render("{/n}", r#"{"n":12345678901234567890}"#).unwrap(),
            "12345678901234567890"
        );
        assert_eq!(render("{/s}", r#"{"s":"a\u00e9"}"#).unwrap(), "aé");
    }

    #[test]
    fn names_the_hole_that_stays_empty() {
        assert_eq!(render("{subject}", "{}").unwrap_err(), "subject");
        assert_eq!(render("{/a}", "no json").unwrap_err(), "/a");
        assert_eq!(render("{/a}", r#"{"a":{}}"#).unwrap_err(), "/a");
    }

    #[test]
    fn refuses_broken_braces_with_their_place() {
        let misspelt = Template::parse("{tenantdi}").unwrap_err().to_string();
        assert!(misspelt.contains("did you mean `{tenantid}`"), "{misspelt}");
        assert_eq!(Template::parse("ab{c").unwrap_err().offset, 2);
        assert_eq!(Template::parse("ab}c").unwrap_err().offset, 2);
        assert!(
            Template::parse("{Type}")
                .unwrap_err()
                .to_string()
                .contains("`{Type}`")
        );
    }
}
