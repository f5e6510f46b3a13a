//! Attribute values in HTTP headers.
//!
//! Source: HTTP binding, section 3.1.3.2: spaces, double quotes, percent signs and everything outside printable ASCII is
//! percent-encoded as UTF-8; older senders quoted instead, which is still read.

use std::borrow::Cow;

use crate::envelope::text;

/// `value` as the value of a `ce-` header.
#[must_use]
pub fn encode_header_value(value: &str) -> Cow<'_, str> {
    let plain = |c: char| matches!(c, '!'..='~') && c != '"' && c != '%';
    if value.chars().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        if plain(c) {
            out.push(c);
        } else {
            text::percent_encode(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// The attribute's value in a `ce-` header: double-quoted parts unescaped, then one round of percent-decoding.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the attribute's name.
pub fn decode_header_value(value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let Some(ascii) = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| matches!(b, b' '..=b'~')))
    else {
        return Err("must be printable ASCII in a header, everything else percent-encoded");
    };
    let unquoted = if ascii.contains('"') {
        Cow::Owned(unquote(ascii)?)
    } else {
        Cow::Borrowed(ascii)
    };
    if !unquoted.contains('%') {
        return Ok(unquoted);
    }
    let decoded = percent_decode(unquoted.as_bytes())
        .ok_or("holds a percent sign without two hexadecimal digits")?;
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| "is percent-encoded, but not as UTF-8")
}

fn unquote(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => out.push(chars.next().ok_or(OPEN_QUOTE)?),
            _ => out.push(c),
        }
    }
    if quoted { Err(OPEN_QUOTE) } else { Ok(out) }
}

const OPEN_QUOTE: &str = "holds a double quote that is never closed";

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte == b'%' {
            out.push(hex(text.get(at + 1)?)? << 4 | hex(text.get(at + 2)?)?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cases of the binding's text and of `HttpUtilitiesTest` in <https://github.com/cloudevents/sdk-csharp>.
    #[test]
    fn published_values_round_trip() {
        for (plain, encoded) in [
            ("simple", "simple"),
            ("Euro \u{20ac} \u{1f600}", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("space encoded", "space%20encoded"),
            ("percent%encoded", "percent%25encoded"),
            ("quote\"encoded", "quote%22encoded"),
            ("caf\u{e9}", "caf%C3%A9"),
            ("line1\r\nline2", "line1%0D%0Aline2"),
        ] {
            assert_eq!(encode_header_value(plain), encoded);
            assert_eq!(
                decode_header_value(encoded.as_bytes()).as_deref(),
                Ok(plain)
            );
        }
    }

    #[test]
    fn older_forms_are_read() {
        for (encoded, plain) in [
            ("lenient decoding %30%31", "lenient decoding 01"),
            (r#""  quoted  text  "unquoted"#, "  quoted  text  unquoted"),
            (r#""escaped quote\"end""#, r#"escaped quote"end"#),
            (r#""escaped backslash\\end""#, r"escaped backslash\end"),
            (r"non-escaping backslash\end", r"non-escaping backslash\end"),
            ("Euro%20%e2%82%ac%20%f0%9F%98%80", "Euro \u{20ac} \u{1f600}"),
        ] {
            assert_eq!(
                decode_header_value(encoded.as_bytes()).as_deref(),
                Ok(plain)
            );
        }
    }

    #[test]
    fn broken_values_are_refused() {
        for encoded in [
            "percent %",
            "percent %0",
            "percent %g0",
            "percent %0g",
            "percent %0$",
            "low surrogate %ED%B0%80",
            "high %ED%A0%80",
            "pair %ED%A0%80%ED%B0%80",
            "overlong %C0%A0",
            "short %E2",
            "short %E2%",
            "short %E2x",
            "first %82",
            "second %E2%E2",
            r#""open"#,
            r#""open escape \"#,
            "caf\u{e9}",
            "a\tb",
        ] {
            assert!(
                decode_header_value(encoded.as_bytes()).is_err(),
                "{encoded}"
            );
        }
        assert!(decode_header_value(b"caf\xe9").is_err());
    }

    proptest! {
        #[test]
        fn every_string_round_trips(text in any::<String>()) {
            let encoded = encode_header_value(&text);
            prop_assert!(encoded.bytes().all(|b| matches!(b, b'!'..=b'~')));
            let decoded = decode_header_value(encoded.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Ok(text.as_str()));
        }
    }
}
