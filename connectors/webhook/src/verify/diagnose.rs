//! Explains a decision as a colleague would: what was looked for, what was signed, what was tried, and what usually went wrong.
//!
//! Shows neither secrets nor whole signatures nor whole bodies.

use std::fmt::Write as _;

use headgate_sdk::config::Secret;
use jiff::Timestamp;

use super::{
    Algorithm, Failure, Incoming, KeyEncoding, KeyLookup, Keys, Scheme, SignatureEncoding,
    Verified, Verifier, mac, message::Part, special,
};

/// What happened, for people.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What was decided.
    pub outcome: Result<Verified, String>,
    /// What was looked at, in order: a label and what was found.
    pub steps: Vec<(&'static str, String)>,
    /// What would have helped, found by trying.
    pub hints: Vec<String>,
}

/// Verifies and explains. Slower than [`Verifier::verify`]: for one request and a person.
#[must_use]
pub fn explain(
    scheme: &Scheme,
    keys: &Keys,
    request: &Incoming<'_>,
    now: Timestamp,
    lookup: &dyn KeyLookup,
) -> Explanation {
    let verifier = match Verifier::new(scheme.clone(), keys) {
        Ok(verifier) => verifier,
        Err(problems) => {
            let all: Vec<String> = problems
                .into_iter()
                .map(|problem| problem.message)
                .collect();
            return Explanation {
                outcome: Err(all.join("; ")),
                steps: Vec::new(),
                hints: Vec::new(),
            };
        }
    };
    let outcome = verifier.verify(request, now, lookup);
    let mut steps = Vec::new();
    where_it_stands(&verifier, request, &mut steps);
    what_is_signed(&verifier, request, &mut steps);
    clock(&verifier, request, now, &mut steps);
    let mut hints = Vec::new();
    if let Err(failure) = &outcome {
        let experiment = Experiment {
            scheme,
            keys,
            request,
            now,
            lookup,
        };
        hints = experiment.run(failure);
    }
    Explanation {
        outcome: outcome.map_err(|failure| match failure {
            Failure::Refused(reason) => reason.to_string(),
            Failure::KeyNeeded(key) => format!(
                "the key at {} is needed to decide: fetch it and give it with --public-key",
                key.url
            ),
        }),
        steps,
        hints,
    }
}

fn where_it_stands(
    verifier: &Verifier,
    request: &Incoming<'_>,
    steps: &mut Vec<(&'static str, String)>,
) {
    let Some(rule) = &verifier.scheme.signature else {
        let there = request.headers.contains_key("authorization");
        steps.push((
            "read",
            format!(
                "header:Authorization: {}",
                if there { "present" } else { "missing" }
            ),
        ));
        return;
    };
    let values = rule.from.read_all(request);
    let mut text = match values.first() {
        None => format!("{}: missing", rule.from),
        Some(first) => format!("{}: {}", rule.from, abbreviate(first, 24)),
    };
    if values.len() > 1 {
        let _ = write!(text, " and {} more", values.len() - 1);
    }
    if values.is_empty() {
        let similar: Vec<&str> = request
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| {
                ["sig", "hmac", "hook", "token", "auth"]
                    .iter()
                    .any(|part| name.contains(part))
            })
            .collect();
        if !similar.is_empty() {
            let _ = write!(text, "; the request has {}", similar.join(", "));
        }
    }
    steps.push(("read", text));
    if let Some(prefix) = &rule.item_prefix {
        let usable =
            special::signatures(rule, Some(prefix), request).map_or(0, |found| found.len());
        steps.push((
            "signatures",
            format!("{usable} usable item(s) that start with `{prefix}`"),
        ));
    }
}

