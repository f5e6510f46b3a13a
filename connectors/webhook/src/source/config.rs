//! The source's keys in the configuration.

use std::{collections::BTreeMap, fmt, str::FromStr};

use headgate_sdk::config::{ByteSize, HumanDuration, Secret};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::{
    presets::{self, Handshake, Preset},
    verify::{Keys, Place, Scheme},
};

/// A webhook source: `POST /webhook/{source}`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A vendor's scheme by name (`github`, `stripe`, …). Exactly one of `scheme` and `verify`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// A scheme of your own, in the declarative model.
    #[serde(default)]
    pub verify: Option<Scheme>,
    /// Shared secrets; all are tried, so that one can be rotated.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Public keys, certificates or JWKS, as text. Vendors that publish theirs need none.
    #[serde(default)]
    pub public_keys: Vec<String>,
    /// What else the scheme needs, by name (`webhook_id` for PayPal, `verify_token` for Meta's handshake).
    #[serde(default)]
    pub params: BTreeMap<String, Secret>,
    /// Tenants with keys of their own, each at `/webhook/{tenant}/{source}`.
    #[serde(default)]
    pub tenants: BTreeMap<String, Tenant>,
    /// The path instead of `/webhook/{source}`; tenants follow it as `/{tenant}`.
    #[serde(default)]
    pub path: Option<String>,
    /// Methods of deliveries instead of the preset's.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The URL under which the vendor knows this endpoint, where it is part of what is signed. With a path it is taken as it
    /// is, without one the request's path is appended. Default: the gateway's `public_url`, else what a trusted proxy names.
    #[serde(default)]
    pub public_url: Option<String>,
    /// The events' type: a constant (`invoice.received.v1`) or a place (`header:X-Event`, `json:/type`) that is prefixed with
    /// the scheme. Default: the preset's place.
    #[serde(default)]
    pub event_type: Option<EventType>,
    /// Where the resource's id stands; becomes `subject`.
    #[serde(default)]
    pub subject: Option<Place>,
    /// Where the entity's key stands; becomes `partitionkey` and Kafka's key.
    #[serde(default)]
    pub partition_key: Option<Place>,
    /// How repeated deliveries are recognised.
    #[serde(default)]
    pub dedup: DedupRule,
    /// When a delivery is answered.
    #[serde(default)]
    pub ack: Acknowledge,
    /// What an accepted delivery is answered with, for vendors that insist. Default: 202 and `{"id":…}`, 200 for a repetition.
    #[serde(default)]
    pub respond: Option<Respond>,
    /// What happens to requests whose signature is wrong. They are answered 401 in any case.
    #[serde(default)]
    pub on_invalid: OnInvalid,
    /// Bounds of the quarantine.
    #[serde(default)]
    pub quarantine: QuarantineRule,
    /// Which bytes of a compressed body the signature covers.
    #[serde(default)]
    pub signature_covers: SignatureCovers,
    /// The most bytes of a body on the wire.
    #[serde(default = "max_body")]
    pub max_body: ByteSize,
    /// The most bytes of a body after decompression.
    #[serde(default = "max_inflated")]
    pub max_inflated: ByteSize,
    /// The time for a body to arrive, and for the gateway to take the event.
    #[serde(default = "timeout")]
    pub timeout: HumanDuration,
    /// Requests of this source at once. 16 times as many wait for `timeout`, then get 503; more get it at once.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: u32,
    /// Networks that may send (CIDR). Empty: everybody.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Proxies (CIDR) whose `Forwarded`, or `X-Forwarded-For`, `-Proto` and `-Host`, are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Failed verifications of one client address that are answered; beyond, it gets 429 until the time is over. Not behind
    /// proxies that are not listed in `trusted_proxies`: all clients would share one address.
    #[serde(default)]
    pub unverified_limit: Option<headgate_sdk::config::Rate>,
    /// Handshakes besides the preset's.
    #[serde(default)]
    pub handshakes: Vec<Handshake>,
    /// Whether secrets that Asana (`X-Hook-Secret`) and Notion (`verification_token`) hand out by a request are kept and used.
    /// Switch it on while you register the webhook, and off afterwards: whoever reaches the endpoint meanwhile can set a secret.
    #[serde(default)]
    pub learn_secrets: bool,
    /// Whether SNS subscriptions are confirmed by fetching Amazon's link.
    #[serde(default)]
    pub confirm_subscriptions: bool,
    /// Origins that may ask with `OPTIONS` to send CloudEvents (`WebHook-Request-Origin`); `*` is any.
    #[serde(default = "any_origin")]
    pub webhook_origins: Vec<String>,
    /// Whose inbound e-mail arrives here: it becomes `email.incoming.v1`, its attachments are stored and referenced.
    #[serde(default)]
    pub inbound_email: Option<InboundEmail>,
}

fn max_body() -> ByteSize {
    ByteSize::from_mib(10)
}
fn max_inflated() -> ByteSize {
    ByteSize::from_mib(32)
}
fn timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}
fn max_concurrent() -> u32 {
    256
}
fn any_origin() -> Vec<String> {
    vec!["*".into()]
}

