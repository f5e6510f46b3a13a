//! Signs requests as a vendor would: for tests, for `headgate webhook sign|send`, for everybody whose vendor has no test button.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};

use super::{
    Algorithm, HashPresence, Incoming, JwtAlgorithm, Keys, Place, PrivateKey, Reason, Scheme,
    Special, Verifier, encoding, form, jwt, mac,
    message::{Atom, concatenate},
    place::Spot,
    special, window,
};

/// A request that is being made.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The method, upper case.
    pub method: String,
    /// The full URL.
    pub url: Option<String>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The scheme lacks something.
    #[error("{0}")]
    Unusable(String),
    /// The request lacks something.
    #[error(transparent)]
    Request(#[from] Reason),
}

/// A scheme with what it takes to sign.
#[derive(Debug)]
pub struct Signer {
    verifier: Verifier,
    private: Option<PrivateKey>,
}

impl Draft {
    /// As verification sees it.
    #[must_use]
    pub fn as_incoming(&self) -> Incoming<'_> {
        Incoming {
            method: &self.method,
            url: self.url.as_deref(),
            path_and_query: "/",
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn header(&mut self, name: impl AsRef<str>, value: &str) -> Result<(), SignError> {
        let wrong = || {
            SignError::Unusable(format!(
                "`{value}` cannot stand in the header `{}`",
                name.as_ref()
            ))
        };
        let header: HeaderName = name.as_ref().parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        self.headers.insert(header, value);
        Ok(())
    }

    fn header_default(&mut self, name: &str, value: &str) -> Result<(), SignError> {
        match self.headers.contains_key(name) {
            true => Ok(()),
            false => self.header(name, value),
        }
    }

    fn put(&mut self, place: &Place, value: &str) -> Result<(), SignError> {
        match place.first() {
            Spot::Header(name) => self.header(name.as_str(), value),
            Spot::Json(pointer) => self.put_json(pointer, value),
            Spot::Query(name) => {
                let url = self.url.take().ok_or(Reason::UrlUnknown)?;
                self.url = Some(with_parameter(&url, name, value));
                Ok(())
            }
            Spot::Form(name) => {
                let text = String::from_utf8_lossy(&self.body).into_owned();
                let mut pair = String::new();
                form::encode(name.as_bytes(), &mut pair);
                pair.push('=');
                form::encode(value.as_bytes(), &mut pair);
                let joint = if text.is_empty() { "" } else { "&" };
                self.body = format!("{text}{joint}{pair}").into_bytes();
                Ok(())
            }
        }
    }

    fn put_json(&mut self, pointer: &str, value: &str) -> Result<(), SignError> {
        let wrong = || {
            SignError::Unusable(format!(
                "this scheme writes `{pointer}` into the body, which must be a JSON object"
            ))
        };
        let mut document: Value = match self.body.is_empty() {
            true => json!({}),
            false => serde_json::from_slice(&self.body).map_err(|_| wrong())?,
        };
        let mut at = &mut document;
        for step in pointer.trim_start_matches('/').split('/') {
            if at.is_null() {
                *at = json!({});
            }
            at = at
                .as_object_mut()
                .ok_or_else(wrong)?
                .entry(step)
                .or_insert(Value::Null);
        }
        *at = Value::from(value);
        self.body = document.to_string().into_bytes();
        Ok(())
    }
}

impl Signer {
    /// Prepares signing with the first secret, or with `private`.
    ///
    /// # Errors
    /// If the scheme needs another kind of key.
    pub fn new(
        scheme: Scheme,
        keys: &Keys,
        private: Option<PrivateKey>,
    ) -> Result<Self, SignError> {
        let mut keys = keys.clone();
        let jwt_public = scheme.jwt.as_ref().is_some_and(|rules| {
            rules
                .algorithms
                .iter()
                .any(|one| one.asymmetric().is_some())
        });
        let asymmetric = scheme.alg.asymmetric().is_some();
        if (asymmetric || (jwt_public && keys.secrets.is_empty())) && private.is_none() {
            return Err(SignError::Unusable(
                "this scheme signs with a private key: give one with --private-key FILE".into(),
            ));
        }
        if private.is_some() && !asymmetric && !jwt_public {
            return Err(SignError::Unusable(
                "this scheme signs with a shared secret, not with a private key".into(),
            ));
        }
        if private.is_some() {
            // Any key lets the scheme build: only its messages are used.
            keys.secrets.clear();
            keys.public_keys = vec!["00".repeat(32)];
        }
        let verifier = Verifier::new(scheme, &keys).map_err(|problems| {
            let all: Vec<String> = problems
                .into_iter()
                .map(|problem| problem.message)
                .collect();
            SignError::Unusable(all.join("; "))
        })?;
        Ok(Self { verifier, private })
    }

