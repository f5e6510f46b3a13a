//! The declarative model, as it is written under `verify:` and in the presets.

use std::collections::BTreeMap;

use headgate_sdk::config::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Template};

/// How a sender proves who it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// The algorithm.
    pub alg: Algorithm,
    /// How the configured secret or public key is written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_encoding: KeyEncoding,
    /// Dropped from the front of the key before it is decoded, if it is there (`whsec_`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Where the signature (or the token) stands. Left out, `Authorization` is read (`basic`, `jwt`, `token`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureRule>,
    /// Where the time of sending stands and how far it may be off. Left out, time is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampRule>,
    /// What is signed: literals and `{body}`, `{ts}`, `{h:NAME}`, `{method}`, `{url}`, `{url_noquery}`, `{path}`, `{secret}`,
    /// `{json:/pointer}`, `{crc32}`, `{param:NAME}`, `{sha256:body}` (the digest's bytes), `{sha256hex:body}`, `{sha256base64:body}`,
    /// `{form:sorted}`, `{query:sorted}`, `{value:PLACE}`. Default `{body}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Template>,
    /// Where the vendor's delivery id stands: deliveries with the same id are one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Place>,
    /// Headers that must have exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, String>,
    /// Whether a request without a body is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_body: bool,
    /// What a JSON Web Token must say, for `alg: jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtRules>,
    /// A vendor's peculiarity that the model cannot say; used by presets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special: Option<Special>,
}

impl Scheme {
    /// Whether the public URL is part of what is signed.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        matches!(
            self.special,
            Some(Special::TwilioForm | Special::TwilioJson)
        ) || self.message.as_ref().is_some_and(Template::needs_url)
            || self
                .jwt
                .as_ref()
                .is_some_and(|rules| rules.url_hash.is_some())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What proves the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with MD5: only for old accounts of vendors that offer nothing else.
    #[serde(rename = "hmac-md5")]
    HmacMd5,
    /// HMAC with SHA-1.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// HMAC with SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    /// A plain SHA-256 digest of a message that contains the secret.
    #[serde(rename = "sha256")]
    Sha256,
    /// A plain SHA-512 digest of a message that contains the secret.
    #[serde(rename = "sha512")]
    Sha512,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-256 with SHA-256, the signature in ASN.1 DER.
    #[serde(rename = "ecdsa-p256-sha256-der", alias = "ecdsa-p256")]
    EcdsaP256Der,
    /// ECDSA on P-256 with SHA-256, the signature as 64 raw bytes.
    #[serde(rename = "ecdsa-p256-sha256-raw")]
    EcdsaP256Raw,
    /// ECDSA on P-384 with SHA-384, the signature in ASN.1 DER.
    #[serde(rename = "ecdsa-p384-sha384-der")]
    EcdsaP384Der,
    /// ECDSA on P-521 with SHA-512, the signature as 132 raw bytes.
    #[serde(rename = "ecdsa-p521-sha512-raw")]
    EcdsaP521Raw,
    /// RSA PKCS #1 v1.5 with SHA-1: verified for vendors that still send it, never signed.
    #[serde(rename = "rsa-pkcs1-sha1")]
    RsaSha1,
    /// RSA PKCS #1 v1.5 with SHA-256.
    #[serde(rename = "rsa-pkcs1-sha256", alias = "rsa")]
    RsaSha256,
    /// RSA PKCS #1 v1.5 with SHA-512.
    #[serde(rename = "rsa-pkcs1-sha512")]
    RsaSha512,
    /// RSA-PSS with SHA-256.
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
    /// A static token: the secret itself is sent (`header:X-Gitlab-Token`, `query:key`). Covers nothing of the request.
    #[serde(rename = "token", alias = "api-key")]
    Token,
    /// HTTP Basic; each secret is `user:password`. Covers nothing of the request.
    #[serde(rename = "basic")]
    Basic,
    /// A JSON Web Token, signed with a secret (HS…) or a private key.
    #[serde(rename = "jwt")]
    Jwt,
}

