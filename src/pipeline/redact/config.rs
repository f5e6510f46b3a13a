//! The keys of `redact`.

use headgate_sdk::config::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Field;
use crate::pipeline::step::Types;

/// Masks, hashes or takes away members of JSON data and attributes; everything else stays byte-identical. What is not there is no
/// error, and `null` stays `null`. Dead letters of steps before this one hold the event as it was there: they stay in
/// `data_dir`; the topic of dead letters gets them redacted.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name of its own for figures and dead letters.
    #[serde(default)]
    pub name: Option<String>,
    /// The event types that it is for; others pass.
    #[serde(default)]
    pub types: Types,
    /// JSON pointers (`/card/number`; `*` stands for every element or member: `/lines/*/iban`) and attributes (`subject`).
    #[schemars(length(min = 1))]
    pub fields: Vec<Field>,
    /// What is put in place of a value.
    #[serde(default)]
    pub with: With,
    /// Characters at the end that `with: mask` leaves readable, but never more than half of them.
    #[serde(default)]
    pub keep_last: usize,
    /// What `with: hash` is keyed with, at least 16 characters: without it, whoever tries all card numbers finds the one.
    #[serde(default)]
    #[schemars(with = "Option<Secret>")]
    pub key: Option<HashKey>,
    /// What becomes of an event that cannot be redacted, because its data is no JSON or names a member twice. It never goes on.
    #[serde(default)]
    pub on_error: OnFailure,
}

/// What is put in place of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// A string of as many `*` as the value has characters; `***` for an object or an array.
    #[default]
    Mask,
    /// Nothing: the member is taken away, with its name.
    Remove,
    /// `blake3:` and 32 hexadecimal digits of its hash under `key`: the same for the same value, so that events can still be
    /// joined by it.
    Hash,
}

/// What becomes of an event that cannot be redacted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It becomes a dead letter, with the error and the step's name.
    #[default]
    DeadLetter,
    /// It is dropped, counted.
    Drop,
}

/// A key of hashes, which is never printed.
#[derive(Debug, Clone, Deserialize)]
pub struct HashKey(Secret);

impl HashKey {
    /// The fewest characters that a key may have.
    pub const MIN_LENGTH: usize = 16;

    /// Whether it is too short to protect anything.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.expose().chars().count() < Self::MIN_LENGTH
    }

    /// The key of the hash function.
    pub(super) fn derive(&self) -> [u8; 32] {
        blake3::derive_key("headgate redact hash v1", self.0.expose().as_bytes())
    }
}

impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        self.derive() == other.derive()
    }
}

impl Config {
    /// What does not go together: the key where it shows, and what to do.
    #[must_use]
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        match (self.with, &self.key) {
            (With::Hash, None) => Some((
                "with",
                "a hash needs a `key`, since without one anybody can try all values until a hash fits; write `key: \"${NAME}\"`".to_owned(),
            )),
            (With::Hash, Some(key)) if key.is_short() => Some((
                "key",
                format!("the key has fewer than {} characters; `openssl rand -hex 32` makes a good one", HashKey::MIN_LENGTH),
            )),
            (With::Mask | With::Remove, Some(_)) => Some((
                "key",
                "only `with: hash` has a key; remove it, or write `with: hash`".to_owned(),
            )),
            (With::Hash | With::Remove, _) if self.keep_last > 0 => Some((
                "keep_last",
                "only `with: mask` leaves something readable; remove `keep_last`, or write `with: mask`".to_owned(),
            )),
            _ => None,
        }
    }
}
