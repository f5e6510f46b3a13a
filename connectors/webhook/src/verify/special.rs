//! What the declarative model cannot say: one function per vendor.

use std::{borrow::Cow, collections::BTreeMap};

use http::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Algorithm, Incoming, KeyRequest, Published, Reason, SignatureRule, Template, encoding, form,
    mac,
    mac::MacKey,
    message::{Part, single_header},
    window::strip,
};

/// The URL in every form in which Twilio may have signed it (twilio.com/docs/usage/security, and its libraries): with and
/// without the port, an apostrophe in the query as it is or encoded.
pub(super) fn twilio_urls(url: &str) -> Vec<Cow<'_, str>> {
    let mut urls: Vec<Cow<'_, str>> = vec![Cow::Borrowed(url)];
    let add = |urls: &mut Vec<Cow<'_, str>>, one: String| {
        if urls.iter().all(|known| *known != one) {
            urls.push(Cow::Owned(one));
        }
    };
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host_at = authority.rfind('@').map_or(0, |at| at + 1);
        let host = &authority[host_at..];
        let colon = host
            .rfind(':')
            .filter(|at| host[at + 1..].bytes().all(|b| b.is_ascii_digit()));
        match colon {
            Some(at) => add(
                &mut urls,
                format!("{scheme}://{}{tail}", &authority[..host_at + at]),
            ),
            None => {
                let port = if scheme.eq_ignore_ascii_case("https") {
                    443
                } else {
                    80
                };
                add(&mut urls, format!("{scheme}://{authority}:{port}{tail}"));
            }
        }
    }
    for at in 0..urls.len() {
        if let Some((before, query)) = urls[at].split_once('?')
            && query.contains('\'')
        {
            let encoded = format!("{before}?{}", query.replace('\'', "%27"));
            add(&mut urls, encoded);
        }
    }
    urls
}

/// The URL as it is, and with the escapes undone that HubSpot undoes before it signs
/// (developers.hubspot.com, "validating requests", version 3).
pub(super) fn hubspot_urls(url: &str) -> Vec<Cow<'_, str>> {
    let mut decoded = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3).unwrap_or_default();
        let meant = match escape.to_ascii_uppercase().as_str() {
            "3A" => Some(':'),
            "2F" => Some('/'),
            "3F" => Some('?'),
            "40" => Some('@'),
            "21" => Some('!'),
            "24" => Some('$'),
            "27" => Some('\''),
            "28" => Some('('),
            "29" => Some(')'),
            "2A" => Some('*'),
            "2C" => Some(','),
            "3B" => Some(';'),
            _ => None,
        };
        decoded.push(meant.unwrap_or('%'));
        rest = &rest[at + if meant.is_some() { 3 } else { 1 }..];
    }
    decoded.push_str(rest);
    match decoded == url {
        true => vec![Cow::Borrowed(url)],
        false => vec![Cow::Borrowed(url), Cow::Owned(decoded)],
    }
}

/// The query's `bodySHA256` must be the body's.
pub(super) fn twilio_body_hash(request: &Incoming<'_>) -> Result<(), Reason> {
    let stated = form::values(request.query().unwrap_or_default(), "bodySHA256");
    let stated = stated
        .first()
        .ok_or_else(|| Reason::MissingPart("query:bodySHA256".into()))?;
    let fits = hex::decode(stated.as_bytes())
        .is_ok_and(|stated| mac::equal(&stated, &mac::sha256(request.body)));
    match fits {
        true => Ok(()),
        false => Err(Reason::HashMismatch("bodySHA256".into())),
    }
}

/// Hook0 (documentation.hook0.com, signature v1): `{t}.{h}.{values joined by "."}.{body}`. Only where a signature has no
/// `v1` at all, the older `v0` counts, which covers no headers.
pub(super) fn hook0<'a>(
    rule: &SignatureRule,
    request: &Incoming<'a>,
    stamp: &'a str,
) -> Result<(Vec<Part<'a>>, &'static str), Reason> {
    let items = rule.items(request);
    if !items.iter().any(|item| item.starts_with("v1=")) {
        return Ok((vec![stamp.into(), ".".into(), request.body.into()], "v0="));
    }
    let names = items
        .into_iter()
        .find_map(|item| strip(item, "h="))
        .ok_or_else(|| Reason::MissingPart(format!("h=… in {}", rule.from)))?;
    let mut values = String::new();
    for (index, name) in names.split(' ').filter(|name| !name.is_empty()).enumerate() {
        let header: HeaderName = name
            .parse()
            .map_err(|_| Reason::Malformed("the list of signed headers is not readable".into()))?;
        if index > 0 {
            values.push('.');
        }
        values.push_str(&String::from_utf8_lossy(single_header(request, &header)?));
    }
    let head = format!("{stamp}.{names}.{values}.");
    Ok((vec![head.into(), request.body.into()], "v1="))
}

