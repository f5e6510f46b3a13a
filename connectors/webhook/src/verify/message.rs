//! What is signed: a template of literals and parts of the request.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Incoming, Place, Reason, SignatureEncoding, encoding, form, json, mac};

/// What is signed, as a template (`{ts}.{body}`). `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    atoms: Vec<Atom>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    Literal(String),
    Body,
    Timestamp,
    Header(HeaderName),
    Method,
    Url,
    UrlNoQuery,
    Path,
    Secret,
    Json(String),
    Crc32,
    Param(String),
    BodySha256,
    /// The digest as text.
    BodySha256In(SignatureEncoding),
    FormSorted,
    QuerySorted,
    Value(Place),
}

/// A piece of a message. The secret is kept apart, so that a message can be shown.
#[derive(Debug, Clone)]
pub(super) enum Part<'a> {
    Bytes(Cow<'a, [u8]>),
    Secret,
}

impl Part<'_> {
    pub(super) fn bytes<'s>(&'s self, secret: &'s [u8]) -> &'s [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Secret => secret,
        }
    }
}

impl<'a> From<&'a [u8]> for Part<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Part<'_> {
    fn from(text: String) -> Self {
        Self::Bytes(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Part<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

/// The whole message in one piece; a secret part is left out.
pub(super) fn concatenate(message: &[Part<'_>]) -> Vec<u8> {
    message
        .iter()
        .flat_map(|part| part.bytes(&[]))
        .copied()
        .collect()
}

impl Template {
    /// The body and nothing else.
    pub(super) fn body() -> Self {
        Self {
            atoms: vec![Atom::Body],
            text: "{body}".into(),
        }
    }

    pub(super) fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    /// Whether the public URL is part of it.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        self.atoms
            .iter()
            .any(|atom| matches!(atom, Atom::Url | Atom::UrlNoQuery))
    }

    /// Whether the whole body is part of it, as bytes, digest or checksum.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.atoms.iter().any(|atom| {
            matches!(
                atom,
                Atom::Body
                    | Atom::BodySha256
                    | Atom::BodySha256In(_)
                    | Atom::FormSorted
                    | Atom::Crc32
            )
        })
    }

    /// Whether the timestamp is part of it.
    #[must_use]
    pub fn covers_timestamp(&self) -> bool {
        self.atoms.contains(&Atom::Timestamp)
    }

    /// Fills the template.
    pub(super) fn render<'a>(
        &'a self,
        request: &Incoming<'a>,
        url: Option<Cow<'a, str>>,
        timestamp: Option<&'a str>,
        params: &'a BTreeMap<String, String>,
    ) -> Result<Vec<Part<'a>>, Reason> {
        self.atoms
            .iter()
            .map(|atom| {
                Ok(match atom {
                    Atom::Literal(text) => text.as_str().into(),
                    Atom::Body => request.body.into(),
                    Atom::Timestamp => timestamp.unwrap_or_default().into(),
                    Atom::Header(name) => single_header(request, name)?.into(),
                    Atom::Method => request.method.into(),
                    Atom::Url => match url.clone() {
                        Some(Cow::Borrowed(url)) => url.into(),
                        Some(Cow::Owned(url)) => url.into(),
                        None => return Err(Reason::UrlUnknown),
                    },
                    Atom::UrlNoQuery => request
                        .url_without_query()
                        .ok_or(Reason::UrlUnknown)?
                        .into(),
                    Atom::Path => request.path().into(),
                    Atom::Secret => Part::Secret,
                    Atom::Json(pointer) => json::pointer(request.body, pointer)
                        .and_then(json::Found::into_text)
                        .map_or_else(String::new, Cow::into_owned)
                        .into(),
                    Atom::Crc32 => crc32fast::hash(request.body).to_string().into(),
                    Atom::Param(name) => params
                        .get(name)
                        .ok_or_else(|| Reason::MissingParameter(name.clone()))?
                        .as_str()
                        .into(),
                    Atom::Value(place) => place
                        .read(request)
                        .ok_or_else(|| Reason::MissingPart(place.to_string()))?
                        .into_owned()
                        .into(),
                    Atom::BodySha256 => mac::sha256(request.body).to_vec().into(),
                    Atom::BodySha256In(written) => {
                        encoding::encode(&mac::sha256(request.body), *written).into()
                    }
                    Atom::FormSorted => sorted_form(request.body).into(),
                    Atom::QuerySorted => sorted_query(request.query().unwrap_or_default()).into(),
                })
            })
            .collect()
    }
}

