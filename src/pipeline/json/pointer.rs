//! JSON pointers (RFC 6901).

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::Deserialize;

/// A place in JSON data: `/customer/id`, `/items/0`; `~1` is a slash in a name, `~0` a tilde. Never the whole document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("format" = Self::FORMAT))]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// The `format` under which the JSON Schema announces a pointer.
    pub const FORMAT: &'static str = "data-pointer";

    /// The names on the way, at least one.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The place that holds this one, and the name in there.
    pub(super) fn split_last(&self) -> (&[String], &str) {
        let (last, parent) = self.0.split_last().expect("a pointer has a segment");
        (parent, last)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let rest = text.strip_prefix('/').ok_or(PointerError(
            "a JSON pointer begins with `/`: write `/name` or `/outer/inner`",
        ))?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            let mut name = String::with_capacity(segment.len());
            let mut chars = segment.chars();
            while let Some(c) = chars.next() {
                name.push(match (c, c == '~') {
                    (_, true) => match chars.next() {
                        Some('0') => '~',
                        Some('1') => '/',
                        _ => {
                            return Err(PointerError(
                                "`~` in a JSON pointer is written `~0`, a slash in a name `~1`",
                            ));
                        }
                    },
                    (c, false) => c,
                });
            }
            segments.push(name);
        }
        Ok(Self(segments))
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}

/// A text that is no JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PointerError(&'static str);
