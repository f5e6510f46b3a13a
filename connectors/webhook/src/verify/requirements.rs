//! What a scheme and its keys must be, decided without a request: everything that can be wrong is refused at the start.

use http::HeaderName;

use super::{Algorithm, Keys, Reason, Scheme, Special, Template, message::Atom, special};

pub(super) fn check_shape(scheme: &Scheme, problem: &mut impl FnMut(String, String)) {
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
        (true, Some(rules))
            if rules
                .keys_url
                .as_ref()
                .is_some_and(|url| !url.starts_with("https://")) =>
        {
            problem(
                "/verify/jwt/keys_url".into(),
                "keys are fetched by https alone: write `https://…`".into(),
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
    if template.is_some_and(Template::covers_timestamp) && scheme.timestamp.is_none() {
        problem(
            "/verify/timestamp".into(),
            "the message has {ts}: say where the timestamp stands".into(),
        );
    }
    let digest = matches!(scheme.alg, Algorithm::Sha256 | Algorithm::Sha512);
    let has_secret = template.is_some_and(|t| t.atoms().contains(&Atom::Secret));
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

pub(super) fn check_keys(scheme: &Scheme, keys: &Keys, problem: &mut impl FnMut(String, String)) {
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
        Some(Special::AwsSns | Special::Paypal | Special::Truelayer | Special::Plaid)
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
    if scheme.special == Some(Special::Plaid)
        && let Err(message) = special::plaid_keys(&keys.params)
    {
        problem("/params/environment".into(), message);
    }
    let template = scheme.message.as_ref();
    for atom in template.map_or(&[][..], Template::atoms) {
        if let Atom::Param(name) = atom
            && keys.params.get(name).is_none_or(String::is_empty)
        {
            problem(
                "/params".into(),
                Reason::MissingParameter(name.clone()).to_string(),
            );
        }
    }
}
