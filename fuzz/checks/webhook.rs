//! What a stranger may send to a webhook source, before anything is verified: none of it may panic, and none of it may pass.

use bytes::Bytes;
use headgate_sdk::config::Secret;
use headgate_webhook::{
    presets,
    source::inflate,
    verify::{Algorithm, Incoming, Keys, NoLookup, Place, Special, Verifier},
};
use http::{HeaderMap, HeaderName, HeaderValue};

const URL: &str = "https://hooks.example.com/in?b=2&a=1";

/// The first line is a header's value, the rest is the body.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

fn incoming<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Incoming<'a> {
    Incoming {
        method: "POST",
        url: Some(URL),
        path_and_query: "/in?b=2&a=1",
        headers,
        body,
    }
}

/// Verifies the bytes under every preset, as signature header and body.
pub(crate) fn webhook_signature(data: &[u8]) {
    let (value, body) = split(data);
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    for (name, preset) in presets::all() {
        let scheme = preset.verify.clone();
        let keys = keys(&scheme);
        let verifier = match Verifier::new(scheme, &keys) {
            Ok(verifier) => verifier,
            Err(problems) => panic!("{name}: {problems:?}"),
        };
        let mut headers = HeaderMap::new();
        let scheme = verifier.scheme();
        let place = scheme.signature.as_ref().map(|rule| &rule.from);
        let place = place.map_or(Some(&http::header::AUTHORIZATION), Place::header);
        if let Some(place) = place {
            headers.insert(place, value.clone());
        }
        let stamp = scheme
            .timestamp
            .as_ref()
            .and_then(|rule| rule.from.as_ref());
        if let Some(stamp) = stamp.and_then(Place::header) {
            headers.insert(stamp, HeaderValue::from_static("1700000000"));
        }
        let now = headgate_sdk::Timestamp::UNIX_EPOCH;
        let outcome = verifier.verify(&incoming(&headers, body), now, &NoLookup);
        assert!(outcome.is_err(), "{name}: a forgery passed");
    }
}

/// A key of each kind that nobody signs with.
fn keys(scheme: &headgate_webhook::verify::Scheme) -> Keys {
    let mut keys = Keys::default();
    let public = matches!(
        scheme.alg,
        Algorithm::Ed25519
            | Algorithm::EcdsaP256Der
            | Algorithm::EcdsaP256Raw
            | Algorithm::EcdsaP521Raw
            | Algorithm::RsaSha1
            | Algorithm::RsaSha256
    );
    let token_by_key = scheme.special == Some(Special::Plaid);
    if public || token_by_key {
        keys.public_keys
            .push("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".into());
    } else {
        keys.secrets
            .push(Secret::new("0123456789abcdef0123456789abcdef"));
    }
    keys.params.insert("webhook_id".into(), "WH-1".into());
    keys
}

/// Reads every kind of place out of a request whose content type and body are the bytes.
pub(crate) fn webhook_header(data: &[u8]) {
    let (value, body) = split(data);
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in ["x-fuzz", "content-type", "authorization"] {
        headers.append(HeaderName::from_static(name), value.clone());
    }
    let request = incoming(&headers, body);
    for place in [
        "header:x-fuzz",
        "json:/a/0/b",
        "json:/id",
        "query:a",
        "form:a",
    ] {
        let place: Place = place.parse().expect("a constant place is valid");
        let all = place.read_all(&request);
        assert_eq!(place.read(&request), all.into_iter().next());
    }
}

/// Reads the body as a multipart form whose boundary is `b`.
pub(crate) fn webhook_multipart(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let media_type = HeaderValue::from_static("multipart/form-data; boundary=b");
    headers.insert(http::header::CONTENT_TYPE, media_type);
    let place: Place = "form:a".parse().expect("a constant place is valid");
    for value in place.read_all(&incoming(&headers, data)) {
        assert!(value.len() <= data.len());
    }
}

/// Inflates: the first byte chooses the coding. What comes out is never larger than allowed.
pub(crate) fn webhook_compressed(data: &[u8]) {
    const MAX: usize = 64 * 1024;
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let coding =
        ["gzip", "deflate", "zstd", "br", "gzip, gzip", "br, zstd"][usize::from(*choice) % 6];
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::CONTENT_ENCODING,
        HeaderValue::from_static(coding),
    );
    if let Ok(inflated) = inflate(&headers, &Bytes::copy_from_slice(body), MAX) {
        assert!(inflated.len() <= MAX);
    }
}
