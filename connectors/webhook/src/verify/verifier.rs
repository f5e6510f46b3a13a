//! A scheme with its keys, ready to decide.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use headgate_sdk::config::Secret;
use http::HeaderName;
use jiff::Timestamp;

use super::{
    Algorithm, Failure, Incoming, KeyLookup, KeyRequest, PublicKeys, Reason, Scheme, SignatureRule,
    Special,
    asymmetric::Asymmetric,
    encoding, jwt, mac,
    mac::MacKey,
    message::{Part, concatenate},
    sns, special, token, window,
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

    /// Whether the public URL is part of what is signed.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        needs_url(&self.scheme)
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

    fn verify_signature(
        &self,
        request: &Incoming<'_>,
        now: Timestamp,
        lookup: &dyn KeyLookup,
    ) -> Result<Verified, Failure> {
        let rule = self.signature_rule()?;
        if rule.from.read(request).is_none() {
            return Err(Reason::MissingSignature(rule.from.to_string()).into());
        }
        let stamp = match &self.scheme.timestamp {
            Some(timestamp) => timestamp.read(request, Some(rule))?,
            None => None,
        };
        let text = stamp.as_ref().map(|stamp| stamp.text.as_ref());
        let (messages, prefix) = self.messages(request, text)?;
        let signatures = special::signatures(rule, prefix, request)?;
        let secret_index = self.check(request, &messages, &signatures, lookup)?;
        if let (Some(rule), Some(stamp)) = (&self.scheme.timestamp, &stamp) {
            rule.check(stamp, now)?;
        }
        Ok(Verified {
            secret_index,
            sent_at: stamp.map(|stamp| stamp.instant),
            subject: None,
        })
    }

    pub(super) fn signature_rule(&self) -> Result<&SignatureRule, Reason> {
        self.scheme.signature.as_ref().ok_or_else(|| {
            Reason::Malformed("the scheme says nowhere where the signature stands".into())
        })
    }

    /// What may have been signed, the likeliest first, and the prefix of its signatures.
    pub(super) fn messages<'a>(
        &'a self,
        request: &Incoming<'a>,
        stamp: Option<&'a str>,
    ) -> Result<(Vec<Vec<Part<'a>>>, Option<&'a str>), Reason> {
        let rule = self.signature_rule()?;
        let prefix = rule.item_prefix.as_deref();
        let template = self
            .scheme
            .message
            .as_ref()
            .unwrap_or(special::body_template());
        if template.covers_timestamp() && stamp.is_none() {
            let place = self
                .scheme
                .timestamp
                .as_ref()
                .map(|stamp| stamp.place(Some(rule)));
            return Err(Reason::MissingTimestamp(
                place.unwrap_or_else(|| "{ts}".into()),
            ));
        }
        let render = |request: &Incoming<'a>, url: Option<Cow<'a, str>>| {
            template.render(request, url, stamp, &self.params)
        };
        let plain_url = request.url.map(Cow::Borrowed);
        let messages = match self.scheme.special {
            Some(Special::TwilioForm | Special::TwilioJson) => {
                if self.scheme.special == Some(Special::TwilioJson) {
                    special::twilio_body_hash(request)?;
                }
                let url = request.url.ok_or(Reason::UrlUnknown)?;
                special::twilio_urls(url)
                    .into_iter()
                    .map(|url| render(request, Some(url)))
                    .collect::<Result<_, _>>()?
            }
            Some(Special::Hook0) => {
                let (message, prefix) = special::hook0(rule, request, stamp.unwrap_or_default())?;
                return Ok((vec![message], Some(prefix)));
            }
            Some(Special::VonageSms) => vec![special::vonage_sms(request)],
            Some(Special::Contentful) => special::contentful(request)?,
            Some(Special::AwsSns) => vec![sns::message(request)?],
            Some(Special::Box) => special::box_bodies(request.body)
                .into_iter()
                .map(|body| {
                    let tail = Part::from(stamp.unwrap_or_default());
                    vec![Part::Bytes(body), tail]
                })
                .collect(),
            _ => vec![render(request, plain_url)?],
        };
        Ok((messages, prefix))
    }

    /// Which key one of the signatures fits; the index for secrets.
    pub(super) fn check(
        &self,
        request: &Incoming<'_>,
        messages: &[Vec<Part<'_>>],
        signatures: &[Vec<u8>],
        lookup: &dyn KeyLookup,
    ) -> Result<Option<usize>, Failure> {
        let mismatch = |keys: String| Reason::Mismatch {
            signatures: signatures.len(),
            keys,
        };
        let Some(asymmetric) = self.scheme.alg.asymmetric() else {
            let found = messages.iter().find_map(|message| {
                self.macs.iter().position(|key| {
                    let expected = key.compute(message);
                    signatures
                        .iter()
                        .any(|offered| mac::equal(offered, &expected))
                })
            });
            return found
                .map(Some)
                .ok_or_else(|| mismatch(format!("{} secret(s)", self.macs.len())).into());
        };
        let (asymmetric, remote) = self.public_rule(asymmetric, request)?;
        let fits = |keys: &PublicKeys| {
            messages
                .iter()
                .map(|message| concatenate(message))
                .any(|message| {
                    keys.0.iter().any(|key| {
                        signatures
                            .iter()
                            .any(|offered| asymmetric.verify(key, &message, offered))
                    })
                })
        };
        if let Some(request) = remote {
            let keys = lookup.lookup(&request).ok_or(Failure::KeyNeeded(request))?;
            return match fits(&keys) {
                true => Ok(None),
                false => Err(mismatch("the vendor's published certificate".into()).into()),
            };
        }
        match self.public.iter().any(fits) {
            true => Ok(None),
            false => Err(mismatch(format!("{} public key(s)", self.public.len())).into()),
        }
    }

    /// The algorithm and, unless a key is configured, where its key is published.
    fn public_rule(
        &self,
        configured: Asymmetric,
        request: &Incoming<'_>,
    ) -> Result<(Asymmetric, Option<KeyRequest>), Reason> {
        match self.scheme.special {
            Some(Special::AwsSns) => {
                let certificate = sns::certificate(request)?;
                Ok((
                    sns::algorithm(request)?,
                    self.public.is_empty().then_some(certificate),
                ))
            }
            Some(Special::Paypal) if self.public.is_empty() => {
                Ok((configured, Some(special::paypal_certificate(request)?)))
            }
            _ => Ok((configured, None)),
        }
    }

    fn verify_jwt(
        &self,
        request: &Incoming<'_>,
        now: Timestamp,
        lookup: &dyn KeyLookup,
    ) -> Result<Verified, Failure> {
        let rules = self
            .scheme
            .jwt
            .as_ref()
            .ok_or_else(|| Reason::Malformed("the scheme has no rules for its token".into()))?;
        let keys = jwt::Keys {
            secrets: &self.secrets,
            public: &self.public,
            remote: rules.keys_url.as_deref(),
            lookup,
        };
        let mut outcome: Result<Verified, Failure> =
            Err(Reason::MissingSignature(self.token_place()).into());
        for token in self.tokens(request) {
            outcome =
                jwt::verify(rules, &token, &keys, request, now).map(|(secret_index, claims)| {
                    Verified {
                        secret_index,
                        sent_at: None,
                        subject: ["sub", "iss"]
                            .iter()
                            .find_map(|name| claims.get(*name)?.as_str())
                            .filter(|name| !name.is_empty())
                            .map(str::to_owned),
                    }
                });
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    pub(super) fn token_place(&self) -> String {
        self.scheme.signature.as_ref().map_or_else(
            || "header:Authorization".into(),
            |rule| rule.from.to_string(),
        )
    }

    fn tokens<'a>(&self, request: &Incoming<'a>) -> Vec<Cow<'a, str>> {
        let values = match &self.scheme.signature {
            Some(rule) => {
                let prefix = rule.item_prefix.as_deref().unwrap_or_default();
                rule.items(request)
                    .into_iter()
                    .filter_map(|item| window::strip(item, prefix))
                    .collect()
            }
            None => request
                .headers
                .get_all(http::header::AUTHORIZATION)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(Cow::Borrowed)
                .collect::<Vec<_>>(),
        };
        values
            .into_iter()
            .take(4)
            .map(|value| match token::after_word(&value, "bearer") {
                Some(rest) => Cow::Owned(rest.to_owned()),
                None => value,
            })
            .collect()
    }

    fn verify_truelayer(
        &self,
        request: &Incoming<'_>,
        lookup: &dyn KeyLookup,
    ) -> Result<Verified, Failure> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let rule = self.signature_rule()?;
        let token = rule
            .from
            .read(request)
            .ok_or_else(|| Reason::MissingSignature(rule.from.to_string()))?;
        let parts = jwt::Parts::split(&token)?;
        let algorithm = parts.algorithm(&[super::JwtAlgorithm::ES512])?;
        if !parts.payload_text.is_empty() {
            return Err(Reason::Token("its payload is not detached".into()).into());
        }
        if parts.header.tl_version.as_deref() != Some("2") {
            return Err(Reason::Token("`tl_version` is not 2".into()).into());
        }
        let key = match self.public.is_empty() {
            true => Some(special::truelayer_keys(
                parts.header.jku.as_deref(),
                parts.header.kid.as_deref(),
            )?),
            false => None,
        };
        let keys = jwt::Keys {
            secrets: &[],
            public: &self.public,
            remote: key.as_ref().map(|key| key.url.as_str()),
            lookup,
        };
        let path = request.target();
        let other = match path.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{path}/"),
        };
        let headers = parts.header.tl_headers.as_deref().unwrap_or_default();
        let mut outcome = Ok(None);
        for path in [path, &other] {
            let payload = special::truelayer_payload(request, headers, path)?;
            let signed = format!("{}.{}", parts.header_text, URL_SAFE_NO_PAD.encode(payload));
            outcome = keys.check(
                algorithm,
                parts.header.kid.as_deref(),
                signed.as_bytes(),
                &parts.signature,
            );
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|secret_index| Verified {
            secret_index,
            ..Verified::default()
        })
    }
}

