//! Public-key signatures.

use p521::ecdsa::signature::{Signer as _, Verifier as _};
use ring::{
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair, VerificationAlgorithm,
    },
};

use super::{
    Algorithm, JwtAlgorithm, PrivateKey, PublicKey,
    key::{Family, PrivateForm},
};

/// A public-key algorithm, whether a scheme or a token names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asymmetric {
    Ed25519,
    P256Der,
    P256Raw,
    P384Der,
    P384Raw,
    P521Raw,
    RsaSha1,
    RsaSha256,
    RsaSha512,
    RsaPssSha256,
}

impl Algorithm {
    pub(super) fn asymmetric(self) -> Option<Asymmetric> {
        Some(match self {
            Self::Ed25519 => Asymmetric::Ed25519,
            Self::EcdsaP256Der => Asymmetric::P256Der,
            Self::EcdsaP256Raw => Asymmetric::P256Raw,
            Self::EcdsaP384Der => Asymmetric::P384Der,
            Self::EcdsaP521Raw => Asymmetric::P521Raw,
            Self::RsaSha1 => Asymmetric::RsaSha1,
            Self::RsaSha256 => Asymmetric::RsaSha256,
            Self::RsaSha512 => Asymmetric::RsaSha512,
            Self::RsaPssSha256 => Asymmetric::RsaPssSha256,
            _ => return None,
        })
    }
}

impl JwtAlgorithm {
    pub(super) fn asymmetric(self) -> Option<Asymmetric> {
        Some(match self {
            Self::HS256 | Self::HS384 | Self::HS512 => return None,
            Self::RS256 => Asymmetric::RsaSha256,
            Self::RS512 => Asymmetric::RsaSha512,
            Self::PS256 => Asymmetric::RsaPssSha256,
            Self::ES256 => Asymmetric::P256Raw,
            Self::ES384 => Asymmetric::P384Raw,
            Self::ES512 => Asymmetric::P521Raw,
            Self::EdDSA => Asymmetric::Ed25519,
        })
    }
}

impl Asymmetric {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Ed25519 => Family::Ed25519,
            Self::P256Der | Self::P256Raw => Family::P256,
            Self::P384Der | Self::P384Raw => Family::P384,
            Self::P521Raw => Family::P521,
            Self::RsaSha1 | Self::RsaSha256 | Self::RsaSha512 | Self::RsaPssSha256 => Family::Rsa,
        }
    }

    /// Whether `signature` is one of `message` under `key`. A key of another family never fits.
    pub(super) fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        if key.family != self.family() {
            return false;
        }
        let algorithm: &dyn VerificationAlgorithm = match self {
            Self::Ed25519 => &signature::ED25519,
            Self::P256Der => &signature::ECDSA_P256_SHA256_ASN1,
            Self::P256Raw => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384Der => &signature::ECDSA_P384_SHA384_ASN1,
            Self::P384Raw => &signature::ECDSA_P384_SHA384_FIXED,
            Self::RsaSha1 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::P521Raw => return verify_p521(&key.bytes, message, signature),
        };
        signature::UnparsedPublicKey::new(algorithm, &key.bytes)
            .verify(message, signature)
            .is_ok()
    }

    /// Signs.
    pub(super) fn sign(self, key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, String> {
        if key.family != self.family() {
            return Err(format!(
                "the private key is for {:?}, the scheme needs {:?}",
                key.family,
                self.family()
            ));
        }
        let unusable =
            |error: ring::error::KeyRejected| format!("the private key is not usable: {error}");
        let random = SystemRandom::new();
        match self {
            Self::Ed25519 => {
                let pair = match key.form {
                    PrivateForm::Seed => Ed25519KeyPair::from_seed_unchecked(&key.bytes),
                    _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.bytes),
                };
                Ok(pair.map_err(unusable)?.sign(message).as_ref().to_vec())
            }
            Self::P256Der => sign_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, key, message, &random),
            Self::P256Raw => sign_ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, key, message, &random),
            Self::P384Der => sign_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, key, message, &random),
            Self::P384Raw => sign_ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, key, message, &random),
            Self::P521Raw => sign_p521(&key.bytes, message),
            Self::RsaSha256 => sign_rsa(&signature::RSA_PKCS1_SHA256, key, message, &random),
            Self::RsaSha512 => sign_rsa(&signature::RSA_PKCS1_SHA512, key, message, &random),
            Self::RsaPssSha256 => sign_rsa(&signature::RSA_PSS_SHA256, key, message, &random),
            Self::RsaSha1 => {
                Err("RSA with SHA-1 is verified for old senders, but not signed any more".into())
            }
        }
    }
}

fn sign_ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    key: &PrivateKey,
    message: &[u8],
    random: &SystemRandom,
) -> Result<Vec<u8>, String> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &key.bytes, random)
        .map_err(|error| format!("the private key is not usable: {error}"))?;
    pair.sign(random, message)
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| "signing failed".into())
}

fn sign_rsa(
    encoding: &'static dyn RsaEncoding,
    key: &PrivateKey,
    message: &[u8],
    random: &SystemRandom,
) -> Result<Vec<u8>, String> {
    let pair = match key.form {
        PrivateForm::Pkcs1 => RsaKeyPair::from_der(&key.bytes),
        _ => RsaKeyPair::from_pkcs8(&key.bytes),
    }
    .map_err(|error| format!("the private key is not usable: {error}"))?;
    let mut out = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, random, message, &mut out)
        .map_err(|_| "signing failed".to_owned())?;
    Ok(out)
}

fn verify_p521(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p521::ecdsa::Signature::from_slice(signature);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verify(message, &signature).is_ok(),
        _ => false,
    }
}

fn sign_p521(pkcs8: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
    use p521::pkcs8::DecodePrivateKey;
    let secret = p521::SecretKey::from_pkcs8_der(pkcs8)
        .map_err(|error| format!("the private key is not usable: {error}"))?;
    let key = p521::ecdsa::SigningKey::from_bytes(&secret.to_bytes())
        .map_err(|error| format!("the private key is not usable: {error}"))?;
    let signature: p521::ecdsa::Signature = key.sign(message);
    Ok(signature.to_bytes().to_vec())
}
