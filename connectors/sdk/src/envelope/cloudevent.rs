//! A CloudEvent as its sender wrote it, every rule of the specification checked, and what becomes of it here.
//!
//! The formats (JSON, HTTP, Kafka) collect attributes in a [`Draft`]; [`Draft::finish`] gives the [`CloudEvent`]. From there
//! an event goes one of two ways: [`CloudEvent::received`] applies the rules for events from outside, and
//! [`CloudEvent::into_envelope`] reads back what a Headgate wrote.

use fluent_uri::{Uri, UriRef};
use smol_str::format_smolstr;

use super::error::Problem;
use super::time::TimeError;
use super::{
    Data, ENVELOPE_VERSION, Envelope, ExtensionValue, Extensions, InvalidEvent, Op, SPEC_VERSION,
    Str, Timestamp,
};
use super::{media_type, text, time};

/// A valid CloudEvent 1.0.2, not yet an envelope of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    /// Not empty.
    pub id: Str,
    /// A non-empty URI reference.
    pub source: Str,
    /// `type`, not empty.
    pub event_type: Str,
    /// When it happened, if the sender says so.
    pub time: Option<Timestamp>,
    /// A media type, as given.
    pub datacontenttype: Option<Str>,
    /// An absolute URI.
    pub dataschema: Option<Str>,
    /// Not empty.
    pub subject: Option<Str>,
    /// Everything else, also what the profile knows; names are legal.
    pub extensions: Extensions,
    /// The payload.
    pub data: Data,
}

/// What a gateway adds to an event that arrives from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The envelope's source: the sender's own moves to `originsource`.
    pub source: Str,
    /// The tenant of the source.
    pub tenantid: Str,
    /// When the event was received.
    pub recordedtime: Timestamp,
}

/// Attributes of the profile that nobody outside may set. `envelopeversion` and `recordedtime` are ours to say, the others
/// would let a sender pose as a tenant, as a verified sender, or point at a stored payload.
pub const NEVER_FROM_OUTSIDE: [&str; 6] = [
    "tenantid",
    "recordedtime",
    "envelopeversion",
    "authtype",
    "authid",
    "dataref",
];

/// A value as a format delivers it.
pub(super) enum Value<'a> {
    /// Native boolean.
    Boolean(bool),
    /// Native integer.
    Integer(i32),
    /// A string, or the canonical string of any other type.
    String(&'a str),
}

/// A CloudEvent in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    seen_specversion: bool,
    id: Option<Str>,
    source: Option<Str>,
    event_type: Option<Str>,
    time: Option<Timestamp>,
    pub(super) datacontenttype: Option<Str>,
    dataschema: Option<Str>,
    subject: Option<Str>,
    extensions: Extensions,
    pub(super) data: Data,
}

impl Draft {
    /// Takes one attribute. A format that can repeat names calls this once for each occurrence: the second is refused.
    pub(super) fn attribute(&mut self, name: &str, value: &Value<'_>) -> Result<(), InvalidEvent> {
        let wrong = |problem| InvalidEvent::rule(name, problem);
        if let Value::String(text) = value
            && !text::is_legal_string(text)
        {
            return Err(wrong(
                "holds a character that CloudEvents does not allow in attributes",
            ));
        }
        let core = match name {
            "specversion" => {
                if non_empty(name, value)? != SPEC_VERSION {
                    return Err(wrong("must be `1.0`"));
                }
                return if std::mem::replace(&mut self.seen_specversion, true) {
                    Err(wrong(REPEATED))
                } else {
                    Ok(())
                };
            }
            "time" => {
                let at = time::parse(non_empty(name, value)?).map_err(|error| {
                    wrong(match error {
                        TimeError::Form => NOT_A_TIME,
                        TimeError::TooLate => "is later than this gateway can hold",
                    })
                })?;
                return match self.time.replace(at) {
                    Some(_) => Err(wrong(REPEATED)),
                    None => Ok(()),
                };
            }
            "id" => &mut self.id,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "source" => {
                if UriRef::parse(non_empty(name, value)?).is_err() {
                    return Err(wrong("must be a URI reference (RFC 3986)"));
                }
                &mut self.source
            }
            "dataschema" => {
                let absolute =
                    Uri::parse(non_empty(name, value)?).is_ok_and(|uri| uri.fragment().is_none());
                if !absolute {
                    return Err(wrong(
                        "must be an absolute URI without a fragment (RFC 3986, section 4.3)",
                    ));
                }
                &mut self.dataschema
            }
            "datacontenttype" => {
                if !media_type::is_legal(non_empty(name, value)?) {
                    return Err(wrong(
                        "must be a media type like `application/json` (RFC 2046)",
                    ));
                }
                &mut self.datacontenttype
            }
            _ => return self.extension(name, value),
        };
        match core.replace(Str::new(non_empty(name, value)?)) {
            Some(_) => Err(wrong(REPEATED)),
            None => Ok(()),
        }
    }