    /// Whether it sends a signature; otherwise it sends the secret itself.
    #[must_use]
    pub fn covers_request(&self) -> bool {
        !matches!(
            self.verifier.scheme.alg,
            Algorithm::Token | Algorithm::Basic
        )
    }

    /// Signs `draft` as sent at `now`. What the scheme needs and the draft lacks (ids, nonces, required headers) is made up.
    ///
    /// # Errors
    /// If the draft cannot carry the signature: [`SignError`] says why.
    pub fn sign(&self, mut draft: Draft, now: Timestamp) -> Result<Draft, SignError> {
        let scheme = &self.verifier.scheme;
        match (scheme.alg, scheme.special) {
            (Algorithm::Token | Algorithm::Basic, _) => self.sign_token(draft),
            (Algorithm::Jwt, _) => self.sign_jwt(draft, now),
            (_, Some(Special::Truelayer)) => self.sign_truelayer(draft, now),
            (_, Some(Special::AdyenNotification)) => self.sign_adyen(draft, now),
            _ => {
                self.prepare(&mut draft, now)?;
                self.sign_prepared(draft, now)
            }
        }
    }

    fn prepare(&self, draft: &mut Draft, now: Timestamp) -> Result<(), SignError> {
        let scheme = &self.verifier.scheme;
        for (name, value) in &scheme.require {
            draft.header(name, value)?;
        }
        for atom in scheme.message.iter().flat_map(super::Template::atoms) {
            match atom {
                Atom::Header(name) => draft.header_default(name.as_str(), &made_up_id())?,
                Atom::Json(pointer)
                    if scheme.special.is_none()
                        && super::json::pointer(&draft.body, pointer).is_none() =>
                {
                    draft.put_json(pointer, &made_up_id())?;
                }
                Atom::Value(place) if place.read(&draft.as_incoming()).is_none() => {
                    draft.put(place, &made_up_id())?;
                }
                _ => {}
            }
        }
        if let Some(name) = scheme.dedup.as_ref().and_then(Place::header) {
            draft.header_default(name.as_str(), &made_up_id())?;
        }
        if let Some(rule) = &scheme.timestamp
            && let Some(place) = &rule.from
        {
            draft.put(place, &window::write(now, rule.unit))?;
        }
        match scheme.special {
            Some(Special::TwilioJson) => {
                let url = draft.url.take().ok_or(Reason::UrlUnknown)?;
                draft.url = Some(with_parameter(
                    &url,
                    "bodySHA256",
                    &hex::encode(mac::sha256(&draft.body)),
                ));
            }
            Some(Special::Contentful) => draft.header(
                "x-contentful-signed-headers",
                "x-contentful-signed-headers,x-contentful-timestamp",
            )?,
            Some(Special::Paypal) => {
                draft.header_default(
                    "paypal-cert-url",
                    "https://api.paypal.com/v1/notifications/certs/CERT-local",
                )?;
                draft.header_default("paypal-auth-algo", "SHA256withRSA")?;
            }
            Some(Special::AwsSns) => sns_envelope(draft, now)?,
            _ => {}
        }
        Ok(())
    }

