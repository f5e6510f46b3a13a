//! Requests that carry a JSON Web Token, or a detached signature of the same making.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{
    Failure, Incoming, JwtAlgorithm, KeyLookup, KeyRequest, Published, Reason, Special, Verified,
    Verifier, jwt, special, token, window,
};

impl Verifier {
    pub(super) fn verify_jwt(
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
        let remote = match (self.scheme.special, &rules.keys_url) {
            (Some(Special::Plaid), _) => {
                Some(special::plaid_keys(&self.params).map_err(Reason::NoKey)?)
            }
            (_, Some(url)) => Some(KeyRequest {
                url: url.clone(),
                kid: None,
                published: Published::Document,
            }),
            (_, None) => None,
        };
        let keys = jwt::Keys {
            secrets: &self.secrets,
            public: &self.public,
            remote,
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

    pub(super) fn verify_truelayer(
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
        let algorithm = parts.algorithm(&[JwtAlgorithm::ES512])?;
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
            remote: key,
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