/// Vonage SMS (developer.vonage.com, signing messages): `&name=value` of the sorted parameters except `sig`, with `&` and `=`
/// in values replaced by `_`. Parameters stand in the query, or in a form or JSON body.
pub(super) fn vonage_sms<'a>(request: &Incoming<'a>) -> Vec<Part<'a>> {
    let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> =
        form::pairs(request.query().unwrap_or_default().as_bytes()).collect();
    if let Ok(fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(request.body) {
        for (name, value) in fields {
            let text = serde_json::from_str::<String>(value.get())
                .unwrap_or_else(|_| value.get().to_owned());
            pairs.insert(name.into_bytes(), text.into_bytes());
        }
    } else {
        pairs.extend(form::pairs(request.body));
    }
    let mut message = Vec::new();
    for (name, value) in pairs {
        if name == b"sig" {
            continue;
        }
        message.push(b'&');
        message.extend(&name);
        message.push(b'=');
        message.extend(value.iter().map(|byte| match byte {
            b'&' | b'=' => b'_',
            other => *other,
        }));
    }
    vec![message.into()]
}

/// The account's choice of digest. `md5hash` appends the secret instead of keying with it.
pub(super) fn vonage_key(
    params: &BTreeMap<String, String>,
    secret: &[u8],
) -> Result<MacKey, String> {
    let algorithm = match params.get("hash").map_or("md5", String::as_str) {
        "md5hash" => return Ok(MacKey::PlainMd5(secret.to_vec())),
        "md5" => Algorithm::HmacMd5,
        "sha1" => Algorithm::HmacSha1,
        "sha256" => Algorithm::HmacSha256,
        "sha512" => Algorithm::HmacSha512,
        other => {
            return Err(format!(
                "`hash: {other}` is none of md5, md5hash, sha1, sha256, sha512"
            ));
        }
    };
    MacKey::new(algorithm, secret).ok_or_else(|| "not an HMAC".into())
}

/// Contentful (contentful.com/developers/docs/webhooks/request-verification): method, path, the named headers and the body, a
/// line each. The headers count sorted, or in the order in which they are named.
pub(super) fn contentful<'a>(request: &Incoming<'a>) -> Result<Vec<Vec<Part<'a>>>, Reason> {
    let list_name = HeaderName::from_static("x-contentful-signed-headers");
    let list = String::from_utf8_lossy(single_header(request, &list_name)?).into_owned();
    let mut pairs = Vec::new();
    for (name, header) in listed(&list)? {
        let value = String::from_utf8_lossy(single_header(request, &header)?).into_owned();
        pairs.push(format!("{}:{value}", name.to_ascii_lowercase()));
    }
    for needed in ["x-contentful-timestamp:", "x-contentful-signed-headers:"] {
        if !pairs.iter().any(|pair| pair.starts_with(needed)) {
            let needed = needed.trim_end_matches(':');
            return Err(Reason::Malformed(format!(
                "`{needed}` is not among the signed headers"
            )));
        }
    }
    let given = pairs.join(";");
    pairs.sort_unstable();
    let sorted = pairs.join(";");
    let message = |headers: &str| {
        let head = format!("{}\n{}\n{headers}\n", request.method, request.target());
        vec![Part::from(head), Part::from(request.body)]
    };
    let mut messages = vec![message(&sorted)];
    if given != sorted {
        messages.push(message(&given));
    }
    Ok(messages)
}

/// Box may have signed the body as its own serialiser writes it: non-ASCII characters as `\uXXXX`, and `/` as `\/`.
pub(super) fn box_bodies(body: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut bodies = vec![Cow::Borrowed(body)];
    let Ok(text) = std::str::from_utf8(body) else {
        return bodies;
    };
    if text.is_ascii() && !text.contains('/') {
        return bodies;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    let slashed = escaped.replace("\\/", "/").replace('/', "\\/");
    for variant in [escaped, slashed] {
        if variant.as_bytes() != body {
            bodies.push(Cow::Owned(variant.into_bytes()));
        }
    }
    bodies
}

/// Adyen sends a batch whose items are signed one by one; the body may also be a single item.
pub(super) fn adyen_items(body: &[u8]) -> Result<Vec<&[u8]>, Reason> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(rename = "notificationItems", borrow)]
        items: Option<Vec<Item<'a>>>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(rename = "NotificationRequestItem", borrow)]
        item: &'a RawValue,
    }
    let batch: Batch<'_> = serde_json::from_slice(body)
        .map_err(|_| Reason::Malformed("the body is no Adyen notification".into()))?;
    match batch.items {
        None => Ok(vec![body]),
        Some(items) if items.is_empty() => {
            Err(Reason::Malformed("the notification has no items".into()))
        }
        Some(items) => Ok(items
            .iter()
            .map(|item| item.item.get().as_bytes())
            .collect()),
    }
}

