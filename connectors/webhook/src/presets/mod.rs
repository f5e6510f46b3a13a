//! The vendors' schemes, by name: one embedded document, checked by tests against published vectors.
//!
//! Adding a vendor is one entry in `presets/presets.json`.

mod reference;

pub use reference::reference;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::verify::{Place, Scheme};

static DOCUMENT: &str = include_str!("../../presets/presets.json");

static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| {
    serde_json::from_str(DOCUMENT).expect("the embedded presets are valid: a test reads them")
});

/// A vendor's scheme and where the rest of what Headgate wants to know stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The vendor, for people.
    pub title: String,
    /// How it is verified.
    pub verify: Scheme,
    /// Where the event's type stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<Place>,
    /// What the vendor asks before it sends events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handshakes: Vec<Handshake>,
    /// The methods of its deliveries.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// Parameters that the scheme needs, and what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// What an attacker who holds one signed request could still change.
    pub not_covered: Vec<String>,
    /// How this preset was checked.
    pub checked: Checked,
}

fn post() -> Vec<String> {
    vec!["POST".into()]
}

/// How a preset was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// By what.
    pub by: Evidence,
    /// Where it comes from.
    pub source: String,
}

/// What a preset was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A vector that the vendor, or its library's tests, published.
    Vendor,
    /// A vector of somebody else's implementation.
    ThirdParty,
    /// A vector made from the vendor's documentation or from a published one.
    Derived,
    /// Published requests that must be refused, and a signature by a key of our own.
    Refusals,
    /// The vendor's documentation, and a signature by a key of our own.
    Documentation,
}

/// What a vendor asks before it sends events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Handshake {
    /// Slack's `url_verification`: the challenge goes back.
    Slack,
    /// Meta's `hub.challenge`, against `hub.verify_token`.
    HubChallenge,
    /// X's challenge-response check: an HMAC of `crc_token`.
    TwitterCrc,
    /// Zoom's `endpoint.url_validation`: an HMAC of `plainToken`.
    Zoom,
    /// Microsoft Graph's `validationToken`: goes back as text.
    MicrosoftGraph,
    /// Dropbox' `challenge`: goes back as text.
    Dropbox,
    /// Okta's `x-okta-verification-challenge`.
    Okta,
    /// Twitch's `webhook_callback_verification`: the challenge goes back as text.
    Twitch,
    /// Notion's verification token: logged, to be pasted at Notion.
    Notion,
    /// Asana's `X-Hook-Secret`: goes back as a header.
    Asana,
    /// Xero's intent to receive: a bad signature must get 401, a good one 200.
    Xero,
    /// AWS SNS `SubscriptionConfirmation`: its link is fetched, when enabled.
    AwsSns,
    /// Discord's `PING`: answered in kind for interactions, with 204 for webhook events.
    DiscordPing,
    /// WooCommerce's first, unsigned `webhook_id=…`: must get 200.
    WoocommercePing,
    /// A `HEAD` or `GET` request without a body must get 200.
    Head,
}

/// The preset of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.get(name)
}

/// All presets by name.
#[must_use]
pub fn all() -> &'static BTreeMap<String, Preset> {
    &PRESETS
}

/// Names that resemble `name`, for "did you mean".
#[must_use]
pub fn similar(name: &str) -> Vec<&'static str> {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    PRESETS
        .keys()
        .map(String::as_str)
        .filter(|known| {
            known.contains(&wanted)
                || wanted.contains(known)
                || known.split('-').next() == wanted.split('-').next()
        })
        .collect()
}
