//! Attributes by name: the closed list of the profile, and the open one of extensions.

use std::borrow::Cow;

use super::{
    Envelope, InvalidEvent, Str, Timestamp, is_legal_name, is_legal_string, media_type, time,
};

/// The operation of a change event, Debezium's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `c`
    Create,
    /// `r`: a snapshot read
    Read,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `t`
    Truncate,
    /// `m`: a logical message
    Message,
}

impl Op {
    /// The letter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Read => "r",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }

    /// The operation of a letter.
    #[must_use]
    pub fn parse(letter: &str) -> Option<Self> {
        Some(match letter {
            "c" => Self::Create,
            "r" => Self::Read,
            "u" => Self::Update,
            "d" => Self::Delete,
            "t" => Self::Truncate,
            "m" => Self::Message,
            _ => return None,
        })
    }
}

/// The value of an extension attribute. CloudEvents' Binary, URI and Timestamp travel as strings in every format.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtensionValue {
    /// CloudEvents Boolean.
    Boolean(bool),
    /// CloudEvents Integer: 32 bits, signed.
    Integer(i32),
    /// CloudEvents String and everything that is written as one.
    String(Str),
}

/// Attributes outside the profile, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extensions(Vec<(Str, ExtensionValue)>);

impl Extensions {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ExtensionValue> {
        self.0
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()
            .map(|i| &self.0[i].1)
    }

    /// Sets `name`. The caller vouches that it is a legal name and not one of the profile's.
    pub fn set(&mut self, name: impl Into<Str>, value: ExtensionValue) {
        let name = name.into();
        match self.0.binary_search_by(|(n, _)| n.cmp(&name)) {
            Ok(i) => self.0[i].1 = value,
            Err(i) => self.0.insert(i, (name, value)),
        }
    }

    /// Takes `name` away.
    pub fn remove(&mut self, name: &str) -> Option<ExtensionValue> {
        let i = self
            .0
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()?;
        Some(self.0.remove(i).1)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Str, &ExtensionValue)> {
        self.0.iter().map(|(n, v)| (n, v))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn weight(&self) -> usize {
        self.0.len() * std::mem::size_of::<(Str, ExtensionValue)>()
    }
}

/// A value as the formats write it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttributeValue<'a> {
    /// A string.
    String(&'a str),
    /// A 32-bit integer.
    Integer(i32),
    /// A boolean.
    Boolean(bool),
    /// An instant, written as RFC 3339.
    Timestamp(Timestamp),
}

/// One attribute of an envelope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attribute<'a> {
    /// Its CloudEvents name.
    pub name: &'a str,
    /// Its value.
    pub value: AttributeValue<'a>,
}

impl Envelope {
    /// Calls `f` for each attribute that is present, `specversion` first, the extensions last; `datacontenttype` included,
    /// data not. The order is fixed, so that output is reproducible.
    pub fn for_each_attribute<'a>(&'a self, mut f: impl FnMut(Attribute<'a>)) {
        use AttributeValue::{Integer, String};
        let mut put = |name: &'a str, value| f(Attribute { name, value });
        put("specversion", String(super::SPEC_VERSION));
        put("id", String(&self.id));
        put("source", String(&self.source));
        put("type", String(&self.event_type));
        put("datacontenttype", String(&self.datacontenttype));
        put("tenantid", String(&self.tenantid));
        put("envelopeversion", Integer(super::ENVELOPE_VERSION));
        self.for_each_changing_attribute(f);
    }

