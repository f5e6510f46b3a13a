//! One value out of a JSON text, without building a tree.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value's own text.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a>(&'a str);

impl<'a> Found<'a> {
    /// The text as it stands in the document.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// A string's content, a number's or boolean's own text; `None` for `null`, lists and objects.
    #[must_use]
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => {
                let inner = &self.0[1..self.0.len() - 1];
                if inner.contains('\\') {
                    serde_json::from_str(self.0).ok().map(Cow::Owned)
                } else {
                    Some(Cow::Borrowed(inner))
                }
            }
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }
}

/// Finds the value that `pointer` (RFC 6901) names. Of a repeated key the last one counts, as most readers have it.
/// `None` if `document` is not JSON or has no such value.
#[must_use]
pub fn pointer<'a>(document: &'a [u8], pointer: &str) -> Option<Found<'a>> {
    let path: Vec<Cow<'_, str>> = pointer
        .strip_prefix('/')?
        .split('/')
        .map(|step| match step.contains('~') {
            true => Cow::Owned(step.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(step),
        })
        .collect();
    let text = std::str::from_utf8(document).ok()?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = Walk(&path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found.map(|raw| Found(raw.get()))
}

struct Walk<'p>(&'p [Cow<'p, str>]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.0[0] {
                found = map.next_value_seed(Walk(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted: Option<usize> = self.0[0].parse().ok();
        let mut found = None;
        let mut index = 0;
        loop {
            if Some(index) == wanted {
                match list.next_element_seed(Walk(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str, at: &str) -> Option<String> {
        pointer(document.as_bytes(), at)?
            .into_text()
            .map(Cow::into_owned)
    }

    #[test]
    fn finds_values_and_keeps_their_text() {
        let document =
            r#"{"a":{"b":[1,{"c/d":"x\u00e9"}],"n":1.50,"big":12345678901234567890123},"z":null}"#;
        assert_eq!(text(document, "/a/b/1/c~1d").as_deref(), Some("xé"));
        assert_eq!(text(document, "/a/n").as_deref(), Some("1.50"));
        assert_eq!(
            text(document, "/a/big").as_deref(),
            Some("12345678901234567890123")
        );
        assert_eq!(text(document, "/a/b/0").as_deref(), Some("1"));
        for absent in ["/z", "/a", "/a/b/7", "/q", "/a/n/x"] {
            assert_eq!(text(document, absent), None, "{absent}");
        }
        assert_eq!(text(r#"{"a":1,"a":2}"#, "/a").as_deref(), Some("2"));
        assert_eq!(text(r#"{"a":1} trailing"#, "/a"), None);
        assert_eq!(text("not json", "/a"), None);
    }
}
