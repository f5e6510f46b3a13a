//! Decides whether a webhook comes from whom it says.
//!
//! One declarative model ([`Scheme`]) describes nearly every vendor: where the signature stands, how it is encoded, what it
//! covers, and how old it may be. *Split by the separator, keep the items with the prefix, ignore the rest* replaces every
//! header parser. What does not fit is a [`Special`], in code.
//!
//! Invariants: the bytes as they came are what is verified; signatures and tokens are compared in constant time; an empty
//! secret never builds a [`Verifier`]; the time window is checked at both ends; no weaker version is tried when the scheme's
//! own is present; malformed siblings of a good signature are ignored; work per request is bounded by
//! [`MAX_SIGNATURES`] times the number of configured keys.
//!
//! This module does no I/O and knows nothing of the gateway: keys that a vendor publishes come through [`KeyLookup`].

mod asymmetric;
mod diagnose;
mod encoding;
mod form;
mod json;
mod jws;
mod jwt;
mod key;
mod mac;
mod message;
mod place;
mod reason;
mod request;
mod requirements;
mod scheme;
mod sign;
mod signature;
mod sns;
mod special;
mod token;
mod verifier;
mod window;

#[cfg(test)]
mod tests;

pub(crate) use form::fields as form_pairs;
pub(crate) use mac::{equal, sha256};
pub(crate) use sns::amazon_path;

pub use diagnose::{Explanation, explain};
pub use json::pointer as json_pointer;
pub use key::{KeyLookup, KeyRequest, NoLookup, PrivateKey, PublicKey, PublicKeys, Published};
pub use message::Template;
pub use place::Place;
pub use reason::{Failure, Reason};
pub use request::Incoming;
pub use scheme::{
    Algorithm, BodyHash, HashPresence, JwtAlgorithm, JwtRules, KeyEncoding, Scheme,
    SignatureEncoding, SignatureRule, Special, TimeUnit, TimestampRule,
};
pub use sign::{Draft, SignError, Signer};
pub use verifier::{BuildProblem, Keys, MAX_SIGNATURES, Verified, Verifier};
