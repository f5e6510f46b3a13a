//! Shared secrets: HMAC and plain digests.

use hmac::{Hmac, Mac, digest::Digest};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::{Algorithm, message::Part};

/// A secret, ready to use: its HMAC state is computed once.
#[derive(Clone)]
pub(super) enum MacKey {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    PlainMd5(Vec<u8>),
    PlainSha256(Vec<u8>),
    PlainSha512(Vec<u8>),
}

impl MacKey {
    /// `None` if `alg` has no shared secret.
    pub(super) fn new(alg: Algorithm, key: &[u8]) -> Option<Self> {
        fn hmac<M: hmac::digest::KeyInit>(key: &[u8]) -> M {
            <M as hmac::digest::KeyInit>::new_from_slice(key)
                .expect("HMAC takes keys of any length")
        }
        Some(match alg {
            Algorithm::HmacMd5 => Self::Md5(hmac(key)),
            Algorithm::HmacSha1 => Self::Sha1(hmac(key)),
            Algorithm::HmacSha256 => Self::Sha256(hmac(key)),
            Algorithm::HmacSha384 => Self::Sha384(hmac(key)),
            Algorithm::HmacSha512 => Self::Sha512(hmac(key)),
            Algorithm::Sha256 => Self::PlainSha256(key.to_vec()),
            Algorithm::Sha512 => Self::PlainSha512(key.to_vec()),
            _ => return None,
        })
    }

    /// What the signature of `message` must be.
    pub(super) fn compute(&self, message: &[Part<'_>]) -> Vec<u8> {
        fn mac<M: Mac + Clone>(state: &M, message: &[Part<'_>]) -> Vec<u8> {
            let mut state = state.clone();
            for part in message {
                state.update(part.bytes(&[]));
            }
            state.finalize().into_bytes().to_vec()
        }
        fn digest<D: Digest>(secret: &[u8], message: &[Part<'_>]) -> Vec<u8> {
            let mut state = D::new();
            for part in message {
                state.update(part.bytes(secret));
            }
            state.finalize().to_vec()
        }
        match self {
            Self::Md5(state) => mac(state, message),
            Self::Sha1(state) => mac(state, message),
            Self::Sha256(state) => mac(state, message),
            Self::Sha384(state) => mac(state, message),
            Self::Sha512(state) => mac(state, message),
            Self::PlainMd5(secret) => digest::<Md5>(secret, message),
            Self::PlainSha256(secret) => digest::<Sha256>(secret, message),
            Self::PlainSha512(secret) => digest::<Sha512>(secret, message),
        }
    }
}

/// Compares in constant time for equal lengths.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(one, other).into()
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
