//! `multipart/form-data` (RFC 7578, RFC 2046), on bytes that are all there.

use std::collections::BTreeMap;

/// Parts that one body may have.
const MAX_PARTS: usize = 512;
/// Bytes of one part's headers.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// The field's name.
    pub(crate) name: String,
    /// The file's name, if it is one.
    pub(crate) filename: Option<String>,
    /// Its media type.
    pub(crate) content_type: Option<String>,
    /// `Content-ID`, without brackets.
    pub(crate) content_id: Option<String>,
    /// The content.
    pub(crate) data: &'a [u8],
}

/// The parts of a body, or `None` if it is not well-formed.
#[must_use]
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let boundary = boundary(content_type)?;
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut rest = match body.starts_with(&delimiter) {
        true => body,
        // A preamble ends with the line before the first delimiter.
        false => &body[find(body, &[b"\r\n", &delimiter[..]].concat())? + 2..],
    };
    let inner = [b"\r\n", &delimiter[..]].concat();
    let mut parts = Vec::new();
    loop {
        rest = &rest[delimiter.len()..];
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        rest = rest[padding..].strip_prefix(b"\r\n")?;
        if parts.len() == MAX_PARTS {
            return None;
        }
        let (head, content) = match rest.strip_prefix(b"\r\n") {
            Some(content) => (&rest[..0], content),
            None => {
                let window = &rest[..rest.len().min(MAX_HEADER_BYTES)];
                let end = find(window, b"\r\n\r\n")?;
                (&rest[..end], &rest[end + 4..])
            }
        };
        let end = find(content, &inner)?;
        parts.push(part(head, &content[..end])?);
        rest = &content[end + 2..];
    }
}

fn part<'a>(head: &[u8], data: &'a [u8]) -> Option<Part<'a>> {
    let head = String::from_utf8_lossy(head);
    let mut headers = BTreeMap::new();
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let disposition = headers.get("content-disposition")?;
    let parameters = parameters(disposition);
    let content_id = headers
        .get("content-id")
        .map(|id| id.trim_matches(['<', '>']).to_owned());
    Some(Part {
        name: parameters.get("name")?.clone(),
        filename: parameters.get("filename").cloned(),
        content_type: headers.get("content-type").cloned(),
        content_id,
        data,
    })
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, _) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let boundary = parameters(content_type).remove("boundary")?;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// `; name=value; name="quoted \" value"`, after the first `;`.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ';', '\t']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, tail) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), tail)
            }
        };
        found.entry(name).or_insert(value);
        rest = tail;
    }
    found
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            // Browsers escape quotes alone; a backslash before anything else is part of the name.
            '\\' if text[at + 1..].starts_with(['"', '\\']) => {
                if let Some((_, escaped)) = characters.next() {
                    value.push(escaped);
                }
            }
            other => value.push(other),
        }
    }
    (value, "")
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x y\"";

    #[test]
    fn reads_fields_and_files() {
        let body = b"preamble\r\n--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x y \r\n\
            content-disposition: form-data; name=f; filename=\"q\\\"r;.txt\"\r\nContent-Type: text/plain\r\nContent-ID: <c@d>\r\n\r\n\
            line\r\n--x\r\n--x y--\r\nepilogue";
        let parts = parts(TYPE, body).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), parts[0].data), ("a", &b"1"[..]));
        assert_eq!(parts[1].filename.as_deref(), Some("q\"r;.txt"));
        assert_eq!(parts[1].content_id.as_deref(), Some("c@d"));
        assert_eq!(parts[1].data, b"line\r\n--x");
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for body in [
            &b""[..],
            b"--x y",
            b"--x y\r\n",
            b"--x y\r\nContent-Disposition: form-data; name=a\r\n\r\nnever ends",
            b"--x y\r\nContent-Type: text/plain\r\n\r\nno name\r\n--x y--",
        ] {
            assert_eq!(parts(TYPE, body), None, "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(parts("multipart/form-data", b"--\r\n"), None);
        assert_eq!(parts("text/plain; boundary=a", b"--a--"), None);
        assert_eq!(parts(TYPE, b"--x y--"), Some(Vec::new()));
    }
}
