//! The whole tree against the schema.

use std::net::SocketAddr;
use std::str::FromStr;

use headgate_sdk::config::{ByteSize, HumanDuration, Rate, Secret};
use jsonschema::{Draft, Validator};
use serde_json::Value as Json;

use super::explain::explain;
use super::load::Judge;
use crate::pipeline::{json::Pointer, redact::Field, route::Template, set::Place};

/// A named form of text, and what is wrong with a text that does not have it.
type Format = (&'static str, fn(&str) -> Result<(), String>);

/// The formats that this schema uses beyond JSON Schema's own.
const FORMATS: [Format; 10] = [
    (HumanDuration::FORMAT, refusal::<HumanDuration>),
    (ByteSize::FORMAT, refusal::<ByteSize>),
    (Rate::FORMAT, refusal::<Rate>),
    (Secret::FORMAT, |text| match text.is_empty() {
        true => {
            Err("the secret is empty; a secret that everybody knows protects nothing".to_owned())
        }
        false => Ok(()),
    }),
    (Template::FORMAT, refusal::<Template>),
    (Place::FORMAT, refusal::<Place>),
    (Field::FORMAT, refusal::<Field>),
    (Pointer::FORMAT, refusal::<Pointer>),
    ("socket-address", |text| {
        text.parse::<SocketAddr>()
            .map(drop)
            .map_err(|_| format!("`{text}` is not an address and port; write for example `127.0.0.1:8080` or `[::]:8080`"))
    }),
    ("http-url", |text| match text.parse::<http::Uri>() {
        Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() => {
            Ok(())
        }
        _ => Err(format!(
            "`{text}` is not a URL of the web; write for example `https://hooks.example.com`"
        )),
    }),
];

/// What is wrong with `text` as a `T`.
fn refusal<T: FromStr<Err: ToString>>(text: &str) -> Result<(), String> {
    text.parse::<T>()
        .map(drop)
        .map_err(|error| error.to_string())
}

/// What is wrong with `text` under `format`, in words.
pub(super) fn format_message(format: &str, text: &str) -> Option<String> {
    let (_, check) = FORMATS.iter().find(|(name, _)| *name == format)?;
    check(text).err()
}

fn validator(schema: &Json) -> Result<Validator, String> {
    let mut options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true);
    for (name, check) in FORMATS {
        options = options.with_format(name, move |text: &str| check(text).is_ok());
    }
    options.build(schema).map_err(|error| error.to_string())
}

/// Reports every violation of `schema` to the judge.
pub(super) fn check(judge: &mut Judge<'_>, schema: &Json) {
    let instance = judge.root().to_json();
    match validator(schema) {
        Ok(validator) => {
            for error in validator.iter_errors(&instance) {
                explain(judge, schema, &error);
            }
        }
        // A schema that does not compile is a mistake in a connector's types, found by the test that loads the examples.
        Err(error) => judge.whole(format!(
            "the configuration's own schema is broken, which is a bug of Headgate: {error}"
        )),
    }
}
