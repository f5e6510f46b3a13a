//! Patterns of names: event types, topics, tables, collections.

/// Whether all of `text` is what `pattern` says, where `*` stands for any characters, also none. Nothing else is special.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text) in [
            ("a.v1", "a.v1"),
            ("*", ""),
            ("*", "anything"),
            ("acme.*", "acme."),
            ("acme.*.v1", "acme.order.v1"),
            ("*.v1", "a.v1.v1"),
            ("a.*.v*", "a.b.c.v12"),
            ("*.a*c", "x.abc"),
            ("a*b*c", "abbc"),
            ("a*b*c", "axbxc"),
            ("a*a", "aa"),
            ("a**b", "ab"),
            ("grü*", "grüße"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("a.v1", "a.v12"),
            ("a.*", "b.a.v1"),
            ("acme.*.v1", "acme.v1"),
            ("*.v1", "a.v2"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("a*b*c", "axcxb"),
            ("*.a*c", "x.abd"),
            ("invoice.*", "xinvoice.paid.v1"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
