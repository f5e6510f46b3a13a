//! Public and private keys, in every form in which vendors hand them out.

use std::sync::Arc;

use p521::pkcs8::PrivateKeyInfo;
use serde::Deserialize;
use x509_cert::{
    Certificate,
    der::{Decode, Encode, oid::ObjectIdentifier, pem},
    spki::SubjectPublicKeyInfoRef,
};

use super::encoding::any_base64;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What a public key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its name in a JWKS.
    pub kid: Option<String>,
    pub(super) family: Family,
    /// RSA: `RSAPublicKey` in DER; curves: the uncompressed point; Ed25519: 32 bytes.
    pub(super) bytes: Vec<u8>,
    /// Seconds since 1970 between which a certificate is valid.
    pub(super) validity: Option<(i64, i64)>,
}

/// One or several public keys, as configured or fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys(pub Vec<PublicKey>);

/// A key that a request refers to and that must be fetched from its vendor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRequest {
    /// Where it is, on one of the vendor's own hosts.
    pub url: String,
    /// Which, if the place holds several.
    pub kid: Option<String>,
    /// What is found there.
    pub published: Published,
}

/// How a vendor publishes its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Published {
    /// As a document: a JWKS, a key or a certificate. That it stands on the vendor's host is its proof.
    Document,
    /// As a certificate for a host of this domain, with a chain to a public authority.
    CertificateOf(&'static str),
    /// One key a time, for its id, to whoever shows `client_id` and `secret` (Plaid).
    KeyById,
}

/// Where fetched keys come from. Never does I/O: what is not there yet is `None`, and the caller fetches.
pub trait KeyLookup {
    /// The keys at that place.
    fn lookup(&self, request: &KeyRequest) -> Option<Arc<PublicKeys>>;
}

/// No fetched keys at all.
#[derive(Debug, Clone, Copy)]
pub struct NoLookup;

impl KeyLookup for NoLookup {
    fn lookup(&self, _: &KeyRequest) -> Option<Arc<PublicKeys>> {
        None
    }
}

impl PublicKeys {
    /// Reads PEM (public keys or certificates), a JWK or JWKS, and raw keys or DER in hexadecimal or base64, after `prefix`
    /// if it is there.
    ///
    /// # Errors
    /// A sentence that says what was found and what can be read.
    pub fn parse(text: &str, prefix: Option<&str>) -> Result<Self, String> {
        let text = text.trim();
        let text = prefix.and_then(|p| text.strip_prefix(p)).unwrap_or(text);
        if text.is_empty() {
            return Err("the public key is empty".into());
        }
        if text.contains("-----BEGIN") {
            return from_pem(text);
        }
        if text.starts_with('{') {
            return from_jwks(text);
        }
        let bytes = hex::decode(text)
            .ok()
            .or_else(|| any_base64(text))
            .ok_or("the public key is neither PEM, nor a JWKS, nor hexadecimal, nor base64")?;
        from_bytes(&bytes).map(|key| Self(vec![key]))
    }

    /// The key of one certificate.
    pub(crate) fn of_certificate(der: &[u8]) -> Result<Self, String> {
        from_certificate(der).map(|key| Self(vec![key]))
    }

    /// Whether all certificates among them are valid at `now`; bare keys always are.
    #[must_use]
    pub fn valid_at(&self, now: jiff::Timestamp) -> bool {
        let now = now.as_second();
        self.0
            .iter()
            .filter_map(|key| key.validity)
            .all(|(from, until)| (from..=until).contains(&now))
    }

    /// Whether a key of that name is among them, or one without a name.
    #[must_use]
    pub fn has(&self, kid: Option<&str>) -> bool {
        !self.named(kid).is_empty()
    }

    /// The keys to try for `kid`: the one of that name, else those without a name.
    pub(super) fn named<'k>(&'k self, kid: Option<&str>) -> Vec<&'k PublicKey> {
        let named: Vec<_> = self
            .0
            .iter()
            .filter(|key| kid.is_some() && key.kid.as_deref() == kid)
            .collect();
        if !named.is_empty() {
            return named;
        }
        self.0
            .iter()
            .filter(|key| kid.is_none() || key.kid.is_none())
            .collect()
    }
}

