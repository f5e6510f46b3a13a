//! Durations as people write them: `30s`, `1h30m`, `250ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::split_number;

/// A duration written as numbers with units: `250ms`, `30s`, `5m`, `24h`, `7d`, `2w` or a sum such as `1h30m`.
///
/// A bare number is refused, because nobody can tell its unit by reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(Duration);

/// Why a text is not a [`HumanDuration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// Nothing was written.
    #[error("the duration is empty; write a number and a unit, such as `30s`")]
    Empty,
    /// A number without its unit.
    #[error("`{0}` has no unit; write for example `{0}s` for seconds or `{0}m` for minutes")]
    NoUnit(String),
    /// Something stands where a number belongs.
    #[error(
        "`{0}` is not a duration; write a number and a unit (ms, s, m, h, d, w), such as `30s` or `1h30m`"
    )]
    NotANumber(String),
    /// The unit is unknown.
    #[error("unknown unit `{unit}` in `{text}`; the units are ms, s, m (minutes), h, d and w")]
    UnknownUnit {
        /// What was written as unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than can be counted.
    #[error("`{0}` is too long; the longest duration is 36500d")]
    TooLong(String),
}

const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const LONGEST_MS: u64 = 36_500 * 86_400_000;

impl HumanDuration {
    /// The `format` under which the JSON Schema announces a duration.
    pub const FORMAT: &'static str = "human-duration";

    /// Wraps a duration; below a millisecond is cut off when printed.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// `seconds` seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(ParseDurationError::Empty);
        }
        let mut total_ms: u64 = 0;
        while !rest.is_empty() {
            let (digits, after) = split_number(rest);
            let unit_len = after
                .find(|c: char| !c.is_alphabetic() && c != 'µ')
                .unwrap_or(after.len());
            let (unit, tail) = after.split_at(unit_len);
            let number: u64 = digits
                .parse()
                .map_err(|_| ParseDurationError::NotANumber(text.to_owned()))?;
            if unit.is_empty() {
                return Err(match tail {
                    "" => ParseDurationError::NoUnit(text.trim().to_owned()),
                    _ => ParseDurationError::NotANumber(text.to_owned()),
                });
            }
            let Some((_, ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(ParseDurationError::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                });
            };
            total_ms = number
                .checked_mul(*ms)
                .and_then(|ms| ms.checked_add(total_ms))
                .filter(|ms| *ms <= LONGEST_MS)
                .ok_or_else(|| ParseDurationError::TooLong(text.to_owned()))?;
            rest = tail.trim_start();
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, ms) in UNITS {
            if rest >= ms && unit != "w" {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = ParseDurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> Self {
        duration.to_string()
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("2w", 1_209_600_000),
            ("1m 5s", 65_000),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse(),
                Ok(HumanDuration(Duration::from_millis(ms))),
                "{text}"
            );
        }
    }

    #[test]
    fn says_what_to_write_instead() {
        let errors = [
            "",
            "30",
            "ten seconds",
            "5min",
            "-3s",
            "1.5h",
            "99999999w",
            "1h30",
        ]
        .map(|text| text.parse::<HumanDuration>().unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r"
        the duration is empty; write a number and a unit, such as `30s`
        `30` has no unit; write for example `30s` for seconds or `30m` for minutes
        `ten seconds` is not a duration; write a number and a unit (ms, s, m, h, d, w), such as `30s` or `1h30m`
        unknown unit `min` in `5min`; the units are ms, s, m (minutes), h, d and w
        `-3s` is not a duration; write a number and a unit (ms, s, m, h, d, w), such as `30s` or `1h30m`
        `1.5h` is not a duration; write a number and a unit (ms, s, m, h, d, w), such as `30s` or `1h30m`
        `99999999w` is too long; the longest duration is 36500d
        `1h30` has no unit; write for example `1h30s` for seconds or `1h30m` for minutes
        ");
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(ms in 0..LONGEST_MS) {
            let duration = HumanDuration(Duration::from_millis(ms));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>(), Ok(duration));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