/// How a key is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEncoding {
    /// Its bytes are the key.
    #[default]
    Utf8,
    /// Its bytes in Unicode normalisation form KD are the key.
    Utf8Nfkd,
    /// Base64, padded or not.
    Base64,
    /// Hexadecimal.
    Hex,
}

/// Where the signature stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// `header:NAME`, `query:NAME`, `form:NAME` or `json:/pointer`. Of alternatives (` | `) all are read: one that fits is enough.
    pub from: Place,
    /// Splits the value into items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// What an item must start with to be a signature; other items are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_prefix: Option<String>,
    /// How a signature is written.
    #[serde(default)]
    pub encoding: SignatureEncoding,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureEncoding {
    /// Hexadecimal, either case.
    #[default]
    Hex,
    /// Base64 with the standard alphabet, padded or not.
    Base64,
    /// Base64 with the URL-safe alphabet, padded or not.
    Base64url,
}

/// Where the time of sending stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimestampRule {
    /// `header:NAME`, `query:NAME`, `form:NAME` or `json:/pointer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Place>,
    /// Instead of `from`: the prefix of an item beside the signature (`t=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How it is written.
    #[serde(default)]
    pub unit: TimeUnit,
    /// How old it may be.
    #[serde(default = "five_minutes")]
    pub past: HumanDuration,
    /// How far it may lie ahead of this machine's clock.
    #[serde(default = "five_minutes")]
    pub future: HumanDuration,
    /// Whether a request without it passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

fn five_minutes() -> HumanDuration {
    HumanDuration::from_secs(300)
}

/// How a time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Seconds since 1970.
    #[default]
    S,
    /// Milliseconds since 1970.
    Ms,
    /// RFC 3339.
    Rfc3339,
    /// The HTTP `Date` header, or Scalr's `Sat 13 Jun 2026 10:00:00 UTC`.
    ScalrDate,
}

/// What a JSON Web Token must say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtRules {
    /// Accepted algorithms. `none` does not exist here. HS… need secrets, the others public keys.
    pub algorithms: Vec<JwtAlgorithm>,
    /// What `iss` must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must be or contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Claims that must be there; `exp`, `nbf` and `iat` are checked whenever they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    /// How old `iat` may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<HumanDuration>,
    /// How far clocks may differ.
    #[serde(default = "no_time")]
    pub leeway: HumanDuration,
    /// Where the signing keys are published (JWKS), for algorithms other than HS…, unless `public_keys` are configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_url: Option<String>,
    /// The claim that holds the body's SHA-256; without one the body is not covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<BodyHash>,
    /// The claim that holds the SHA-256 of the public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_hash: Option<BodyHash>,
}

fn no_time() -> HumanDuration {
    HumanDuration::from_secs(0)
}

/// A claim that holds a SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyHash {
    /// Its name.
    pub claim: String,
    /// How it is written.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// When it must be there.
    #[serde(default)]
    pub presence: HashPresence,
}

/// When a hash must be in the token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashPresence {
    /// Always.
    #[default]
    Always,
    /// Exactly when there is a body: a hash without a body, or a body without its hash, is refused.
    WithBody,
}

/// A JSON Web Token's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are those of RFC 7518")]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS512,
    PS256,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

/// A vendor's peculiarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Special {
    /// Twilio signs a URL with or without its port, and an apostrophe in it encoded or not.
    TwilioForm,
    /// The same, and the query's `bodySHA256` must be the body's.
    TwilioJson,
    /// The names of signed headers stand inside the signature header.
    Hook0,
    /// Sorted query parameters, digested as the account's `hash` parameter says.
    VonageSms,
    /// A detached JWS over method, path, listed headers and body.
    Truelayer,
    /// A canonical list of the message's own fields; the key is a certificate.
    AwsSns,
    /// The certificate is named by a header.
    Paypal,
    /// A canonical request with the headers that `x-contentful-signed-headers` names.
    Contentful,
    /// One key is handed out for its id, by the host of the environment that `params` names.
    Plaid,
    /// Some escapes of the URL may have been undone before it was signed.
    HubspotV3,
    /// Every item of a batch carries a signature of its own.
    AdyenNotification,
    /// The sender may have signed the body with non-ASCII characters escaped.
    Box,
}
