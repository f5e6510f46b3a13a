//! The rules that CloudEvents sets for names and strings.
//!
//! Source: CloudEvents 1.0.2, "Naming Conventions" and "Type System".

use std::borrow::Cow;

/// Whether `name` may name an attribute: lower-case ASCII letters and digits, not empty, not `data`.
#[must_use]
pub fn is_legal_name(name: &str) -> bool {
    !name.is_empty()
        && name != "data"
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether `text` may be the value of a String attribute: no control characters and no Unicode noncharacters.
/// (Surrogates cannot occur in a `str`.)
#[must_use]
pub fn is_legal_string(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().all(|b| b >= 0x20 && b != 0x7f);
    }
    text.chars().all(is_legal_char)
}

/// `text` with every character that a String attribute may not hold percent-encoded, for sources whose names are not
/// theirs to choose (a file name may hold a line break).
#[must_use]
pub fn legal_string(text: &str) -> Cow<'_, str> {
    if is_legal_string(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_legal_char(c) {
            out.push(c);
        } else {
            percent_encode(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// Appends `c` as `%XY` for each byte of its UTF-8 form.
pub(super) fn percent_encode(c: char, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut utf8 = [0; 4];
    for &byte in c.encode_utf8(&mut utf8).as_bytes() {
        out.push('%');
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn is_legal_char(c: char) -> bool {
    let code = u32::from(c);
    let control = code < 0x20 || (0x7f..=0x9f).contains(&code);
    let noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    !control && !noncharacter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_letters_and_digits() {
        for legal in ["id", "a1", "comexampleextension1", "1"] {
            assert!(is_legal_name(legal), "{legal}");
        }
        for illegal in ["", "data", "data_base64", "Id", "my.extension", "é", "a b"] {
            assert!(!is_legal_name(illegal), "{illegal}");
        }
    }

    #[test]
    fn strings_hold_no_control_characters_and_no_noncharacters() {
        for legal in ["", "plain", "Euro €", "\u{1F600}", "\u{e000}", "\u{a0}"] {
            assert!(is_legal_string(legal), "{legal:?}");
        }
        for illegal in [
            "\u{0}",
            "a\n",
            "\u{1f}",
            "\u{7f}",
            "é\u{85}",
            "\u{9f}é",
            "\u{fdd0}",
            "\u{fffe}",
            "\u{ffff}",
            "\u{1fffe}",
            "\u{10ffff}",
        ] {
            assert!(!is_legal_string(illegal), "{illegal:?}");
        }
    }

    #[test]
    fn a_file_name_with_a_line_break_becomes_legal() {
        assert_eq!(legal_string("a/b.pdf"), "a/b.pdf");
        assert_eq!(legal_string("a\nb\u{fffe}é"), "a%0Ab%EF%BF%BEé");
    }
}
