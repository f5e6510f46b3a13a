//! Names of files as text: exact, reversible, and legal in a CloudEvents attribute.
//!
//! A name is bytes. What is text stays text, in the normal form in which it came; `%`, control characters, noncharacters and
//! bytes that are no UTF-8 are percent-encoded byte by byte. [`decode`] gives the same bytes back.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// A path as text. [`decode`] of the result is the path again, byte for byte.
#[must_use]
pub fn encode(path: &Path) -> Cow<'_, str> {
    if let Some(text) = plain(path) {
        return Cow::Borrowed(text);
    }
    let bytes = path.as_os_str().as_bytes();
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(must_escape)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if must_escape(c) {
                escape(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                out.push(c);
            }
        }
        escape(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

/// The path as text if it already is what [`encode`] would make of it, as nearly all are.
#[must_use]
pub fn plain(path: &Path) -> Option<&str> {
    let bytes = path.as_os_str().as_bytes();
    let plain = bytes.iter().all(|&byte| is_plain(byte));
    plain.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// The path that [`encode`] wrote as `text`. A `%` that no two hex digits follow stands for itself.
#[must_use]
pub fn decode(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(hex_byte);
        if let Some(byte) = escaped {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    PathBuf::from(OsStr::from_bytes(&out))
}

/// What nearly all names are made of.
fn is_plain(byte: u8) -> bool {
    (0x20..0x7F).contains(&byte) && byte != b'%'
}

/// What CloudEvents forbids in a String (1.0.2, "Type System"), and the escape character itself.
fn must_escape(c: char) -> bool {
    c == '%'
        || c.is_control()
        || matches!(c, '\u{FDD0}'..='\u{FDEF}')
        || (c as u32) & 0xFFFE == 0xFFFE
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _infallible = write!(out, "%{byte:02X}");
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        encode(Path::new(OsStr::from_bytes(bytes))).into_owned()
    }

    #[test]
    fn text_stays_text_in_its_normal_form() {
        assert_eq!(text("Rechnung ä.pdf".as_bytes()), "Rechnung ä.pdf");
        assert_eq!(text("a\u{308}".as_bytes()), "a\u{308}");
        assert_eq!(text("請求書/-x".as_bytes()), "請求書/-x");
    }

    #[test]
    fn what_an_attribute_may_not_hold_is_escaped() {
        assert_eq!(text(b"a\nb\x7f%\xff\xc3"), "a%0Ab%7F%25%FF%C3");
        assert_eq!(text("\u{85}\u{FFFE}".as_bytes()), "%C2%85%EF%BF%BE");
    }

    proptest! {
        #[test]
        fn round_trips_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let path = Path::new(OsStr::from_bytes(&bytes));
            let encoded = encode(path);
            prop_assert!(!encoded.chars().any(char::is_control));
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded.as_os_str(), path.as_os_str());
            if let Some(text) = plain(path) {
                prop_assert_eq!(text.as_bytes(), &bytes[..]);
                prop_assert_eq!(encoded, text);
            }
        }
    }
}