/// A tenant's own keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Shared secrets.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Public keys.
    #[serde(default)]
    pub public_keys: Vec<String>,
    /// Parameters, over the source's.
    #[serde(default)]
    pub params: BTreeMap<String, Secret>,
}

/// When a delivery is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// Once the journal has it on disk.
    #[default]
    Journal,
    /// Once every required sink has it: slower, and no journal is needed.
    Sink,
}

/// What happens to requests that are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// They are answered and forgotten.
    #[default]
    Reject,
    /// They are kept, bounded, for `headgate webhook recheck`.
    Quarantine,
}

/// Bounds of the quarantine; the oldest requests make room.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineRule {
    /// Requests.
    pub max_requests: usize,
    /// Bytes.
    pub max_bytes: ByteSize,
}

impl Default for QuarantineRule {
    fn default() -> Self {
        Self {
            max_requests: 1000,
            max_bytes: ByteSize::from_mib(64),
        }
    }
}

/// Which bytes of a compressed body the signature covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureCovers {
    /// Those that were received, or, if they do not fit, the inflated ones.
    #[default]
    Either,
    /// Those that were received.
    Received,
    /// The inflated ones.
    Inflated,
}

/// An answer of your own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status, 200 to 299.
    pub status: u16,
    /// The body; `{id}` becomes the event's id.
    #[serde(default)]
    pub body: Option<String>,
    /// The body's media type.
    #[serde(default = "plain")]
    pub content_type: String,
}

fn plain() -> String {
    "text/plain; charset=utf-8".into()
}

/// How repeated deliveries are recognised.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupRule {
    /// The delivery's id: a place, `body` (its hash) or `none`. Default: the scheme's.
    pub from: Option<DedupFrom>,
    /// How long an id is remembered.
    pub window: HumanDuration,
    /// How many ids are remembered at most, for each tenant; each takes about 100 bytes of memory. The oldest make room.
    pub max_ids: usize,
}

impl Default for DedupRule {
    fn default() -> Self {
        Self {
            from: None,
            window: HumanDuration::from_secs(72 * 3600),
            max_ids: 200_000,
        }
    }
}

/// Where the delivery's id comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupFrom {
    /// The vendor's id.
    Place(Place),
    /// The hash of the body.
    Body,
    /// Nowhere: nothing is suppressed.
    None,
}

impl FromStr for DedupFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "body" => Ok(Self::Body),
            "none" => Ok(Self::None),
            _ => text
                .parse()
                .map(Self::Place)
                .map_err(|error| format!("{error}, `body` or `none`")),
        }
    }
}

/// Where the events' type comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventType {
    /// Always the same.
    Constant(String),
    /// From the request.
    Place(Place),
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("write a type (`invoice.received.v1`) or a place (`json:/type`)".into());
        }
        let place = ["header:", "json:", "query:", "form:"]
            .iter()
            .any(|kind| text.starts_with(kind));
        match place {
            true => text
                .parse()
                .map(Self::Place)
                .map_err(|error| format!("{error}")),
            false => Ok(Self::Constant(text.to_owned())),
        }
    }
}

macro_rules! from_text {
    ($($name:ident $describe:literal),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $describe })
            }
        }
    )*};
}

from_text!(
    DedupFrom "header:NAME, json:/pointer, query:NAME, form:NAME, body or none",
    EventType "a constant type, or header:NAME, json:/pointer, query:NAME, form:NAME"
);

/// A service that turns e-mail into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InboundEmail {
    /// SendGrid Inbound Parse.
    Sendgrid,
    /// Mailgun Routes.
    Mailgun,
    /// Postmark Inbound.
    Postmark,
}

impl fmt::Display for InboundEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sendgrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Postmark => "postmark",
        })
    }
}

impl Config {
    /// The preset, if one is selected and exists.
    #[must_use]
    pub fn preset(&self) -> Option<&'static Preset> {
        self.scheme.as_deref().and_then(presets::find)
    }

    /// The scheme: the preset's, or the source's own.
    #[must_use]
    pub fn resolved_scheme(&self) -> Option<Scheme> {
        self.preset()
            .map(|preset| preset.verify.clone())
            .or_else(|| self.verify.clone())
    }

    /// The source's own keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys {
            secrets: self.secrets.clone(),
            public_keys: self.public_keys.clone(),
            params: exposed(&self.params),
        }
    }

    /// A tenant's keys: its own parameters stand over the source's.
    #[must_use]
    pub fn tenant_keys(&self, tenant: &Tenant) -> Keys {
        let mut params = exposed(&self.params);
        params.extend(exposed(&tenant.params));
        Keys {
            secrets: tenant.secrets.clone(),
            public_keys: match tenant.public_keys.is_empty() {
                true => self.public_keys.clone(),
                false => tenant.public_keys.clone(),
            },
            params,
        }
    }
}

fn exposed(params: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    params
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}
