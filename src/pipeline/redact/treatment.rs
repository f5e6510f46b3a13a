//! What a value becomes.

use std::borrow::Cow;

use headgate_sdk::envelope::json::write_string;

use super::{Config, With};

/// The start of a hash, so that it is known as one.
const HASH_PREFIX: &str = "blake3:";
/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 32;

/// Makes of a value what others may read.
#[derive(Debug, Clone)]
pub(super) enum Treatment {
    Mask { keep_last: usize },
    Remove,
    Hash { key: Box<[u8; 32]> },
}

impl Treatment {
    /// As configured. A hash without a key was refused when the configuration was loaded; here it takes the value away.
    pub(super) fn of(config: &Config) -> Self {
        match (config.with, &config.key) {
            (With::Mask, _) => Self::Mask {
                keep_last: config.keep_last,
            },
            (With::Hash, Some(key)) => Self::Hash {
                key: Box::new(key.derive()),
            },
            (With::Remove, _) | (With::Hash, None) => Self::Remove,
        }
    }

    /// What a text becomes, `None` if nothing is left of it.
    pub(super) fn text<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        match self {
            Self::Mask { keep_last } => Some(mask(text, *keep_last).into()),
            Self::Hash { .. } if is_hash(text) => Some(text.into()),
            Self::Hash { key } => {
                let hash = blake3::keyed_hash(key, text.as_bytes()).to_hex();
                Some(format!("{HASH_PREFIX}{}", &hash[..HASH_DIGITS]).into())
            }
            Self::Remove => None,
        }
    }

    /// What a JSON value becomes, as JSON; `None` if nothing is left of it.
    pub(super) fn json(&self, value: &str) -> Option<String> {
        let treated = match (value.as_bytes().first(), self) {
            (_, Self::Remove) => return None,
            (Some(b'n'), _) => return Some(value.to_owned()),
            (Some(b'{' | b'['), Self::Mask { .. }) => return Some("\"***\"".to_owned()),
            (Some(b'"'), _) => match serde_json::from_str::<String>(value) {
                Ok(text) => self.text(&text)?.into_owned(),
                // Half a surrogate pair: no text, but its bytes are as secret.
                Err(_) => self.text(value)?.into_owned(),
            },
            _ => self.text(value)?.into_owned(),
        };
        let mut quoted = Vec::with_capacity(treated.len() + 2);
        write_string(&treated, &mut quoted);
        String::from_utf8(quoted).ok()
    }
}

/// As many `*` as there are characters, but for the last, of which at most half stay.
fn mask(text: &str, keep_last: usize) -> String {
    let length = text.chars().count();
    let hidden = length - keep_last.min(length / 2);
    "*".repeat(hidden)
        .chars()
        .chain(text.chars().skip(hidden))
        .collect()
}

/// Only what a hash can look like: nobody hides anything in it.
fn is_hash(text: &str) -> bool {
    text.strip_prefix(HASH_PREFIX).is_some_and(|digits| {
        digits.len() == HASH_DIGITS
            && digits
                .bytes()
                .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    })
}
