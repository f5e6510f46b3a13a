//! Hexadecimal and base64, as leniently as vendors write them and no more.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use unicode_normalization::UnicodeNormalization;

use super::{KeyEncoding, SignatureEncoding};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

/// Decodes a signature.
pub(super) fn decode(text: &str, encoding: SignatureEncoding) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Hex => hex::decode(text).ok(),
        SignatureEncoding::Base64 => BASE64.decode(text).ok(),
        SignatureEncoding::Base64url => BASE64_URL.decode(text).ok(),
    }
}

/// Writes a signature.
pub(super) fn encode(bytes: &[u8], encoding: SignatureEncoding) -> String {
    match encoding {
        SignatureEncoding::Hex => hex::encode(bytes),
        SignatureEncoding::Base64 => BASE64.encode(bytes),
        SignatureEncoding::Base64url => BASE64_URL.encode(bytes),
    }
}

/// Decodes base64 of either alphabet, for keys that people copy around.
pub(super) fn any_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    BASE64
        .decode(&text)
        .or_else(|_| BASE64_URL.decode(&text))
        .ok()
}

/// Decodes a shared secret. The error says what is wrong without showing the secret.
pub(super) fn decode_key(
    text: &str,
    prefix: Option<&str>,
    encoding: KeyEncoding,
) -> Result<Vec<u8>, &'static str> {
    let text = prefix
        .and_then(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    let key = match encoding {
        KeyEncoding::Utf8 => text.as_bytes().to_vec(),
        KeyEncoding::Utf8Nfkd => text.nfkd().collect::<String>().into_bytes(),
        KeyEncoding::Base64 => {
            any_base64(text).ok_or("is not base64, as this scheme's keys are")?
        }
        KeyEncoding::Hex => {
            hex::decode(text.trim()).map_err(|_| "is not hexadecimal, as this scheme's keys are")?
        }
    };
    if key.is_empty() {
        return Err("is empty");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_optional_and_the_alphabet_is_not() {
        for text in ["+/8=", "+/8"] {
            assert_eq!(
                decode(text, SignatureEncoding::Base64),
                Some(vec![0xfb, 0xff])
            );
        }
        assert_eq!(decode("-_8", SignatureEncoding::Base64), None);
        assert_eq!(
            decode("-_8=", SignatureEncoding::Base64url),
            Some(vec![0xfb, 0xff])
        );
        assert_eq!(
            decode("FbFF", SignatureEncoding::Hex),
            Some(vec![0xfb, 0xff])
        );
        assert_eq!(decode("fbf", SignatureEncoding::Hex), None);
    }

    #[test]
    fn a_key_that_is_only_its_prefix_is_empty() {
        assert_eq!(
            decode_key("whsec_", Some("whsec_"), KeyEncoding::Base64),
            Err("is empty")
        );
    }
}