    fn sign_prepared(&self, mut draft: Draft, now: Timestamp) -> Result<Draft, SignError> {
        let scheme = &self.verifier.scheme;
        let rule = self.verifier.signature_rule()?;
        let stamp = scheme
            .timestamp
            .as_ref()
            .map(|stamp| window::write(now, stamp.unit));
        let mut items: Vec<String> = Vec::new();
        if let Some(prefix) = scheme
            .timestamp
            .as_ref()
            .and_then(|stamp| stamp.item.as_deref())
        {
            items.push(format!("{prefix}{}", stamp.as_deref().unwrap_or_default()));
        }
        if scheme.special == Some(Special::Hook0) {
            let signed = if draft.headers.contains_key("content-type") {
                "content-type"
            } else {
                ""
            };
            items.push(format!("h={signed}"));
            // The message depends on the list of headers, which stands beside the signature.
            draft.put(&rule.from, &format!("{},v1=", items.join(",")))?;
        }
        let signature = {
            let incoming = draft.as_incoming();
            let (messages, _) = self.verifier.messages(&incoming, stamp.as_deref())?;
            let message = messages
                .first()
                .ok_or_else(|| SignError::Unusable("there is nothing to sign".into()))?;
            match (scheme.alg.asymmetric(), &self.private) {
                (Some(asymmetric), Some(private)) => asymmetric
                    .sign(private, &concatenate(message))
                    .map_err(SignError::Unusable)?,
                _ => self.verifier.macs[0].compute(message),
            }
        };
        let prefix = rule.item_prefix.as_deref().unwrap_or_default();
        items.push(format!(
            "{prefix}{}",
            encoding::encode(&signature, rule.encoding)
        ));
        let value = items.join(rule.separator.as_deref().unwrap_or(","));
        draft.put(&rule.from, &value)?;
        Ok(draft)
    }

    fn sign_adyen(&self, mut draft: Draft, now: Timestamp) -> Result<Draft, SignError> {
        let mut document: Value = serde_json::from_slice(&draft.body)
            .map_err(|_| SignError::Unusable("an Adyen notification is a JSON object".into()))?;
        let sign_item = |item: &Value| -> Result<Value, SignError> {
            let mut one = Draft {
                body: item.to_string().into_bytes(),
                ..draft.clone()
            };
            one.put(&self.verifier.signature_rule()?.from, "")?;
            let signed = self.sign_prepared(one, now)?;
            serde_json::from_slice(&signed.body)
                .map_err(|error| SignError::Unusable(error.to_string()))
        };
        match document
            .get_mut("notificationItems")
            .and_then(Value::as_array_mut)
        {
            None => document = sign_item(&document)?,
            Some(items) => {
                for item in items {
                    let inner = item.get_mut("NotificationRequestItem").ok_or_else(|| {
                        SignError::Unusable("an item lacks `NotificationRequestItem`".into())
                    })?;
                    *inner = sign_item(inner)?;
                }
            }
        }
        draft.body = document.to_string().into_bytes();
        Ok(draft)
    }

    fn sign_token(&self, mut draft: Draft) -> Result<Draft, SignError> {
        let scheme = &self.verifier.scheme;
        let secret = &self.verifier.secrets[0];
        let value = match scheme.alg {
            Algorithm::Basic => format!(
                "Basic {}",
                encoding::encode(secret, super::SignatureEncoding::Base64)
            ),
            _ => String::from_utf8_lossy(secret).into_owned(),
        };
        match &scheme.signature {
            Some(rule) => {
                let prefix = rule.item_prefix.as_deref().unwrap_or_default();
                draft.put(&rule.from, &format!("{prefix}{value}"))?;
            }
            None if scheme.alg == Algorithm::Basic => draft.header("authorization", &value)?,
            None => draft.header("authorization", &format!("Bearer {value}"))?,
        }
        Ok(draft)
    }