/// The header's value. A header that is part of what is signed must not be ambiguous.
pub(super) fn single_header<'a>(
    request: &Incoming<'a>,
    name: &HeaderName,
) -> Result<&'a [u8], Reason> {
    let mut values = request.headers.get_all(name).iter();
    let first = values
        .next()
        .ok_or_else(|| Reason::MissingPart(name.to_string()))?;
    if values.any(|other| other != first) {
        return Err(Reason::Malformed(format!(
            "the header `{name}` is sent twice with different values, and it is part of what is signed"
        )));
    }
    Ok(first.as_bytes().trim_ascii())
}

/// Names and values of a form, concatenated: sorted by name, values of a repeated name sorted and without repetition.
fn sorted_form(body: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<form::Pair> = form::pairs(body).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
        .into_iter()
        .flat_map(|(name, value)| [name, value])
        .flatten()
        .collect()
}

/// A query, sorted by name and encoded anew.
fn sorted_query(query: &str) -> String {
    let mut pairs: Vec<form::Pair> = form::pairs(query.as_bytes()).collect();
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let mut out = String::with_capacity(query.len());
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        form::encode(&name, &mut out);
        out.push('=');
        form::encode(&value, &mut out);
    }
    out
}

/// Why a text is no [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTemplateError {
    /// An atom that does not exist.
    #[error(
        "`{{{0}}}` is not known in a message: use {{body}}, {{ts}}, {{h:NAME}}, {{method}}, {{url}}, {{url_noquery}}, {{path}}, {{secret}}, {{json:/pointer}}, {{crc32}}, {{param:NAME}}, {{sha256:body}}, {{sha256hex:body}}, {{sha256base64:body}}, {{form:sorted}}, {{query:sorted}} or {{value:PLACE}}"
    )]
    Unknown(String),
    /// A brace without its partner.
    #[error("a brace is not closed in the message `{0}`: write {{{{ for a brace")]
    Unbalanced(String),
}

impl FromStr for Template {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut atoms = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = tail;
                continue;
            }
            let unbalanced = || ParseTemplateError::Unbalanced(text.to_owned());
            if brace == "}" {
                return Err(unbalanced());
            }
            let (name, tail) = after.split_once('}').ok_or_else(unbalanced)?;
            if !literal.is_empty() {
                atoms.push(Atom::Literal(std::mem::take(&mut literal)));
            }
            atoms.push(atom(name)?);
            rest = tail;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            atoms.push(Atom::Literal(literal));
        }
        Ok(Self {
            atoms,
            text: text.to_owned(),
        })
    }
}

fn atom(name: &str) -> Result<Atom, ParseTemplateError> {
    let unknown = || ParseTemplateError::Unknown(name.to_owned());
    Ok(match name {
        "body" => Atom::Body,
        "ts" => Atom::Timestamp,
        "method" => Atom::Method,
        "url" => Atom::Url,
        "url_noquery" => Atom::UrlNoQuery,
        "path" => Atom::Path,
        "secret" => Atom::Secret,
        "crc32" => Atom::Crc32,
        "sha256:body" => Atom::BodySha256,
        "sha256hex:body" => Atom::BodySha256In(SignatureEncoding::Hex),
        "sha256base64:body" => Atom::BodySha256In(SignatureEncoding::Base64),
        "form:sorted" => Atom::FormSorted,
        "query:sorted" => Atom::QuerySorted,
        _ => match name.split_once(':') {
            Some(("h", header)) => Atom::Header(header.parse().map_err(|_| unknown())?),
            Some(("json", pointer)) if pointer.starts_with('/') => Atom::Json(pointer.to_owned()),
            Some(("value", place)) => Atom::Value(place.parse().map_err(|_| unknown())?),
            Some(("param", param)) if !param.is_empty() => Atom::Param(param.to_owned()),
            _ => return Err(unknown()),
        },
    })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MessageTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "literals and {atoms}" })
    }
}