/// Whether the public URL is part of what a scheme signs.
pub(super) fn needs_url(scheme: &Scheme) -> bool {
    let special = matches!(
        scheme.special,
        Some(Special::TwilioForm | Special::TwilioJson)
    );
    special
        || scheme
            .message
            .as_ref()
            .is_some_and(super::Template::needs_url)
        || scheme
            .jwt
            .as_ref()
            .is_some_and(|rules| rules.url_hash.is_some())
}

fn check_shape(scheme: &Scheme, problem: &mut impl FnMut(String, String)) {
    let authorization = matches!(
        scheme.alg,
        Algorithm::Token | Algorithm::Basic | Algorithm::Jwt
    );
    if scheme.signature.is_none() && !authorization {
        problem(
            "/verify/signature".into(),
            "say where the signature stands: `signature: { from: \"header:NAME\" }`".into(),
        );
    }
    if let Some(rule) = &scheme.signature {
        for (name, value) in [
            ("separator", &rule.separator),
            ("item_prefix", &rule.item_prefix),
        ] {
            if value.as_deref() == Some("") {
                problem(
                    format!("/verify/signature/{name}"),
                    format!("leave `{name}` out instead of writing an empty one"),
                );
            }
        }
    }
    match (scheme.alg == Algorithm::Jwt, &scheme.jwt) {
        (true, None) => problem(
            "/verify/jwt".into(),
            "say what the token must be: `jwt: { algorithms: [HS256] }`".into(),
        ),
        (true, Some(rules)) if rules.algorithms.is_empty() => {
            problem(
                "/verify/jwt/algorithms".into(),
                "name at least one algorithm".into(),
            );
        }
        (false, Some(_)) => problem(
            "/verify/jwt".into(),
            "`jwt` goes with `alg: jwt` alone".into(),
        ),
        _ => {}
    }
    if let Some(rule) = &scheme.timestamp
        && rule.from.is_some() == rule.item.is_some()
    {
        problem(
            "/verify/timestamp".into(),
            "write exactly one of `from` (a place) and `item` (a prefix beside the signature)"
                .into(),
        );
    }
    let template = scheme.message.as_ref();
    if template.is_some_and(super::Template::covers_timestamp) && scheme.timestamp.is_none() {
        problem(
            "/verify/timestamp".into(),
            "the message has {ts}: say where the timestamp stands".into(),
        );
    }
    let digest = matches!(scheme.alg, Algorithm::Sha256 | Algorithm::Sha512);
    let has_secret = template.is_some_and(|t| t.atoms().contains(&super::message::Atom::Secret));
    if digest && !has_secret {
        problem(
            "/verify/message".into(),
            "a plain digest proves nothing unless the message contains {secret}".into(),
        );
    }
    if !digest && has_secret {
        problem(
            "/verify/message".into(),
            "{secret} goes with plain digests (sha256, sha512) alone".into(),
        );
    }
    for name in scheme.require.keys() {
        if name.parse::<HeaderName>().is_err() {
            problem(
                "/verify/require".into(),
                format!("`{name}` is no header name"),
            );
        }
    }
}

