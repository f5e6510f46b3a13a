//! A scheme with its keys, ready to decide.

use std::{collections::BTreeMap, fmt};

use headgate_sdk::config::Secret;
use http::HeaderName;
use jiff::Timestamp;

use super::{
    Algorithm, Failure, Incoming, KeyLookup, PublicKeys, Reason, Scheme, Special, encoding,
    mac::MacKey,
    requirements::{check_keys, check_shape},
    special, token,
};

/// How many signatures of one request are tried at most.
pub const MAX_SIGNATURES: usize = 32;

/// What a scheme is keyed with.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Shared secrets; all are tried, so that one can be rotated.
    pub secrets: Vec<Secret>,
    /// Public keys, certificates or JWKS.
    pub public_keys: Vec<String>,
    /// What else the scheme needs (`webhook_id` for PayPal).
    pub params: BTreeMap<String, String>,
}

/// Why a scheme cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildProblem {
    /// The key in the source's table, as a JSON pointer (`/secrets/0`).
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A request that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Which secret fitted.
    pub secret_index: Option<usize>,
    /// When the sender says that it was sent.
    pub sent_at: Option<Timestamp>,
    /// Who a token says that its sender is.
    pub subject: Option<String>,
}

/// A scheme with its keys. Building it refuses whatever can be wrong without a request.
#[derive(Clone)]
pub struct Verifier {
    pub(super) scheme: Scheme,
    pub(super) params: BTreeMap<String, String>,
    pub(super) macs: Vec<MacKey>,
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) public: Vec<PublicKeys>,
    required: Vec<(HeaderName, String)>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Prepares keys and checks that they fit the scheme.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(scheme: Scheme, keys: &Keys) -> Result<Self, Vec<BuildProblem>> {
        let mut problems = Vec::new();
        let mut problem =
            |pointer: String, message: String| problems.push(BuildProblem { pointer, message });
        check_shape(&scheme, &mut problem);
        let mut secrets = Vec::new();
        let mut macs = Vec::new();
        for (index, secret) in keys.secrets.iter().enumerate() {
            let pointer = format!("/secrets/{index}");
            let name = format!("secret {}", index + 1);
            let decoded = encoding::decode_key(
                secret.expose(),
                scheme.key_prefix.as_deref(),
                scheme.key_encoding,
            );
            let key = match decoded {
                Ok(key) => key,
                Err(wrong) => {
                    problem(pointer, format!("{name} {wrong}"));
                    continue;
                }
            };
            if scheme.alg == Algorithm::Basic && !key.contains(&b':') {
                problem(pointer, format!("{name} must be written `user:password`"));
                continue;
            }
            let mac = match scheme.special {
                Some(Special::VonageSms) => special::vonage_key(&keys.params, &key).map(Some),
                _ => Ok(MacKey::new(scheme.alg, &key)),
            };
            match mac {
                Ok(mac) => macs.extend(mac),
                Err(message) => problem("/params/hash".into(), message),
            }
            secrets.push(key);
        }
        let mut public = Vec::new();
        for (index, text) in keys.public_keys.iter().enumerate() {
            match PublicKeys::parse(text, scheme.key_prefix.as_deref()) {
                Ok(keys) => public.push(keys),
                Err(message) => problem(format!("/public_keys/{index}"), message),
            }
        }
        check_keys(&scheme, keys, &mut problem);
        let required = scheme
            .require
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.clone())))
            .collect();
        match problems.is_empty() {
            true => Ok(Self {
                params: keys.params.clone(),
                scheme,
                macs,
                secrets,
                public,
                required,
            }),
            false => Err(problems),
        }
    }

    /// The scheme it was built from.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The HMAC of `message` under the first secret, which some handshakes ask for.
    pub(crate) fn first_mac(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.macs.first()?.compute(&[message.into()]))
    }

    /// Decides.
    ///
    /// # Errors
    /// [`Failure::Refused`] if it was decided, [`Failure::KeyNeeded`] if a vendor's key must be fetched first; ask again
    /// when `lookup` has it.
    pub fn verify(
        &self,
        request: &Incoming<'_>,
        now: Timestamp,
        lookup: &dyn KeyLookup,
    ) -> Result<Verified, Failure> {
        self.preconditions(request)?;
        match self.scheme.alg {
            Algorithm::Token | Algorithm::Basic => {
                let index = token::verify(&self.scheme, &self.secrets, request)?;
                let subject = (self.scheme.alg == Algorithm::Basic).then(|| {
                    let pair = String::from_utf8_lossy(&self.secrets[index]);
                    pair.split(':').next().unwrap_or_default().to_owned()
                });
                Ok(Verified {
                    secret_index: Some(index),
                    subject,
                    ..Verified::default()
                })
            }
            Algorithm::Jwt => self.verify_jwt(request, now, lookup),
            _ if self.scheme.special == Some(Special::Truelayer) => {
                self.verify_truelayer(request, lookup)
            }
            _ if self.scheme.special == Some(Special::AdyenNotification) => {
                let mut verified = Verified::default();
                for item in special::adyen_items(request.body)? {
                    verified = self.verify_signature(
                        &Incoming {
                            body: item,
                            ..*request
                        },
                        now,
                        lookup,
                    )?;
                }
                Ok(verified)
            }
            _ => self.verify_signature(request, now, lookup),
        }
    }

    fn preconditions(&self, request: &Incoming<'_>) -> Result<(), Reason> {
        if self.scheme.require_body && request.body.is_empty() {
            return Err(Reason::EmptyBody);
        }
        for (name, wanted) in &self.required {
            let mut values = request.headers.get_all(name).iter().peekable();
            let fits = values.peek().is_some()
                && values.all(|value| value.as_bytes().trim_ascii() == wanted.as_bytes());
            if !fits {
                return Err(Reason::Required {
                    name: name.to_string(),
                    wanted: wanted.clone(),
                });
            }
        }
        Ok(())
    }
}
