//! Static tokens and HTTP Basic: proof that the sender knows a word, and of nothing else.

use std::borrow::Cow;

use super::{Algorithm, Incoming, Place, Reason, Scheme, encoding, mac, window};

/// Which configured secret was sent.
pub(super) fn verify(
    scheme: &Scheme,
    secrets: &[Vec<u8>],
    request: &Incoming<'_>,
) -> Result<usize, Reason> {
    let (place, offered) = match &scheme.signature {
        Some(rule) => {
            let prefix = rule.item_prefix.as_deref().unwrap_or_default();
            let values: Vec<Cow<'_, str>> = rule
                .items(request)
                .into_iter()
                .filter_map(|item| window::strip(item, prefix))
                .collect();
            (rule.from.clone(), values)
        }
        None => {
            let place: Place = "header:Authorization"
                .parse()
                .expect("a constant place is valid");
            let word = if scheme.alg == Algorithm::Basic {
                "basic"
            } else {
                "bearer"
            };
            let values = place
                .read_all(request)
                .into_iter()
                .filter_map(|value| {
                    after_word(&value, word).map(|rest| Cow::Owned(rest.to_owned()))
                })
                .collect();
            (place, values)
        }
    };
    if offered.is_empty() {
        return Err(Reason::MissingSignature(place.to_string()));
    }
    for value in offered.iter().take(super::MAX_SIGNATURES) {
        let bytes = match scheme.alg {
            Algorithm::Basic => {
                let value = after_word(value, "basic").unwrap_or(value);
                match encoding::any_base64(value) {
                    Some(bytes) => bytes,
                    None => continue,
                }
            }
            _ => value.as_bytes().to_vec(),
        };
        // Hashed first, so that not even the length shows in the time it takes.
        let digest = mac::sha256(&bytes);
        if let Some(index) = secrets
            .iter()
            .position(|secret| mac::equal(&mac::sha256(secret), &digest))
        {
            return Ok(index);
        }
    }
    Err(Reason::Mismatch {
        signatures: offered.len(),
        keys: format!("{} secret(s)", secrets.len()),
    })
}

/// What follows an authentication scheme's name, in any case.
pub(super) fn after_word<'a>(value: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = value.split_once(' ')?;
    first.eq_ignore_ascii_case(word).then(|| rest.trim())
}
