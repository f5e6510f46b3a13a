//! The envelope, version 1: a CloudEvents 1.0.2 profile as our own type.
//!
//! One envelope carries one event from its source to its sinks. Its payload stays bytes: it is parsed at most once, by the
//! first step that asks, and serialised once, at the sink.
//!
//! Reading CloudEvents from outside is strict ([`json`], [`http`], [`kafka`] give a [`CloudEvent`], whose
//! [`received`](CloudEvent::received) is the envelope); [`wire`] is the codec of our own stores; [`schema`] describes it all.
//!
//! Invariants: [`Envelope::id`] names an occurrence (the same one after a crash, a retry or a replay);
//! attribute names are CloudEvents-legal and at most 20 characters; extensions never repeat an attribute of the profile.

mod attribute;
mod cloudevent;
mod data;
mod error;
pub mod http;
pub mod json;
pub mod kafka;
pub mod media_type;
pub mod schema;
mod text;
pub mod time;
pub mod wire;

#[cfg(test)]
mod tests;

pub use attribute::{
    Attribute, AttributeValue, ExtensionValue, Extensions, FIXED, MAX_NAME_LENGTH, NAMES, Op,
};
pub use cloudevent::{CloudEvent, NEVER_FROM_OUTSIDE, Receipt, is_traceparent};
pub use data::Data;
pub use error::{InvalidEvent, Problem};
pub use text::{is_legal_name, is_legal_string, legal_string};

/// An immutable string that is cheap to clone: short ones live inline, longer ones are shared.
pub use smol_str::SmolStr as Str;

/// An instant in UTC with nanoseconds.
pub use jiff::Timestamp;

use schemars::JsonSchema;

/// The CloudEvents version that every envelope claims.
pub const SPEC_VERSION: &str = "1.0";

/// The version of this profile, `envelopeversion`.
pub const ENVELOPE_VERSION: i32 = 1;

/// One event.
///
/// Attributes that every envelope has are plain fields; the others are optional. Field names are the attributes' names,
/// except [`event_type`](Self::event_type) (`type` is a keyword).
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub struct Envelope {
    /// Names the occurrence, deterministically.
    #[schemars(length(min = 1))]
    pub id: Str,
    /// `urn:headgate:{tenant}:{connector}:{source name}`.
    #[schemars(length(min = 1), extend("format" = "uri-reference"))]
    pub source: Str,
    /// `type`: dotted, ends in `.vN`.
    #[schemars(rename = "type", length(min = 1))]
    pub event_type: Str,
    /// When it happened at the source.
    pub time: Timestamp,
    /// When Headgate first received it.
    pub recordedtime: Timestamp,
    /// Media type of the data, as received.
    pub datacontenttype: Str,
    /// The tenant of the source.
    pub tenantid: Str,
    /// Joins what belongs together: the sender's, the parent's, the trace id, or the id.
    pub correlationid: Str,
    /// The entity: table, collection, file path, webhook resource.
    pub subject: Option<Str>,
    /// The entity's key; becomes the Kafka key.
    pub partitionkey: Option<Str>,
    /// When the event stops being worth acting on.
    pub expirytime: Option<Timestamp>,
    /// Absolute, versioned URI of the data's schema.
    #[schemars(extend("format" = "uri"))]
    pub dataschema: Option<Str>,
    /// The event or request that caused this one.
    pub causationid: Option<Str>,
    /// How many gateways or agents the chain passed.
    pub hop: Option<i32>,
    /// Sorts lexicographically in source order.
    pub sequence: Option<Str>,
    /// W3C trace context.
    pub traceparent: Option<Str>,
    /// W3C trace state.
    pub tracestate: Option<Str>,
    /// The operation of a change event.
    #[schemars(with = "Option<String>", extend("enum" = ["c", "u", "d", "r", "t", "m", null]))]
    pub op: Option<Op>,
    /// Only where it differs from the id.
    pub idempotencykey: Option<Str>,
    /// Claim check: where the payload lies.
    pub dataref: Option<Str>,
    /// What kind of sender was verified.
    pub authtype: Option<Str>,
    /// Which sender was verified.
    pub authid: Option<Str>,
    /// Set by a replay; the id is unchanged.
    pub replayid: Option<Str>,
    /// The source attribute that an incoming CloudEvent carried.
    pub originsource: Option<Str>,
    /// Attributes outside the profile, kept as they came.
    #[schemars(skip)]
    pub extensions: Extensions,
    /// The payload.
    #[schemars(skip)]
    pub data: Data,
}

impl Envelope {
    /// A minimal envelope. `correlationid` starts as the id, `recordedtime` as `time`, the tenant as `default`,
    /// the content type as `application/json`; everything optional is absent.
    #[must_use]
    pub fn new(
        id: impl Into<Str>,
        source: impl Into<Str>,
        event_type: impl Into<Str>,
        time: Timestamp,
        data: Data,
    ) -> Self {
        let id = id.into();
        Self {
            correlationid: id.clone(),
            id,
            source: source.into(),
            event_type: event_type.into(),
            time,
            recordedtime: time,
            datacontenttype: Str::new_static("application/json"),
            tenantid: Str::new_static("default"),
            subject: None,
            partitionkey: None,
            expirytime: None,
            dataschema: None,
            causationid: None,
            hop: None,
            sequence: None,
            traceparent: None,
            tracestate: None,
            op: None,
            idempotencykey: None,
            dataref: None,
            authtype: None,
            authid: None,
            replayid: None,
            originsource: None,
            extensions: Extensions::default(),
            data,
        }
    }

    /// Bytes this envelope holds in memory, for bounds; an estimate that counts the payload exactly.
    #[must_use]
    pub fn weight(&self) -> usize {
        std::mem::size_of::<Self>() + self.data.len() + self.extensions.weight()
    }
}