    /// Like [`for_each_attribute`](Self::for_each_attribute), from `time` on: without the id and without those that are
    /// alike in most events of a source, which a format encodes once.
    pub(super) fn for_each_changing_attribute<'a>(&'a self, mut f: impl FnMut(Attribute<'a>)) {
        use AttributeValue::{Boolean, Integer, String, Timestamp};
        let mut put = |name: &'a str, value| f(Attribute { name, value });
        put("time", Timestamp(self.time));
        put("recordedtime", Timestamp(self.recordedtime));
        put("correlationid", String(&self.correlationid));
        let strings = [
            ("subject", &self.subject),
            ("partitionkey", &self.partitionkey),
            ("dataschema", &self.dataschema),
            ("causationid", &self.causationid),
            ("sequence", &self.sequence),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("idempotencykey", &self.idempotencykey),
            ("dataref", &self.dataref),
            ("authtype", &self.authtype),
            ("authid", &self.authid),
            ("replayid", &self.replayid),
            ("originsource", &self.originsource),
        ];
        for (name, value) in strings {
            if let Some(value) = value {
                put(name, String(value));
            }
        }
        if let Some(at) = self.expirytime {
            put("expirytime", Timestamp(at));
        }
        if let Some(hop) = self.hop {
            put("hop", Integer(hop));
        }
        if let Some(op) = self.op {
            put("op", String(op.as_str()));
        }
        for (name, value) in self.extensions.iter() {
            put(
                name,
                match value {
                    ExtensionValue::Boolean(b) => Boolean(*b),
                    ExtensionValue::Integer(i) => Integer(*i),
                    ExtensionValue::String(s) => String(s),
                },
            );
        }
    }
}

impl Envelope {
    /// The attribute `name` as text, `None` if it is absent. Instants are RFC 3339; `specversion` and `envelopeversion` included.
    #[must_use]
    pub fn attribute_text(&self, name: &str) -> Option<Cow<'_, str>> {
        let optional = match name {
            "id" => return Some(self.id.as_str().into()),
            "source" => return Some(self.source.as_str().into()),
            "type" => return Some(self.event_type.as_str().into()),
            "datacontenttype" => return Some(self.datacontenttype.as_str().into()),
            "tenantid" => return Some(self.tenantid.as_str().into()),
            "correlationid" => return Some(self.correlationid.as_str().into()),
            "specversion" => return Some(super::SPEC_VERSION.into()),
            "envelopeversion" => return Some(super::ENVELOPE_VERSION.to_string().into()),
            "time" => return Some(time::text(self.time).into()),
            "recordedtime" => return Some(time::text(self.recordedtime).into()),
            "expirytime" => return self.expirytime.map(|at| time::text(at).into()),
            "hop" => return self.hop.map(|hop| hop.to_string().into()),
            "op" => return self.op.map(|op| op.as_str().into()),
            "subject" => &self.subject,
            "partitionkey" => &self.partitionkey,
            "dataschema" => &self.dataschema,
            "causationid" => &self.causationid,
            "sequence" => &self.sequence,
            "traceparent" => &self.traceparent,
            "tracestate" => &self.tracestate,
            "idempotencykey" => &self.idempotencykey,
            "dataref" => &self.dataref,
            "authtype" => &self.authtype,
            "authid" => &self.authid,
            "replayid" => &self.replayid,
            "originsource" => &self.originsource,
            extension => {
                return self.extensions.get(extension).map(|value| match value {
                    ExtensionValue::Boolean(b) => b.to_string().into(),
                    ExtensionValue::Integer(i) => i.to_string().into(),
                    ExtensionValue::String(s) => s.as_str().into(),
                });
            }
        };
        optional.as_deref().map(Cow::Borrowed)
    }
}

/// Attributes that no step of a pipeline may change: they say what an event is and who made it.
pub const FIXED: [&str; 8] = [
    "specversion",
    "envelopeversion",
    "id",
    "source",
    "tenantid",
    "recordedtime",
    "authtype",
    "authid",
];

/// All attributes that the profile knows, sorted.
pub const NAMES: [&str; 26] = [
    "authid",
    "authtype",
    "causationid",
    "correlationid",
    "datacontenttype",
    "dataref",
    "dataschema",
    "envelopeversion",
    "expirytime",
    "hop",
    "id",
    "idempotencykey",
    "op",
    "originsource",
    "partitionkey",
    "recordedtime",
    "replayid",
    "sequence",
    "source",
    "specversion",
    "subject",
    "tenantid",
    "time",
    "traceparent",
    "tracestate",
    "type",
];

/// The longest attribute name of our own making.
pub const MAX_NAME_LENGTH: usize = 20;