fn what_is_signed(
    verifier: &Verifier,
    request: &Incoming<'_>,
    steps: &mut Vec<(&'static str, String)>,
) {
    let scheme = &verifier.scheme;
    match scheme.alg {
        Algorithm::Token | Algorithm::Basic => {
            steps.push(("signed", "nothing: the secret itself is sent".into()));
            return;
        }
        Algorithm::Jwt => {
            steps.push(("signed", "the token's own claims".into()));
            return;
        }
        _ => {}
    }
    let rule = scheme.signature.as_ref();
    let stamp = scheme
        .timestamp
        .as_ref()
        .and_then(|timestamp| timestamp.read(request, rule).ok().flatten());
    let text = stamp.as_ref().map(|stamp| stamp.text.as_ref());
    let Ok((messages, prefix)) = verifier.messages(request, text) else {
        return;
    };
    let Some(message) = messages.first() else {
        return;
    };
    steps.push(("signed", show(message)));
    if messages.len() > 1 {
        steps.push((
            "also tried",
            format!(
                "{} other spelling(s) of the same message",
                messages.len() - 1
            ),
        ));
    }
    let offered = rule
        .and_then(|rule| special::signatures(rule, prefix, request).ok())
        .unwrap_or_default();
    for (index, key) in verifier.macs.iter().enumerate() {
        let expected = key.compute(message);
        let fits = offered.iter().any(|one| mac::equal(one, &expected));
        let verdict = if fits { "matches" } else { "does not match" };
        steps.push((
            "secret",
            format!(
                "{} of {}: computed {}, {verdict}",
                index + 1,
                verifier.macs.len(),
                abbreviate(&hex::encode(&expected), 8)
            ),
        ));
    }
}

fn clock(
    verifier: &Verifier,
    request: &Incoming<'_>,
    now: Timestamp,
    steps: &mut Vec<(&'static str, String)>,
) {
    let scheme = &verifier.scheme;
    if let Some(rule) = &scheme.timestamp
        && let Ok(Some(stamp)) = rule.read(request, scheme.signature.as_ref())
    {
        let age = now.as_second() - stamp.instant.as_second();
        let when = if age >= 0 {
            format!("{age} s ago")
        } else {
            format!("{} s ahead", -age)
        };
        steps.push((
            "clock",
            format!(
                "sent {} ({when}); allowed: {} s ago to {} s ahead",
                stamp.instant,
                rule.past.get().as_secs(),
                rule.future.get().as_secs()
            ),
        ));
    }
}

/// The message, abbreviated, with control characters escaped and the secret left out.
fn show(message: &[Part<'_>]) -> String {
    let mut text = String::new();
    let mut length = 0;
    for part in message {
        match part {
            Part::Secret => text.push_str("[secret]"),
            Part::Bytes(bytes) => {
                length += bytes.len();
                text.push_str(&abbreviate(&visible(bytes), 40));
            }
        }
    }
    format!("{length} bytes: {text}")
}

/// Text as it stands, with line ends and other control characters written out.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        match character.is_control() {
            true => text.extend(character.escape_debug()),
            false => text.push(character),
        }
    }
    text
}

fn abbreviate(text: &str, keep: usize) -> String {
    let count = text.chars().count();
    if count <= keep * 2 + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(keep).collect();
    let tail: String = text.chars().skip(count - keep / 2).collect();
    format!("{head}…{tail}")
}

struct Experiment<'e> {
    scheme: &'e Scheme,
    keys: &'e Keys,
    request: &'e Incoming<'e>,
    now: Timestamp,
    lookup: &'e dyn KeyLookup,
}

