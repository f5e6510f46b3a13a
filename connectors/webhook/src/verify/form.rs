//! `application/x-www-form-urlencoded`, in bodies and queries.

use std::borrow::Cow;

/// Name and value, decoded to the bytes that were meant.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// All pairs in their order.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = Pair> + '_ {
    text.split(|byte| *byte == b'&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let at = part.iter().position(|byte| *byte == b'=');
            let (name, value) = match at {
                Some(at) => (&part[..at], &part[at + 1..]),
                None => (part, &part[part.len()..]),
            };
            (decode(name), decode(value))
        })
}

/// The values of `name`.
pub(super) fn values<'a>(text: &str, name: &str) -> Vec<Cow<'a, str>> {
    pairs(text.as_bytes())
        .filter(|(key, _)| key == name.as_bytes())
        .filter_map(|(_, value)| String::from_utf8(value).ok())
        .map(Cow::Owned)
        .collect()
}

/// A form's fields as JSON strings, for whoever turns a form into an event.
pub(crate) fn fields(body: &[u8]) -> impl Iterator<Item = (String, serde_json::Value)> + '_ {
    pairs(body).map(|(name, value)| {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(name), serde_json::Value::String(text(value)))
    })
}

/// `+` is a space, `%XX` a byte; a `%` that is no escape stands for itself.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match tail.get(..2).and_then(|two| hex::decode(two).ok()) {
                Some(decoded) => {
                    out.extend(decoded);
                    rest = &tail[2..];
                }
                None => out.push(b'%'),
            },
            _ => out.push(byte),
        }
    }
    out
}

/// Encodes as HTML forms and most clients do.
pub(super) fn encode(text: &[u8], out: &mut String) {
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push_str(&hex::encode_upper([byte]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_encodes() {
        let text = b"a=1&&b=%C3%A9+x&c&=v&d=100%&e=%2";
        let pairs: Vec<_> = pairs(text)
            .map(|(k, v)| (String::from_utf8(k).unwrap(), String::from_utf8(v).unwrap()))
            .collect();
        let want = [
            ("a", "1"),
            ("b", "é x"),
            ("c", ""),
            ("", "v"),
            ("d", "100%"),
            ("e", "%2"),
        ];
        assert_eq!(pairs, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let mut out = String::new();
        encode("é x/~".as_bytes(), &mut out);
        assert_eq!(out, "%C3%A9+x%2F~");
    }
}