    /// Takes an attribute that is there but has no value: it counts as absent, but its name still has to be one.
    pub(super) fn unset(name: &str) -> Result<(), InvalidEvent> {
        if text::is_legal_name(name) {
            return Ok(());
        }
        Err(InvalidEvent::rule(
            name,
            "is no attribute name: only lower-case letters a-z and digits are allowed",
        ))
    }

    fn extension(&mut self, name: &str, value: &Value<'_>) -> Result<(), InvalidEvent> {
        Self::unset(name)?;
        if self.extensions.get(name).is_some() {
            return Err(InvalidEvent::rule(name, REPEATED));
        }
        if self.extensions.iter().len() >= MAX_ATTRIBUTES {
            return Err(InvalidEvent::document(Problem::Shape(
                "has too many attributes",
            )));
        }
        let value = match value {
            Value::Boolean(b) => ExtensionValue::Boolean(*b),
            Value::Integer(i) => ExtensionValue::Integer(*i),
            Value::String(s) => ExtensionValue::String(Str::new(s)),
        };
        self.extensions.set(name, value);
        Ok(())
    }

    /// The event, if nothing required is missing.
    pub(super) fn finish(self) -> Result<CloudEvent, InvalidEvent> {
        if !self.seen_specversion {
            return Err(InvalidEvent::rule("specversion", MISSING));
        }
        let required =
            |name, value: Option<Str>| value.ok_or_else(|| InvalidEvent::rule(name, MISSING));
        Ok(CloudEvent {
            id: required("id", self.id)?,
            source: required("source", self.source)?,
            event_type: required("type", self.event_type)?,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            subject: self.subject,
            extensions: self.extensions,
            data: self.data,
        })
    }
}

/// More attributes than this are refused: they are kept sorted, so that their cost must not grow with a sender's zeal.
pub(super) const MAX_ATTRIBUTES: usize = 256;
const MISSING: &str = "is missing";
pub(super) const REPEATED: &str = "is given more than once";
const NOT_A_STRING: &str = "must be a string";
const NOT_A_TIME: &str = "must be an RFC 3339 date and time like `2026-01-31T12:00:00Z`";
const NOT_AN_INTEGER: &str = "must be an integer of 32 bits";

fn non_empty<'a>(name: &str, value: &Value<'a>) -> Result<&'a str, InvalidEvent> {
    match value {
        Value::String("") => Err(InvalidEvent::rule(name, "must not be empty")),
        Value::String(text) => Ok(text),
        Value::Boolean(_) | Value::Integer(_) => Err(InvalidEvent::rule(name, NOT_A_STRING)),
    }
}

impl CloudEvent {
    /// The envelope of an event that came from outside: identity, type, subject, time, data and unknown extensions stay,
    /// the source moves to `originsource`, and [`NEVER_FROM_OUTSIDE`] is dropped. An event without a time happened when it
    /// was received; one that is part of a chain (`hop` or `causationid`), or was an envelope before (`envelopeversion`), has
    /// passed one gateway more; a `traceparent` that is not one is ignored together with its `tracestate`, as W3C Trace
    /// Context asks.
    ///
    /// # Errors
    /// An attribute that the profile gives a type (`hop`, `expirytime`, `op`, or a string) has another value.
    pub fn received(mut self, receipt: Receipt) -> Result<Envelope, InvalidEvent> {
        let was_envelope = self.extensions.get("envelopeversion").is_some();
        for name in NEVER_FROM_OUTSIDE {
            self.extensions.remove(name);
        }
        let has_correlation = self.extensions.get("correlationid").is_some();
        let origin = std::mem::replace(&mut self.source, receipt.source);
        let time = self.time.unwrap_or(receipt.recordedtime);
        let mut envelope = self.profile(time)?;
        envelope.recordedtime = receipt.recordedtime;
        envelope.tenantid = receipt.tenantid;
        envelope.originsource = Some(origin);
        if was_envelope || envelope.hop.is_some() || envelope.causationid.is_some() {
            envelope.hop = Some(envelope.hop.unwrap_or(0).max(0).saturating_add(1));
        }
        if !envelope.traceparent.as_deref().is_some_and(is_traceparent) {
            envelope.traceparent = None;
            envelope.tracestate = None;
        }
        if !has_correlation && let Some(traceparent) = &envelope.traceparent {
            envelope.correlationid = Str::new(&traceparent[3..35]);
        }
        Ok(envelope)
    }

