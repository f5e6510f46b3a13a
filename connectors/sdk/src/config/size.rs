//! Sizes in bytes as people write them: `64MB`, `512KiB`, `1048576`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::split_number;

/// A number of bytes: `64MB` (decimal), `64MiB` (binary), or a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not a [`ByteSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// No number at the start.
    #[error(
        "`{0}` is not a size; write a number and a unit (B, KB, MB, GB, TB or KiB, MiB, GiB, TiB), such as `64MB`"
    )]
    NotANumber(String),
    /// The unit is unknown.
    #[error(
        "unknown unit `{unit}` in `{text}`; the units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)"
    )]
    UnknownUnit {
        /// What was written as unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than can be counted.
    #[error("`{0}` is more bytes than can be counted")]
    TooLarge(String),
}

const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
];

impl ByteSize {
    /// The `format` under which the JSON Schema announces a size.
    pub const FORMAT: &'static str = "byte-size";

    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `n` × 1,000,000 bytes.
    pub const fn from_mb(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// `n` × 1,048,576 bytes.
    pub const fn from_mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory, `usize::MAX` where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, unit) = split_number(text.trim());
        let unit = unit.trim();
        if digits.is_empty() || digits.contains('.') {
            return Err(ParseSizeError::NotANumber(text.to_owned()));
        }
        let number: u64 = digits
            .replace('_', "")
            .parse()
            .map_err(|_| ParseSizeError::TooLarge(text.to_owned()))?;
        let factor = match unit {
            "" | "B" | "b" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor)
                .ok_or_else(|| ParseSizeError::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                })?,
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| ParseSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `64MB` or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": Self::FORMAT, "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("64MB", 64_000_000),
            ("64 MiB", 67_108_864),
            ("512", 512),
            ("1_000kb", 1_000_000),
            ("0B", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(
            serde_json::from_str::<ByteSize>("512").unwrap(),
            ByteSize(512)
        );
    }

    #[test]
    fn says_what_to_write_instead() {
        let errors = ["", "big", "1.5GB", "64M", "99999999TB"]
            .map(|text| text.parse::<ByteSize>().unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r"
        `` is not a size; write a number and a unit (B, KB, MB, GB, TB or KiB, MiB, GiB, TiB), such as `64MB`
        `big` is not a size; write a number and a unit (B, KB, MB, GB, TB or KiB, MiB, GiB, TiB), such as `64MB`
        `1.5GB` is not a size; write a number and a unit (B, KB, MB, GB, TB or KiB, MiB, GiB, TiB), such as `64MB`
        unknown unit `M` in `64M`; the units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)
        `99999999TB` is more bytes than can be counted
        ");
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
