//! JSON Web Tokens (RFC 7519) with a hash of the body, and the detached form that TrueLayer sends.
//!
//! The algorithm is never the token's choice: it must be one of the configured ones, and it decides which keys are tried:
//! secrets for HS…, public keys for the others. `none` has no name here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    BodyHash, Failure, HashPresence, Incoming, JwtAlgorithm, JwtRules, KeyLookup, KeyRequest,
    PublicKey, PublicKeys, Published, Reason, encoding, mac, mac::MacKey,
};

/// The longest name of a key that is looked for at its vendor.
const MAX_KEY_ID_BYTES: usize = 256;

/// The header of a JWS.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    pub(super) jku: Option<String>,
    pub(super) tl_version: Option<String>,
    pub(super) tl_headers: Option<String>,
    crit: Option<Value>,
}

/// A token, taken apart but not believed.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) header_text: &'a str,
    pub(super) payload_text: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Reason> {
        let malformed = |what: &str| Reason::Token(format!("it is no JWS: {what}"));
        let mut pieces = token.split('.');
        let (Some(header_text), Some(payload_text), Some(signature), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(malformed("it must have three parts"));
        };
        let header = URL_SAFE_NO_PAD
            .decode(header_text)
            .ok()
            .and_then(|json| serde_json::from_slice::<Header>(&json).ok())
            .ok_or_else(|| malformed("its header is not readable"))?;
        if header.crit.is_some() {
            return Err(malformed("it demands extensions that nobody here knows"));
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| malformed("its signature is not base64url"))?;
        Ok(Self {
            header,
            header_text,
            payload_text,
            signature,
        })
    }

    /// The algorithm, if it is one of `allowed`.
    pub(super) fn algorithm(&self, allowed: &[JwtAlgorithm]) -> Result<JwtAlgorithm, Reason> {
        allowed
            .iter()
            .copied()
            .find(|algorithm| format!("{algorithm:?}") == self.header.alg)
            .ok_or_else(|| {
                Reason::Token(format!(
                    "its algorithm `{}` is not one of {allowed:?}",
                    self.header.alg.chars().take(16).collect::<String>()
                ))
            })
    }
}

/// The keys that a token may be checked with.
pub(super) struct Keys<'k> {
    pub(super) secrets: &'k [Vec<u8>],
    pub(super) public: &'k [PublicKeys],
    /// Where they are published.
    pub(super) remote: Option<KeyRequest>,
    pub(super) lookup: &'k dyn KeyLookup,
}

impl Keys<'_> {
    /// Which key signed `message`; an index for secrets.
    pub(super) fn check(
        &self,
        algorithm: JwtAlgorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Option<usize>, Failure> {
        let mismatch = |keys: String| Reason::Mismatch {
            signatures: 1,
            keys,
        };
        let Some(asymmetric) = algorithm.asymmetric() else {
            if self.secrets.is_empty() {
                return Err(Reason::NoKey(
                    "no secret is configured, and the token is signed with one".into(),
                )
                .into());
            }
            let found = self.secrets.iter().position(|secret| {
                mac::equal(
                    &hmac_key(algorithm, secret).compute(&[message.into()]),
                    signature,
                )
            });
            return found
                .map(Some)
                .ok_or_else(|| mismatch(format!("{} secret(s)", self.secrets.len())).into());
        };
        let matches = |keys: &PublicKeys| {
            keys.named(kid)
                .into_iter()
                .any(|key: &PublicKey| asymmetric.verify(key, message, signature))
        };
        if let Some(remote) = self.remote.as_ref().filter(|_| self.public.is_empty()) {
            if kid.is_none() && remote.published == Published::KeyById {
                return Err(Reason::Token("it does not name its key".into()).into());
            }
            if kid.is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES) {
                return Err(Reason::Token("the name of its key is too long".into()).into());
            }
            let request = KeyRequest {
                kid: kid.map(str::to_owned),
                ..remote.clone()
            };
            let keys = self
                .lookup
                .lookup(&request)
                .ok_or(Failure::KeyNeeded(request))?;
            return match matches(&keys) {
                true => Ok(None),
                false => Err(mismatch("the vendor's published keys".into()).into()),
            };
        }
        if self.public.is_empty() {
            return Err(Reason::NoKey("no public key is configured".into()).into());
        }
        match self.public.iter().any(matches) {
            true => Ok(None),
            false => Err(mismatch(format!("{} public key(s)", self.public.len())).into()),
        }
    }
}