/// PayPal names its certificate in a header (developer.paypal.com/api/rest/webhooks/rest).
pub(super) fn paypal_certificate(request: &Incoming<'_>) -> Result<KeyRequest, Reason> {
    const HOSTS: [&str; 4] = [
        "https://api.paypal.com",
        "https://api-m.paypal.com",
        "https://api.sandbox.paypal.com",
        "https://api-m.sandbox.paypal.com",
    ];
    let name = HeaderName::from_static("paypal-cert-url");
    let url = String::from_utf8_lossy(single_header(request, &name)?).into_owned();
    let id = HOSTS.iter().find_map(|host| {
        url.strip_prefix(host)?
            .strip_prefix("/v1/notifications/certs/")
    });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match id {
        Some(id) if (1..=256).contains(&id.len()) && id.bytes().all(plain) => Ok(KeyRequest {
            url,
            kid: None,
            published: Published::CertificateOf("paypal.com"),
        }),
        _ => Err(Reason::ForeignKey(
            "`PAYPAL-CERT-URL` is no certificate on a host of PayPal's".into(),
        )),
    }
}

/// Plaid hands out one key for its id, in each of its environments (plaid.com/docs/api/webhooks/webhook-verification).
pub(super) fn plaid_keys(params: &BTreeMap<String, String>) -> Result<KeyRequest, String> {
    match params
        .get("environment")
        .map_or("production", String::as_str)
    {
        environment @ ("production" | "sandbox") => Ok(KeyRequest {
            url: format!("https://{environment}.plaid.com/webhook_verification_key/get"),
            kid: None,
            published: Published::KeyById,
        }),
        other => Err(format!(
            "`environment: {other}` is neither production nor sandbox"
        )),
    }
}

/// TrueLayer publishes its keys on its own hosts.
pub(super) fn truelayer_keys(jku: Option<&str>, kid: Option<&str>) -> Result<KeyRequest, Reason> {
    let own = [
        "https://webhooks.truelayer.com/.well-known/jwks",
        "https://webhooks.truelayer-sandbox.com/.well-known/jwks",
    ];
    match jku {
        Some(url) if own.contains(&url) => Ok(KeyRequest {
            url: url.to_owned(),
            kid: kid.map(str::to_owned),
            published: Published::Document,
        }),
        _ => Err(Reason::ForeignKey("`jku` is not TrueLayer's JWKS".into())),
    }
}

/// What TrueLayer signs (docs.truelayer.com, request signatures): a line `METHOD path`, a line for each listed header, the body.
pub(super) fn truelayer_payload(
    request: &Incoming<'_>,
    headers: &str,
    path: &str,
) -> Result<Vec<u8>, Reason> {
    let mut payload = format!("{} {path}\n", request.method).into_bytes();
    for (name, header) in listed(headers)? {
        payload.extend(name.as_bytes());
        payload.extend(b": ");
        payload.extend(single_header(request, &header)?);
        payload.push(b'\n');
    }
    payload.extend(request.body);
    Ok(payload)
}

/// A list of signed headers: each name as it is written, and as a name.
fn listed(list: &str) -> Result<Vec<(&str, HeaderName)>, Reason> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let header = name.parse().map_err(|_| {
                Reason::Malformed("the list of signed headers is not readable".into())
            })?;
            Ok((name, header))
        })
        .collect()
}

/// Which items of a value are signatures, and their bytes.
pub(super) fn signatures(
    rule: &SignatureRule,
    prefix: Option<&str>,
    request: &Incoming<'_>,
) -> Result<Vec<Vec<u8>>, Reason> {
    if rule.from.read(request).is_none() {
        return Err(Reason::MissingSignature(rule.from.to_string()));
    }
    let found: Vec<Vec<u8>> = rule
        .items(request)
        .into_iter()
        .filter_map(|item| strip(item, prefix.unwrap_or_default()))
        .filter_map(|text| encoding::decode(&text, rule.encoding))
        .filter(|bytes| !bytes.is_empty())
        .take(super::MAX_SIGNATURES)
        .collect();
    if found.is_empty() {
        let wanted = match prefix {
            Some(prefix) => format!("nothing that starts with `{prefix}` and is {}", words(rule)),
            None => format!("it is not {}", words(rule)),
        };
        return Err(Reason::UnusableSignature {
            place: rule.from.to_string(),
            wanted,
        });
    }
    Ok(found)
}

fn words(rule: &SignatureRule) -> &'static str {
    match rule.encoding {
        super::SignatureEncoding::Hex => "hexadecimal",
        super::SignatureEncoding::Base64 => "base64",
        super::SignatureEncoding::Base64url => "base64url",
    }
}

/// The default message.
pub(super) fn body_template() -> &'static Template {
    static BODY: std::sync::LazyLock<Template> = std::sync::LazyLock::new(Template::body);
    &BODY
}