    /// The envelope that a Headgate wrote in one of the formats, every attribute as it was.
    ///
    /// # Errors
    /// An attribute that every envelope has is missing, or one of the profile has a value of another type.
    pub fn into_envelope(mut self) -> Result<Envelope, InvalidEvent> {
        let missing = |name| InvalidEvent::rule(name, MISSING);
        let time = self.time.ok_or_else(|| missing("time"))?;
        if take_integer(&mut self.extensions, "envelopeversion")?
            .ok_or_else(|| missing("envelopeversion"))?
            != ENVELOPE_VERSION
        {
            return Err(InvalidEvent::rule(
                "envelopeversion",
                "is one that this release does not know",
            ));
        }
        let recordedtime = take_time(&mut self.extensions, "recordedtime")?
            .ok_or_else(|| missing("recordedtime"))?;
        let tenantid =
            take_string(&mut self.extensions, "tenantid")?.ok_or_else(|| missing("tenantid"))?;
        if self.extensions.get("correlationid").is_none() {
            return Err(missing("correlationid"));
        }
        if self.datacontenttype.is_none() {
            return Err(missing("datacontenttype"));
        }
        let mut envelope = self.profile(time)?;
        envelope.recordedtime = recordedtime;
        envelope.tenantid = tenantid;
        Ok(envelope)
    }

    /// Moves the profile's attributes out of the extensions into their fields.
    fn profile(self, time: Timestamp) -> Result<Envelope, InvalidEvent> {
        let mut extensions = self.extensions;
        let correlationid = take_string(&mut extensions, "correlationid")?;
        let mut envelope = Envelope::new(self.id, self.source, self.event_type, time, self.data);
        if let Some(correlationid) = correlationid {
            envelope.correlationid = correlationid;
        }
        if let Some(datacontenttype) = self.datacontenttype {
            envelope.datacontenttype = datacontenttype;
        } else if envelope.data.bytes().is_some() && !envelope.data.is_known_json() {
            envelope.datacontenttype = Str::new_static("application/octet-stream");
        }
        envelope.dataschema = self.dataschema;
        envelope.subject = self.subject;
        for (name, field) in [
            ("partitionkey", &mut envelope.partitionkey),
            ("causationid", &mut envelope.causationid),
            ("sequence", &mut envelope.sequence),
            ("traceparent", &mut envelope.traceparent),
            ("tracestate", &mut envelope.tracestate),
            ("idempotencykey", &mut envelope.idempotencykey),
            ("dataref", &mut envelope.dataref),
            ("authtype", &mut envelope.authtype),
            ("authid", &mut envelope.authid),
            ("replayid", &mut envelope.replayid),
            ("originsource", &mut envelope.originsource),
        ] {
            *field = take_string(&mut extensions, name)?;
        }
        envelope.hop = take_integer(&mut extensions, "hop")?;
        envelope.expirytime = take_time(&mut extensions, "expirytime")?;
        envelope.op = take_string(&mut extensions, "op")?
            .map(|op| {
                Op::parse(&op).ok_or_else(|| {
                    InvalidEvent::rule("op", "must be one of `c`, `u`, `d`, `r`, `t`, `m`")
                })
            })
            .transpose()?;
        envelope.extensions = extensions;
        Ok(envelope)
    }
}

/// A string of the profile; an empty one says nothing and counts as unset.
fn take_string(extensions: &mut Extensions, name: &str) -> Result<Option<Str>, InvalidEvent> {
    match extensions.remove(name) {
        None => Ok(None),
        Some(ExtensionValue::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(InvalidEvent::rule(name, NOT_A_STRING)),
    }
}

fn take_integer(extensions: &mut Extensions, name: &str) -> Result<Option<i32>, InvalidEvent> {
    match extensions.remove(name) {
        None => Ok(None),
        Some(ExtensionValue::Integer(value)) => Ok(Some(value)),
        // Headers carry the canonical string: digits, a minus sign, nothing else.
        Some(ExtensionValue::String(text)) => match text.parse::<i32>() {
            Ok(value) if format_smolstr!("{value}") == text => Ok(Some(value)),
            _ => Err(InvalidEvent::rule(name, NOT_AN_INTEGER)),
        },
        Some(ExtensionValue::Boolean(_)) => Err(InvalidEvent::rule(name, NOT_AN_INTEGER)),
    }
}

/// An instant; one beyond what can be held stands for "never" and becomes the last one that can.
fn take_time(extensions: &mut Extensions, name: &str) -> Result<Option<Timestamp>, InvalidEvent> {
    match take_string(extensions, name)? {
        None => Ok(None),
        Some(text) => match time::parse(&text) {
            Ok(at) => Ok(Some(at)),
            Err(TimeError::TooLate) => Ok(Some(Timestamp::MAX)),
            Err(TimeError::Form) => Err(InvalidEvent::rule(name, NOT_A_TIME)),
        },
    }
}

/// Whether `text` is a `traceparent` of W3C Trace Context, level 1: version, trace id, parent id and flags in lower-case hex,
/// no id of zeros; versions after 00 may append fields.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let zeros = |range: std::ops::Range<usize>| bytes[range].iter().all(|&b| b == b'0');
    let dash = |at: usize| bytes.get(at) == Some(&b'-');
    let form =
        hex(0..2) && dash(2) && hex(3..35) && dash(35) && hex(36..52) && dash(52) && hex(53..55);
    form && &bytes[..2] != b"ff"
        && !zeros(3..35)
        && !zeros(36..52)
        && (bytes.len() == 55 || (&bytes[..2] != b"00" && dash(55)))
}
