//! Media types: the little of RFC 2045/2046 that a gateway needs to know.

/// How a message carries events, as its `content-type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One event in one JSON document.
    Structured,
    /// A JSON array of events.
    Batched,
    /// An event format that this gateway does not read (`application/cloudevents+avro`), or a charset that JSON cannot have.
    Unsupported,
    /// Anything else: attributes are headers, if it is an event at all.
    Binary,
}

impl Mode {
    /// The mode that a `content-type` announces. Matched without regard to case.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        let (essence, parameters) = split(content_type);
        let Some(subtype) = strip_prefix_ignore_case(essence, "application/cloudevents") else {
            return Self::Binary;
        };
        let (mode, format) = match strip_prefix_ignore_case(subtype, "-batch") {
            Some(format) => (Self::Batched, format),
            None => (Self::Structured, subtype),
        };
        if !format.is_empty() && !format.starts_with('+') {
            return Self::Binary; // another type that only begins alike
        }
        if !format.eq_ignore_ascii_case("+json") || charset(parameters).is_some_and(|c| !is_utf8(c))
        {
            return Self::Unsupported;
        }
        mode
    }
}

/// Whether `text` is a media type with well-formed parameters.
#[must_use]
pub fn is_legal(text: &str) -> bool {
    let (essence, parameters) = split(text);
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    is_token(kind) && is_token(subtype) && parse_parameters(parameters, |_, _| ()).is_some()
}

/// Whether the subtype is `json` or ends in `+json`.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let (essence, _) = split(content_type);
    let Some((_, subtype)) = essence.split_once('/') else {
        return false;
    };
    subtype.eq_ignore_ascii_case("json") || ends_with_ignore_case(subtype, "+json")
}

/// Whether data of this type is text in UTF-8 by declaration, so that a string can carry it: `text/*`, XML, forms, YAML and
/// JSON lines, unless another charset is named. By type and never by content, so that a consumer sees one form for each type.
#[must_use]
pub fn is_utf8_text(content_type: &str) -> bool {
    let (essence, parameters) = split(content_type);
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let text = kind.eq_ignore_ascii_case("text")
        || [
            "xml",
            "yaml",
            "x-www-form-urlencoded",
            "x-ndjson",
            "jsonl",
            "javascript",
            "graphql",
            "sql",
        ]
        .iter()
        .any(|known| subtype.eq_ignore_ascii_case(known))
        || ends_with_ignore_case(subtype, "+xml")
        || ends_with_ignore_case(subtype, "+yaml");
    text && charset(parameters).is_none_or(is_utf8)
}

/// Whether a JSON string that holds `text` stands for the same bytes in the type's charset.
pub(super) fn string_can_carry(content_type: &str, text: &str) -> bool {
    charset(split(content_type).1).is_none_or(|charset| {
        is_utf8(charset) || (text.is_ascii() && strip_prefix_ignore_case(charset, "utf-").is_none())
    })
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

fn split(content_type: &str) -> (&str, &str) {
    let at = content_type.find(';').unwrap_or(content_type.len());
    let (essence, parameters) = content_type.split_at(at);
    (essence.trim_matches([' ', '\t']), parameters)
}

fn charset(parameters: &str) -> Option<&str> {
    let mut found = None;
    parse_parameters(parameters, |name, value| {
        if name.eq_ignore_ascii_case("charset") && found.is_none() {
            found = Some(value);
        }
    })?;
    found
}

/// Walks `;name=value` pairs (value: token or quoted string, given without its quotes). `None` if they are malformed.
fn parse_parameters<'a>(mut rest: &'a str, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
    const BLANK: [char; 2] = [' ', '\t'];
    loop {
        rest = rest.trim_start_matches(BLANK);
        if rest.is_empty() {
            return Some(());
        }
        rest = rest.strip_prefix(';')?.trim_start_matches(BLANK);
        if rest.is_empty() {
            return Some(()); // an empty last parameter is common and harmless
        }
        let (name, after) = rest.split_once('=')?;
        if !is_token(name) {
            return None;
        }
        if let Some(quoted) = after.strip_prefix('"') {
            let end = quoted_end(quoted)?;
            each(name, &quoted[..end]);
            rest = &quoted[end + 1..];
        } else {
            let end = after.find([';', ' ', '\t']).unwrap_or(after.len());
            if !is_token(&after[..end]) {
                return None;
            }
            each(name, &after[..end]);
            rest = &after[end..];
        }
    }
}

fn quoted_end(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn ends_with_ignore_case(text: &str, suffix: &str) -> bool {
    text.len()
        .checked_sub(suffix.len())
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_announces_the_mode() {
        for (content_type, mode) in [
            ("application/cloudevents+json", Mode::Structured),
            (
                "Application/CloudEvents+JSON; charset=UTF-8",
                Mode::Structured,
            ),
            (
                "application/cloudevents+json;charset=\"utf-8\"",
                Mode::Structured,
            ),
            ("application/cloudevents-batch+json", Mode::Batched),
            (
                "application/cloudevents-batch+json; charset=utf-8",
                Mode::Batched,
            ),
            ("application/cloudevents+avro", Mode::Unsupported),
            ("application/cloudevents", Mode::Unsupported),
            ("application/cloudevents-batch+protobuf", Mode::Unsupported),
            (
                "application/cloudevents+json; charset=iso-8859-1",
                Mode::Unsupported,
            ),
            ("application/cloudeventsx", Mode::Binary),
            ("application/json", Mode::Binary),
            ("", Mode::Binary),
        ] {
            assert_eq!(Mode::of_content_type(content_type), mode, "{content_type}");
        }
    }

    #[test]
    fn media_types_are_checked() {
        for legal in [
            "application/json",
            "text/plain; charset=utf-8",
            "a/b;c=d ; e=\"f;\\\"g\"",
            "application/vnd.x+json",
            "text/csv;",
        ] {
            assert!(is_legal(legal), "{legal}");
        }
        for illegal in [
            "",
            "xyz",
            "/json",
            "a/",
            "a b/c",
            "a/b; c",
            "a/b; c=",
            "a/b; c=\"d",
            "a/b c/d",
            "a/b/c",
            "é/x",
        ] {
            assert!(!is_legal(illegal), "{illegal}");
        }
    }

    #[test]
    fn json_and_text_are_told_by_type() {
        for json in [
            "application/json",
            "text/JSON",
            "application/vnd.github+json; v=3",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "application/jsonl",
            "application/xml",
            "json",
            "application/json5",
        ] {
            assert!(!is_json(other), "{other}");
        }
        for text in [
            "text/plain",
            "text/csv; charset=UTF-8",
            "application/xml",
            "image/svg+xml",
        ] {
            assert!(is_utf8_text(text), "{text}");
        }
        for binary in [
            "application/pdf",
            "application/octet-stream",
            "text/plain; charset=latin1",
            "nonsense",
        ] {
            assert!(!is_utf8_text(binary), "{binary}");
        }
    }
}
