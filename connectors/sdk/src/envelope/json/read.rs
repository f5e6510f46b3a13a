//! Reading: every rule checked, data kept as a slice of the input.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::envelope::cloudevent::{CloudEvent, Draft, MAX_ATTRIBUTES, REPEATED, Value};
use crate::envelope::error::Problem;
use crate::envelope::{Data, InvalidEvent, media_type};

/// The event that `document` holds. JSON data stays a slice of `document`.
///
/// # Errors
/// The first broken rule, with its attribute.
pub fn read(document: &Bytes) -> Result<CloudEvent, InvalidEvent> {
    event(document, utf8(document)?)
}

/// The events that `document`, a JSON array, holds; none is valid, too. All or nothing: one invalid event refuses the batch.
///
/// # Errors
/// The first broken rule, with the event's place and the attribute.
pub fn read_batch(document: &Bytes) -> Result<Vec<CloudEvent>, InvalidEvent> {
    let text = utf8(document)?;
    if !text.trim_start_matches(JSON_BLANK).starts_with('[') {
        return Err(shape_or_syntax(text, "must be a JSON array of events"));
    }
    let events: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| InvalidEvent::json(&error))?;
    events
        .into_iter()
        .enumerate()
        .map(|(index, raw)| event(document, raw.get()).map_err(|error| error.at(index)))
        .collect()
}

const JSON_BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

fn utf8(document: &Bytes) -> Result<&str, InvalidEvent> {
    std::str::from_utf8(document)
        .map_err(|_| InvalidEvent::document(Problem::Shape("must be JSON in UTF-8")))
}

/// Tells a document of another kind from one that is not JSON at all.
fn shape_or_syntax(text: &str, shape: &'static str) -> InvalidEvent {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => InvalidEvent::document(Problem::Shape(shape)),
        Err(error) => InvalidEvent::json(&error),
    }
}

/// `text` is a slice of `document`.
fn event(document: &Bytes, text: &str) -> Result<CloudEvent, InvalidEvent> {
    if !text.trim_start_matches(JSON_BLANK).starts_with('{') {
        return Err(shape_or_syntax(text, "must be a JSON object"));
    }
    let Members(members) =
        serde_json::from_str(text).map_err(|error| InvalidEvent::json(&error))?;
    refuse_repeated(&members)?;
    let mut draft = Draft::default();
    let (mut data, mut data_base64) = (None, None);
    for (name, raw) in members {
        match name.as_str() {
            "data" => data = Some(raw),
            "data_base64" => data_base64 = Some(raw),
            _ => attribute(&mut draft, &name, raw.get())?,
        }
    }
    let data_base64 = data_base64.filter(|raw| raw.get() != "null");
    draft.data = match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(InvalidEvent::rule(
                "data_base64",
                "and `data` exclude each other",
            ));
        }
        (Some(raw), None) => plain_data(document, raw.get(), draft.datacontenttype.as_deref())?,
        (None, Some(raw)) => binary_data(raw.get())?,
        (None, None) => Data::none(),
    };
    draft.finish()
}

/// A name that occurs twice is refused even where one of the two is `null`.
fn refuse_repeated(members: &[(String, &RawValue)]) -> Result<(), InvalidEvent> {
    if members.len() > MAX_ATTRIBUTES {
        return Err(InvalidEvent::document(Problem::Shape(
            "has too many attributes",
        )));
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(InvalidEvent::rule(pair[0], REPEATED)),
        None => Ok(()),
    }
}

fn attribute(draft: &mut Draft, name: &str, raw: &str) -> Result<(), InvalidEvent> {
    let rule = |problem| Err(InvalidEvent::rule(name, problem));
    match raw.as_bytes()[0] {
        b'"' => {
            let text: std::borrow::Cow<'_, str> = string(raw)
                .ok_or_else(|| InvalidEvent::rule(name, "holds an unpaired surrogate"))?;
            draft.attribute(name, &Value::String(&text))
        }
        b't' => draft.attribute(name, &Value::Boolean(true)),
        b'f' => draft.attribute(name, &Value::Boolean(false)),
        b'n' => Draft::unset(name),
        b'{' | b'[' => rule("must be a string, an integer or a boolean"),
        _ => match raw.parse::<i32>() {
            Ok(value) if raw != "-0" => draft.attribute(name, &Value::Integer(value)),
            _ => rule("must be an integer of 32 bits, without fraction and exponent"),
        },
    }
}

fn plain_data(
    document: &Bytes,
    raw: &str,
    datacontenttype: Option<&str>,
) -> Result<Data, InvalidEvent> {
    let Some(datacontenttype) = datacontenttype.filter(|declared| !media_type::is_json(declared))
    else {
        return Ok(Data::json(document.slice_ref(raw.as_bytes())));
    };
    if !raw.starts_with('"') {
        return Err(InvalidEvent::rule(
            "data",
            "must be a string, because `datacontenttype` does not declare JSON",
        ));
    }
    let text =
        string(raw).ok_or_else(|| InvalidEvent::rule("data", "holds an unpaired surrogate"))?;
    if !media_type::string_can_carry(datacontenttype, &text) {
        return Err(InvalidEvent::rule(
            "data",
            "must be given as `data_base64`, because `datacontenttype` names a charset other than UTF-8",
        ));
    }
    Ok(Data::opaque(match text {
        std::borrow::Cow::Borrowed(text) => document.slice_ref(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    }))
}

fn binary_data(raw: &str) -> Result<Data, InvalidEvent> {
    let text = raw.starts_with('"').then(|| string(raw)).flatten();
    let text = text.ok_or_else(|| InvalidEvent::rule("data_base64", "must be a string"))?;
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| {
        InvalidEvent::rule(
            "data_base64",
            "must be Base64 with padding (RFC 4648, section 4)",
        )
    })?;
    Ok(Data::opaque(bytes))
}

/// The text of a JSON string literal that is known to be well formed; `None` if it escapes half a surrogate pair.
fn string(raw: &str) -> Option<std::borrow::Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if !inner.contains('\\') {
        return Some(std::borrow::Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw)
        .ok()
        .map(std::borrow::Cow::Owned)
}

/// The members of an object in order, repeated names included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> de::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(de::Error::custom("an array"))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