    fn sign_jwt(&self, mut draft: Draft, now: Timestamp) -> Result<Draft, SignError> {
        let scheme = &self.verifier.scheme;
        let rules = scheme
            .jwt
            .as_ref()
            .ok_or_else(|| SignError::Unusable("the scheme has no rules for its token".into()))?;
        let fits = |one: &&JwtAlgorithm| match (one.asymmetric(), &self.private) {
            (None, None) => true,
            (Some(asymmetric), Some(private)) => asymmetric.family() == private.family,
            _ => false,
        };
        let algorithm = *rules.algorithms.iter().find(fits).ok_or_else(|| {
            SignError::Unusable("the key fits none of the token's algorithms".into())
        })?;
        let mut claims = Map::new();
        claims.insert("iat".into(), now.as_second().into());
        claims.insert("nbf".into(), now.as_second().into());
        claims.insert("exp".into(), (now.as_second() + 60).into());
        claims.insert("jti".into(), made_up_id().into());
        claims.insert(
            "iss".into(),
            rules
                .issuer
                .clone()
                .unwrap_or_else(|| "headgate".into())
                .into(),
        );
        if let Some(audience) = &rules.audience {
            claims.insert("aud".into(), audience.clone().into());
        }
        let hash = |bytes: &[u8], how| Value::from(encoding::encode(&mac::sha256(bytes), how));
        if let Some(rule) = &rules.body_hash
            && (rule.presence == HashPresence::Always || !draft.body.is_empty())
        {
            claims.insert(rule.claim.clone(), hash(&draft.body, rule.encoding));
        }
        if let Some(rule) = &rules.url_hash {
            let url = draft.url.as_deref().ok_or(Reason::UrlUnknown)?;
            claims.insert(rule.claim.clone(), hash(url.as_bytes(), rule.encoding));
        }
        let mut header = json!({ "alg": format!("{algorithm:?}"), "typ": "JWT" });
        if scheme.special == Some(Special::Plaid) || rules.keys_url.is_some() {
            header["kid"] = "local".into();
        }
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
        );
        let signature = self.sign_jws(algorithm, signed.as_bytes())?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        match &scheme.signature {
            Some(rule)
                if rule
                    .from
                    .to_string()
                    .eq_ignore_ascii_case("header:authorization") =>
            {
                draft.header("authorization", &format!("Bearer {token}"))?;
            }
            Some(rule) => {
                let prefix = rule.item_prefix.as_deref().unwrap_or_default();
                draft.put(&rule.from, &format!("{prefix}{token}"))?;
            }
            None => draft.header("authorization", &format!("Bearer {token}"))?,
        }
        Ok(draft)
    }

    fn sign_jws(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match (algorithm.asymmetric(), &self.private) {
            (Some(asymmetric), Some(private)) => asymmetric
                .sign(private, message)
                .map_err(SignError::Unusable),
            _ => Ok(jwt::hmac_key(algorithm, &self.verifier.secrets[0]).compute(&[message.into()])),
        }
    }

    fn sign_truelayer(&self, mut draft: Draft, now: Timestamp) -> Result<Draft, SignError> {
        draft.header_default(
            "x-tl-webhook-timestamp",
            &window::write(now, super::TimeUnit::Rfc3339),
        )?;
        let headers = "X-Tl-Webhook-Timestamp";
        let header = json!({
            "alg": "ES512", "kid": "local", "tl_version": "2", "tl_headers": headers,
            "jku": "https://webhooks.truelayer.com/.well-known/jwks",
        });
        let incoming = draft.as_incoming();
        let payload = special::truelayer_payload(&incoming, headers, incoming.target())?;
        let head = URL_SAFE_NO_PAD.encode(header.to_string());
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = self.sign_jws(JwtAlgorithm::ES512, signed.as_bytes())?;
        let token = format!("{head}..{}", URL_SAFE_NO_PAD.encode(signature));
        let place = self.verifier.signature_rule()?.from.clone();
        draft.put(&place, &token)?;
        Ok(draft)
    }
}

/// Completes a message of SNS's, or wraps a body that is none.
fn sns_envelope(draft: &mut Draft, now: Timestamp) -> Result<(), SignError> {
    let parsed = serde_json::from_slice::<Map<String, Value>>(&draft.body).ok();
    let mut message = parsed
        .filter(|object| object.contains_key("Message") && object.contains_key("Type"))
        .unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&draft.body).into_owned();
            Map::from_iter([("Message".to_owned(), text.into())])
        });
    let mut default = |name: &str, value: String| {
        message.entry(name).or_insert_with(|| value.into());
    };
    default("Type", "Notification".into());
    default("MessageId", made_up_id());
    default(
        "TopicArn",
        "arn:aws:sns:us-east-1:000000000000:local".into(),
    );
    default("Timestamp", window::write(now, super::TimeUnit::Rfc3339));
    default(
        "SigningCertURL",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-local.pem".into(),
    );
    message.insert("SignatureVersion".into(), "2".into());
    let kind = message
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or("Notification")
        .to_owned();
    draft.body = Value::Object(message).to_string().into_bytes();
    draft.header("x-amz-sns-message-type", &kind)
}

fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let mut pair = String::new();
    form::encode(name.as_bytes(), &mut pair);
    pair.push('=');
    form::encode(value.as_bytes(), &mut pair);
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let kept: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty() && part.split('=').next() != Some(name))
        .collect();
    let mut all = kept;
    all.push(&pair);
    format!("{base}?{}", all.join("&"))
}

/// An id that nobody has used.
fn made_up_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has random numbers");
    format!("msg_{}", hex::encode(bytes))
}