impl Experiment<'_> {
    fn run(&self, failure: &Failure) -> Vec<String> {
        let mut hints = Vec::new();
        let Failure::Refused(reason) = failure else {
            return hints;
        };
        match reason.code() {
            "stale" => hints.push("the signature fits: the request is old (a replay, a slow queue, or this machine's clock is ahead); with --now UNIX you check it as of another time".into()),
            "future" => hints.push("the signature fits: this machine's clock is behind, or the timestamp is in another unit".into()),
            "missing_signature" => hints.push("is the endpoint configured with a secret at the vendor? Without one many vendors send no signature; a proxy may also drop headers".into()),
            "mismatch" | "hash_mismatch" | "unusable_signature" => {
                self.bodies(&mut hints);
                self.secrets(&mut hints);
                self.encodings(&mut hints);
                self.urls(&mut hints);
                if hints.is_empty() {
                    hints.push("usual causes: the body was parsed and written again before it was verified (it must be the raw bytes); the secret is of another endpoint, or of test mode while the request is live".into());
                }
            }
            _ => {}
        }
        hints
    }

    /// Whether the signature fits with these changes; a wrong time counts as fitting.
    fn fits(&self, scheme: &Scheme, keys: &Keys, request: &Incoming<'_>) -> bool {
        let Ok(verifier) = Verifier::new(scheme.clone(), keys) else {
            return false;
        };
        match verifier.verify(request, self.now, self.lookup) {
            Ok(_) => true,
            Err(Failure::Refused(reason)) => matches!(reason.code(), "stale" | "future"),
            Err(Failure::KeyNeeded(_)) => false,
        }
    }

    fn bodies(&self, hints: &mut Vec<String>) {
        let body = self.request.body;
        let text = String::from_utf8_lossy(body);
        let trimmed = text.trim_end_matches(['\r', '\n']);
        let variants: [(&str, Vec<u8>); 7] = [
            (
                "the body ends in a line break that the sender did not send",
                trimmed.as_bytes().to_vec(),
            ),
            (
                "the body lacks the line break at its end that the sender signed",
                [body, b"\n"].concat(),
            ),
            (
                "the body lacks the CR LF at its end that the sender signed",
                [body, b"\r\n"].concat(),
            ),
            (
                "the body's line ends were changed from LF to CR LF",
                text.replace("\r\n", "\n").into_bytes(),
            ),
            (
                "the body's line ends were changed from CR LF to LF",
                text.replace("\r\n", "\n")
                    .replace('\n', "\r\n")
                    .into_bytes(),
            ),
            (
                "the JSON was written again with spaces: the sender signed it compact",
                respaced(&text, "", "").into_bytes(),
            ),
            (
                "the JSON was written again: the sender signed it with a space after `:` and `,`",
                respaced(&text, " ", " ").into_bytes(),
            ),
        ];
        for (hint, variant) in variants {
            let request = Incoming {
                body: &variant,
                ..*self.request
            };
            if variant != body && self.fits(self.scheme, self.keys, &request) {
                hints.push(hint.to_owned());
                return;
            }
        }
    }

    fn secrets(&self, hints: &mut Vec<String>) {
        for (index, secret) in self.keys.secrets.iter().enumerate() {
            let text = secret.expose();
            let variants = [
                (
                    "has blanks or a line break around it",
                    text.trim().to_owned(),
                ),
                (
                    "has quotes around it",
                    text.trim_matches(['"', '\'']).to_owned(),
                ),
            ];
            for (hint, variant) in variants {
                let keys = Keys {
                    secrets: vec![Secret::new(variant.as_str())],
                    ..self.keys.clone()
                };
                if variant != text && self.fits(self.scheme, &keys, self.request) {
                    hints.push(format!("secret {} {hint}", index + 1));
                }
            }
        }
        for encoding in [KeyEncoding::Utf8, KeyEncoding::Base64, KeyEncoding::Hex] {
            for key_prefix in [None, self.scheme.key_prefix.clone()] {
                let scheme = Scheme {
                    key_encoding: encoding,
                    key_prefix,
                    ..self.scheme.clone()
                };
                if scheme != *self.scheme && self.fits(&scheme, self.keys, self.request) {
                    hints.push(format!("the signature fits if the secret is read as {encoding:?}: the sender uses it differently than this scheme says"));
                    return;
                }
            }
        }
    }

    fn encodings(&self, hints: &mut Vec<String>) {
        for encoding in [
            SignatureEncoding::Hex,
            SignatureEncoding::Base64,
            SignatureEncoding::Base64url,
        ] {
            let mut scheme = self.scheme.clone();
            if let Some(rule) = &mut scheme.signature {
                rule.encoding = encoding;
            }
            if scheme != *self.scheme && self.fits(&scheme, self.keys, self.request) {
                hints.push(format!("the signature is written in {encoding:?}"));
            }
        }
    }

    fn urls(&self, hints: &mut Vec<String>) {
        let Some(url) = self.request.url else { return };
        let slashed = match url.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{url}/"),
        };
        let variants = [
            url.replacen("https://", "http://", 1),
            url.replacen("http://", "https://", 1),
            slashed,
            url.split('?').next().unwrap_or(url).to_owned(),
        ];
        for variant in variants {
            let request = Incoming {
                url: Some(&variant),
                ..*self.request
            };
            if variant != url && self.fits(self.scheme, self.keys, &request) {
                hints.push(format!(
                    "the sender signed the URL {variant}: correct `public_url` (--url)"
                ));
            }
        }
    }
}

/// JSON with other blanks outside its strings.
fn respaced(text: &str, after_colon: &str, after_comma: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        if quoted {
            out.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            ' ' | '\t' | '\r' | '\n' => {}
            ':' => {
                out.push(':');
                out.push_str(after_colon);
            }
            ',' => {
                out.push(',');
                out.push_str(after_comma);
            }
            other => {
                quoted = other == '"';
                out.push(other);
            }
        }
    }
    out
}