impl Envelope {
    /// Sets the attribute `name`, or takes it away (`None`), by the rules of the profile. The envelope is unchanged on error.
    ///
    /// # Errors
    /// The attribute is one of [`FIXED`], is always there and cannot be taken away, or cannot have this value; or the name is
    /// not legal.
    pub fn set_attribute(
        &mut self,
        name: &str,
        value: Option<ExtensionValue>,
    ) -> Result<(), InvalidEvent> {
        let wrong = |problem| InvalidEvent::rule(name, problem);
        if FIXED.contains(&name) {
            return Err(wrong("cannot be changed by a step"));
        }
        if let Some(ExtensionValue::String(text)) = &value
            && !is_legal_string(text)
        {
            return Err(wrong(
                "holds a character that CloudEvents does not allow in attributes",
            ));
        }
        let optional = match name {
            "type" => &mut self.event_type,
            "datacontenttype" => {
                let text = required_text(name, value)?;
                if !media_type::is_legal(&text) {
                    return Err(wrong(
                        "must be a media type like `application/json` (RFC 2046)",
                    ));
                }
                self.datacontenttype = text;
                return Ok(());
            }
            "correlationid" => &mut self.correlationid,
            "time" => {
                self.time =
                    time::parse(&required_text(name, value)?).map_err(|_| wrong(NOT_A_TIME))?;
                return Ok(());
            }
            "expirytime" => {
                let text = optional_text(name, value)?;
                self.expirytime = text
                    .map(|text| time::parse(&text).map_err(|_| wrong(NOT_A_TIME)))
                    .transpose()?;
                return Ok(());
            }
            "hop" => {
                self.hop = match value {
                    None => None,
                    Some(ExtensionValue::Integer(hop)) => Some(hop),
                    Some(_) => return Err(wrong("must be an integer of 32 bits")),
                };
                return Ok(());
            }
            "op" => {
                let text = optional_text(name, value)?;
                let op = text.map(|text| {
                    Op::parse(&text)
                        .ok_or_else(|| wrong("must be one of `c`, `u`, `d`, `r`, `t`, `m`"))
                });
                self.op = op.transpose()?;
                return Ok(());
            }
            "dataschema" => {
                let text = optional_text(name, value)?;
                if text
                    .as_deref()
                    .is_some_and(|text| fluent_uri::Uri::parse(text).is_err())
                {
                    return Err(wrong("must be an absolute URI"));
                }
                self.dataschema = text;
                return Ok(());
            }
            _ => return self.set_optional(name, value),
        };
        *optional = required_text(name, value)?;
        Ok(())
    }

    fn set_optional(
        &mut self,
        name: &str,
        value: Option<ExtensionValue>,
    ) -> Result<(), InvalidEvent> {
        let field = match name {
            "subject" => &mut self.subject,
            "partitionkey" => &mut self.partitionkey,
            "causationid" => &mut self.causationid,
            "sequence" => &mut self.sequence,
            "traceparent" => &mut self.traceparent,
            "tracestate" => &mut self.tracestate,
            "idempotencykey" => &mut self.idempotencykey,
            "dataref" => &mut self.dataref,
            "replayid" => &mut self.replayid,
            "originsource" => &mut self.originsource,
            extension => {
                if !is_legal_name(extension) || extension.len() > MAX_NAME_LENGTH {
                    return Err(InvalidEvent::rule(
                        extension,
                        "is no attribute name: 1 to 20 lower-case letters a-z and digits are allowed",
                    ));
                }
                match value {
                    Some(value) => self.extensions.set(extension, value),
                    None => drop(self.extensions.remove(extension)),
                }
                return Ok(());
            }
        };
        *field = optional_text(name, value)?;
        Ok(())
    }
}

const NOT_A_TIME: &str = "must be an RFC 3339 date and time like `2026-01-31T12:00:00Z`";

fn required_text(name: &str, value: Option<ExtensionValue>) -> Result<Str, InvalidEvent> {
    optional_text(name, value)?.ok_or_else(|| InvalidEvent::rule(name, "must not be empty"))
}

/// An empty string says nothing and counts as none.
fn optional_text(name: &str, value: Option<ExtensionValue>) -> Result<Option<Str>, InvalidEvent> {
    match value {
        None => Ok(None),
        Some(ExtensionValue::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(InvalidEvent::rule(name, "must be a string")),
    }
}