fn key(family: Family, bytes: &[u8]) -> PublicKey {
    PublicKey {
        kid: None,
        family,
        bytes: bytes.to_vec(),
        validity: None,
    }
}

fn from_bytes(bytes: &[u8]) -> Result<PublicKey, String> {
    match bytes.len() {
        32 => return Ok(key(Family::Ed25519, bytes)),
        65 if bytes[0] == 4 => return Ok(key(Family::P256, bytes)),
        97 if bytes[0] == 4 => return Ok(key(Family::P384, bytes)),
        133 if bytes[0] == 4 => return Ok(key(Family::P521, bytes)),
        _ => {}
    }
    from_spki(bytes)
        .or_else(|_| from_certificate(bytes))
        .map_err(|_| {
            format!(
                "the public key has {} bytes: neither a raw Ed25519 key (32), a curve point, nor a DER public key",
                bytes.len()
            )
        })
}

fn from_spki(der: &[u8]) -> Result<PublicKey, String> {
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|error| format!("the public key is not readable: {error}"))?;
    let bits = info
        .subject_public_key
        .as_bytes()
        .ok_or("the public key is not readable")?;
    let family = family(info.algorithm.oid, info.algorithm.parameters_oid().ok())?;
    Ok(key(family, bits))
}

fn family(oid: ObjectIdentifier, curve: Option<ObjectIdentifier>) -> Result<Family, String> {
    match (oid, curve) {
        (RSA, _) => Ok(Family::Rsa),
        (ED25519, _) => Ok(Family::Ed25519),
        (EC, Some(P256)) => Ok(Family::P256),
        (EC, Some(P384)) => Ok(Family::P384),
        (EC, Some(P521)) => Ok(Family::P521),
        (oid, _) => Err(format!(
            "keys of the kind {oid} are not supported: RSA, P-256, P-384, P-521 and Ed25519 are"
        )),
    }
}

fn from_certificate(der: &[u8]) -> Result<PublicKey, String> {
    let certificate = Certificate::from_der(der)
        .map_err(|error| format!("the certificate is not readable: {error}"))?;
    let body = &certificate.tbs_certificate;
    let spki = body
        .subject_public_key_info
        .to_der()
        .map_err(|error| format!("the certificate's key is not readable: {error}"))?;
    let seconds = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    Ok(PublicKey {
        validity: Some((
            seconds(body.validity.not_before),
            seconds(body.validity.not_after),
        )),
        ..from_spki(&spki)?
    })
}

fn from_pem(text: &str) -> Result<PublicKeys, String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN") {
        let block = &rest[start..];
        let end = block.find("-----END").ok_or("the PEM block does not end")?;
        let length = block[end + 8..]
            .find("-----")
            .map(|at| end + 8 + at + 5)
            .ok_or("the PEM block does not end")?;
        let (label, der) = pem::decode_vec(&block.as_bytes()[..length])
            .map_err(|error| format!("the PEM block is not readable: {error}"))?;
        keys.push(match label {
            "PUBLIC KEY" => from_spki(&der)?,
            "CERTIFICATE" => from_certificate(&der)?,
            "RSA PUBLIC KEY" => key(Family::Rsa, &der),
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {
                return Err("this is a private key: give the public one".into());
            }
            other => return Err(format!("a PEM block `{other}` is no public key")),
        });
        rest = &block[length..];
    }
    Ok(PublicKeys(keys))
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// RFC 7517. Members that are not needed are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

fn from_jwks(text: &str) -> Result<PublicKeys, String> {
    let unreadable = |error: serde_json::Error| format!("the JWKS is not readable: {error}");
    let document: serde_json::Value = serde_json::from_str(text).map_err(unreadable)?;
    let jwks = if document.get("keys").is_some() {
        serde_json::from_value::<Jwks>(document).map_err(unreadable)?
    } else {
        // A single key, or the `{"key": …}` that Plaid answers.
        let single = document.get("key").cloned().unwrap_or(document);
        Jwks {
            keys: vec![serde_json::from_value(single).map_err(unreadable)?],
        }
    };
    let keys: Vec<PublicKey> = jwks.keys.iter().filter_map(from_jwk).collect();
    match keys.is_empty() {
        true => Err(
            "the JWKS holds no key of a supported kind (RSA, P-256, P-384, P-521, Ed25519)".into(),
        ),
        false => Ok(PublicKeys(keys)),
    }
}