pub(super) fn hmac_key(algorithm: JwtAlgorithm, secret: &[u8]) -> MacKey {
    let algorithm = match algorithm {
        JwtAlgorithm::HS384 => super::Algorithm::HmacSha384,
        JwtAlgorithm::HS512 => super::Algorithm::HmacSha512,
        _ => super::Algorithm::HmacSha256,
    };
    MacKey::new(algorithm, secret).expect("every HMAC algorithm makes a key")
}

/// Verifies a token that carries claims. Returns the secret's index and the subject or issuer that it names.
pub(super) fn verify(
    rules: &JwtRules,
    token: &str,
    keys: &Keys<'_>,
    request: &Incoming<'_>,
    now: Timestamp,
) -> Result<(Option<usize>, Map<String, Value>), Failure> {
    let parts = Parts::split(token)?;
    let algorithm = parts.algorithm(&rules.algorithms)?;
    let signed = token.rfind('.').map_or(token, |at| &token[..at]);
    let index = keys.check(
        algorithm,
        parts.header.kid.as_deref(),
        signed.as_bytes(),
        &parts.signature,
    )?;
    let claims = URL_SAFE_NO_PAD
        .decode(parts.payload_text)
        .ok()
        .and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok())
        .ok_or_else(|| Reason::Token("its claims are not readable".into()))?;
    check_claims(rules, &claims, now)?;
    check_hash(rules.body_hash.as_ref(), &claims, request.body)?;
    if let Some(rule) = &rules.url_hash {
        let url = request.url.ok_or(Reason::UrlUnknown)?;
        check_hash(Some(rule), &claims, url.as_bytes())?;
    }
    Ok((index, claims))
}

fn check_claims(
    rules: &JwtRules,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Result<(), Reason> {
    for name in &rules.require {
        if !claims.contains_key(name) {
            return Err(Reason::Token(format!("the claim `{name}` is missing")));
        }
    }
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(Reason::Token(format!("its issuer is not `{issuer}`")));
    }
    if let Some(audience) = &rules.audience {
        let fits = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !fits {
            return Err(Reason::Token(format!("its audience is not `{audience}`")));
        }
    }
    let now = now.as_second();
    let leeway = i64::try_from(rules.leeway.get().as_secs()).unwrap_or(i64::MAX);
    let time = |name: &str| -> Result<Option<i64>, Reason> {
        match claims.get(name) {
            None => Ok(None),
            Some(value) => seconds(value)
                .map(Some)
                .ok_or_else(|| Reason::Token(format!("the claim `{name}` is no time"))),
        }
    };
    if let Some(expires) = time("exp")?
        && now >= expires.saturating_add(leeway)
    {
        return Err(Reason::Stale {
            age: now - expires,
            limit: 0,
        });
    }
    if let Some(starts) = time("nbf")?
        && now < starts.saturating_sub(leeway)
    {
        return Err(Reason::Future {
            ahead: starts - now,
            limit: leeway,
        });
    }
    if let Some(max_age) = rules.max_age {
        let issued =
            time("iat")?.ok_or_else(|| Reason::Token("the claim `iat` is missing".into()))?;
        let limit = i64::try_from(max_age.get().as_secs()).unwrap_or(i64::MAX);
        let age = now.saturating_sub(issued);
        if age > limit.saturating_add(leeway) {
            return Err(Reason::Stale { age, limit });
        }
        if age < -limit.saturating_add(leeway) {
            return Err(Reason::Future { ahead: -age, limit });
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a time with a fraction counts by its whole seconds"
)]
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|time| time.abs() < 1e15)
            .map(|time| time as i64)
    })
}

fn check_hash(
    rule: Option<&BodyHash>,
    claims: &Map<String, Value>,
    hashed: &[u8],
) -> Result<(), Reason> {
    let Some(rule) = rule else { return Ok(()) };
    let wrong = || Reason::HashMismatch(rule.claim.clone());
    let stated = claims.get(&rule.claim);
    if rule.presence == HashPresence::WithBody && hashed.is_empty() {
        return match stated {
            None => Ok(()),
            Some(_) => Err(wrong()),
        };
    }
    let stated = stated.and_then(Value::as_str).ok_or_else(wrong)?;
    let stated = encoding::decode(stated, rule.encoding).ok_or_else(wrong)?;
    match mac::equal(&stated, &mac::sha256(hashed)) {
        true => Ok(()),
        false => Err(wrong()),
    }
}
