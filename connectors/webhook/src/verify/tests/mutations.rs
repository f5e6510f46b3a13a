//! Whatever a scheme signs: any bit of it that changes on its way is noticed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::{
    super::{Algorithm, Draft, Failure, NoLookup, Place, Special, Verified, Verifier, special},
    presets::{NOW, draft, own_keys, signed, verify},
};
use crate::presets;

/// What a bit is flipped in.
#[derive(Clone, Copy)]
enum Part {
    Message,
    Signature,
}

fn carries_a_token(verifier: &Verifier) -> bool {
    let scheme = verifier.scheme();
    scheme.alg == Algorithm::Jwt || scheme.special == Some(Special::Truelayer)
}

fn sends_its_secret(verifier: &Verifier) -> bool {
    matches!(verifier.scheme().alg, Algorithm::Token | Algorithm::Basic)
}

/// A flipped bit of the message or the signature, both decoded; `None` for schemes that sign no message.
fn flip_decoded(name: &str, part: Part, bit: usize) -> Option<Result<Option<usize>, Failure>> {
    let (verifier, draft) = signed(name);
    let scheme = verifier.scheme();
    if carries_a_token(&verifier)
        || sends_its_secret(&verifier)
        || scheme.special == Some(Special::AdyenNotification)
    {
        return None;
    }
    let request = draft.as_incoming();
    let rule = scheme.signature.as_ref().unwrap();
    let stamp = scheme
        .timestamp
        .as_ref()
        .and_then(|t| t.read(&request, Some(rule)).unwrap());
    let (mut messages, prefix) = verifier
        .messages(&request, stamp.as_ref().map(|s| s.text.as_ref()))
        .unwrap();
    let mut signatures = special::signatures(rule, prefix, &request).unwrap();
    match part {
        Part::Signature => flip(&mut signatures[0], bit),
        Part::Message => {
            for message in &mut messages {
                let lengths: Vec<usize> =
                    message.iter().map(|part| part.bytes(&[]).len()).collect();
                let mut at = (bit / 8) % lengths.iter().sum::<usize>();
                for (part, length) in message.iter_mut().zip(lengths) {
                    if at < length {
                        let mut bytes = part.bytes(&[]).to_vec();
                        bytes[at] ^= 1 << (bit % 8);
                        *part = bytes.into();
                        break;
                    }
                    at -= length;
                }
            }
        }
    }
    Some(verifier.check(&request, &messages, &signatures, &NoLookup))
}

fn flip(bytes: &mut [u8], bit: usize) {
    let at = (bit / 8) % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
}

fn flip_in_body(name: &str, bit: usize) -> Option<Result<Verified, Failure>> {
    let preset = presets::find(name).unwrap();
    if preset
        .not_covered
        .iter()
        .any(|what| what.contains("body") || what.contains("anything"))
    {
        return None;
    }
    let (verifier, mut draft) = signed(name);
    flip(&mut draft.body, bit);
    Some(verify(&verifier, &draft, NOW))
}

/// A flipped bit of a token: of its signed text, or of its decoded signature. For static tokens, of the token itself.
fn flip_in_token(name: &str, part: Part, bit: usize) -> Option<Result<Verified, Failure>> {
    let (verifier, mut draft) = signed(name);
    if !carries_a_token(&verifier) && !sends_its_secret(&verifier) {
        return None;
    }
    let rule = verifier.scheme().signature.clone();
    let place = rule.map_or_else(|| "header:authorization".parse().unwrap(), |rule| rule.from);
    let value = place.read(&draft.as_incoming()).unwrap().into_owned();
    let (lead, token) = match value.split_once(' ') {
        Some((word, token)) if carries_a_token(&verifier) => (format!("{word} "), token),
        _ => (String::new(), value.as_str()),
    };
    let changed = match (carries_a_token(&verifier), token.rsplit_once('.')) {
        (true, Some((text, signature))) => match part {
            Part::Message => format!("{}.{signature}", flip_in_text(text, bit)?),
            Part::Signature => {
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
                flip(&mut bytes, bit);
                format!("{text}.{}", URL_SAFE_NO_PAD.encode(bytes))
            }
        },
        _ => flip_in_text(token, bit)?,
    };
    put(&mut draft, &place, &value, &format!("{lead}{changed}"));
    Some(verify(&verifier, &draft, NOW))
}

/// `None` where the flip leaves no text that a request can carry.
fn flip_in_text(text: &str, bit: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    flip(&mut bytes, bit);
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    bytes
        .iter()
        .all(plain)
        .then(|| String::from_utf8(bytes).unwrap())
}

fn put(draft: &mut Draft, place: &Place, old: &str, new: &str) {
    match place.header() {
        Some(header) => drop(draft.headers.insert(header, new.parse().unwrap())),
        None => {
            let body = String::from_utf8(draft.body.clone()).unwrap();
            assert!(body.contains(old));
            draft.body = body.replace(old, new).into_bytes();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_flipped_bit_is_refused_by_every_preset(bit in any::<u16>()) {
        let bit = usize::from(bit);
        for name in presets::all().keys() {
            for (part, words) in [(Part::Message, "message"), (Part::Signature, "signature")] {
                if let Some(outcome) = flip_decoded(name, part, bit) {
                    prop_assert!(outcome.is_err(), "{name}: a flipped bit of the {words} passed");
                }
                if let Some(outcome) = flip_in_token(name, part, bit) {
                    prop_assert!(outcome.is_err(), "{name}: a flipped bit of the token's {words} passed");
                }
            }
            if let Some(outcome) = flip_in_body(name, bit) {
                // A form's escapes may be written in two ways that mean the same.
                prop_assert!(outcome.is_err() || name.starts_with("twilio-form") || name == "mandrill",
                    "{name}: a flipped bit of the body passed");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        header in proptest::collection::vec(any::<u8>(), 0..200),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let Ok(value) = http::HeaderValue::from_bytes(&header) else { return Ok(()) };
        for (name, preset) in presets::all() {
            let verifier = Verifier::new(preset.verify.clone(), &own_keys(name).keys).unwrap();
            let mut draft = Draft { body: body.clone(), ..draft(name) };
            if let Some(header) = preset.verify.signature.as_ref().and_then(|rule| rule.from.header()) {
                draft.headers.insert(header, value.clone());
            }
            prop_assert!(verify(&verifier, &draft, NOW).is_err());
        }
    }
}

#[test]
fn each_of_adyens_eight_fields_is_covered() {
    let (verifier, draft) = signed("adyen-notification");
    let body = String::from_utf8(draft.body.clone()).unwrap();
    for (old, new) in [
        (r#""pspReference":"A1""#, r#""pspReference":"A2""#),
        (
            r#""pspReference":"A1""#,
            r#""originalReference":"o","pspReference":"A1""#,
        ),
        (
            r#""merchantAccountCode":"M""#,
            r#""merchantAccountCode":"N""#,
        ),
        (r#""merchantReference":"R""#, r#""merchantReference":"S""#),
        (r#""value":1130"#, r#""value":1131"#),
        (r#""currency":"EUR""#, r#""currency":"USD""#),
        (r#""eventCode":"AUTHORISATION""#, r#""eventCode":"CAPTURE""#),
        (r#""success":"true""#, r#""success":"false""#),
    ] {
        assert!(body.contains(old), "{old} in {body}");
        let changed = Draft {
            body: body.replace(old, new).into_bytes(),
            ..draft.clone()
        };
        assert!(verify(&verifier, &changed, NOW).is_err(), "{new}");
    }
}