fn from_jwk(jwk: &Jwk) -> Option<PublicKey> {
    let field = |text: &Option<String>| text.as_deref().and_then(any_base64);
    let point = |length: usize| {
        let mut point = vec![4];
        for coordinate in [field(&jwk.x)?, field(&jwk.y)?] {
            point.resize(point.len() + length.checked_sub(coordinate.len())?, 0);
            point.extend(coordinate);
        }
        Some(point)
    };
    let (family, bytes) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (Family::Rsa, rsa_der(&field(&jwk.n)?, &field(&jwk.e)?)),
        ("EC", Some("P-256")) => (Family::P256, point(32)?),
        ("EC", Some("P-384")) => (Family::P384, point(48)?),
        ("EC", Some("P-521")) => (Family::P521, point(66)?),
        ("OKP", Some("Ed25519")) => (Family::Ed25519, field(&jwk.x)?),
        _ => return None,
    };
    Some(PublicKey {
        kid: jwk.kid.clone(),
        ..key(family, &bytes)
    })
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut out = vec![tag];
        match length {
            0..0x80 => out.push(u8::try_from(length).unwrap_or(0)),
            _ => {
                let bytes = length.to_be_bytes();
                let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
                out.push(0x80 | u8::try_from(used.len()).unwrap_or(0));
                out.extend(used);
            }
        }
        out.extend(content);
        out
    }
    fn integer(bytes: &[u8]) -> Vec<u8> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut content = bytes[zeros..].to_vec();
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            content.insert(0, 0);
        }
        tagged(2, &content)
    }
    tagged(0x30, &[integer(modulus), integer(exponent)].concat())
}

/// A private key, for signing.
pub struct PrivateKey {
    pub(super) family: Family,
    /// PKCS #8; for Ed25519 possibly the 32-byte seed; for RSA possibly PKCS #1.
    pub(super) bytes: Vec<u8>,
    pub(super) form: PrivateForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PrivateForm {
    Pkcs8,
    Pkcs1,
    Seed,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({:?}, [redacted])", self.family)
    }
}

impl PrivateKey {
    /// Reads PEM (PKCS #8, or PKCS #1 for RSA), or an Ed25519 seed in hexadecimal or base64, with or without `whsk_`.
    ///
    /// # Errors
    /// A sentence that says what can be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("-----BEGIN") {
            let (label, der) = pem::decode_vec(text.as_bytes())
                .map_err(|error| format!("the private key is not readable: {error}"))?;
            return match label {
                "PRIVATE KEY" => {
                    let info = PrivateKeyInfo::from_der(&der)
                        .map_err(|error| format!("the private key is not readable: {error}"))?;
                    let family = family(info.algorithm.oid, info.algorithm.parameters_oid().ok())?;
                    Ok(Self {
                        family,
                        bytes: der,
                        form: PrivateForm::Pkcs8,
                    })
                }
                "RSA PRIVATE KEY" => Ok(Self {
                    family: Family::Rsa,
                    bytes: der,
                    form: PrivateForm::Pkcs1,
                }),
                other => Err(format!(
                    "a PEM block `{other}` cannot be read: convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY`"
                )),
            };
        }
        let text = text.strip_prefix("whsk_").unwrap_or(text);
        let bytes = hex::decode(text)
            .ok()
            .or_else(|| any_base64(text))
            .ok_or("the private key is neither PEM nor an Ed25519 seed in hexadecimal or base64")?;
        match bytes.len() {
            32 | 64 => Ok(Self {
                family: Family::Ed25519,
                bytes: bytes[..32].to_vec(),
                form: PrivateForm::Seed,
            }),
            other => Err(format!("an Ed25519 seed has 32 bytes, this has {other}")),
        }
    }
}