fn check_keys(scheme: &Scheme, keys: &Keys, problem: &mut impl FnMut(String, String)) {
    let rules = scheme.jwt.as_ref().filter(|_| scheme.alg == Algorithm::Jwt);
    let (wants_secret, wants_public) = match rules {
        Some(rules) => (
            rules
                .algorithms
                .iter()
                .any(|one| one.asymmetric().is_none()),
            rules
                .algorithms
                .iter()
                .any(|one| one.asymmetric().is_some()),
        ),
        None => (
            scheme.alg.asymmetric().is_none(),
            scheme.alg.asymmetric().is_some(),
        ),
    };
    let published = matches!(
        scheme.special,
        Some(Special::AwsSns | Special::Paypal | Special::Truelayer)
    ) || rules.is_some_and(|rules| rules.keys_url.is_some());
    let has_secret = wants_secret && !keys.secrets.is_empty();
    let has_public = wants_public && (published || !keys.public_keys.is_empty());
    if !has_secret && !has_public {
        match (wants_secret, wants_public) {
            (true, false) => problem(
                "/secrets".into(),
                "no secret is given: write `secrets: [\"${NAME}\"]`".into(),
            ),
            (false, _) => problem(
                "/public_keys".into(),
                "no public key is given: write `public_keys: [\"…\"]`".into(),
            ),
            (true, true) => problem(
                "/secrets".into(),
                "neither a secret nor a public key is given".into(),
            ),
        }
    }
    if !wants_secret && !keys.secrets.is_empty() {
        problem(
            "/secrets".into(),
            "this scheme has no shared secret: give its public key under `public_keys`".into(),
        );
    }
    if !wants_public && !keys.public_keys.is_empty() {
        problem(
            "/public_keys".into(),
            "this scheme has no public key: give its secret under `secrets`".into(),
        );
    }
    let template = scheme.message.as_ref();
    for atom in template.map_or(&[][..], super::Template::atoms) {
        if let super::message::Atom::Param(name) = atom
            && keys.params.get(name).is_none_or(String::is_empty)
        {
            problem(
                "/params".into(),
                Reason::MissingParameter(name.clone()).to_string(),
            );
        }
    }
}
