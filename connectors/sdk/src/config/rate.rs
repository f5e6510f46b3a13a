//! Rates as people write them: `100/minute`, `20/s`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// So many events in a period: `20/second`, `100/minute`, `5000/hour`, `100000/day` (or `20/s`, `100/m`, `5000/h`, `100000/d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    events: NonZeroU32,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

/// Why a text is not a [`Rate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRateError {
    /// Not of the form number, slash, period.
    #[error("`{0}` is not a rate; write a number, a slash and a period, such as `100/minute`")]
    Shape(String),
    /// Zero events, which would stop everything.
    #[error(
        "a rate of zero lets nothing through; write at least `1/{0}`, or pause the source instead"
    )]
    Zero(String),
    /// More events than can be counted.
    #[error("`{0}` is more events than can be counted; the most is 4294967295")]
    TooMany(String),
    /// The period is unknown.
    #[error("unknown period `{period}` in `{text}`; the periods are second, minute, hour and day")]
    UnknownPeriod {
        /// What was written as period.
        period: String,
        /// The whole text.
        text: String,
    },
}

impl Rate {
    /// The `format` under which the JSON Schema announces a rate.
    pub const FORMAT: &'static str = "rate";

    /// How many events.
    pub const fn events(self) -> NonZeroU32 {
        self.events
    }

    /// In which time.
    pub const fn period(self) -> Duration {
        Duration::from_secs(match self.period {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
        })
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || ParseRateError::Shape(text.to_owned());
        let (events, period) = text.split_once('/').ok_or_else(shape)?;
        let (events, period) = (events.trim(), period.trim());
        if events.is_empty()
            || period.is_empty()
            || !events.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        {
            return Err(shape());
        }
        let events: u32 = events
            .replace('_', "")
            .parse()
            .map_err(|_| ParseRateError::TooMany(events.to_owned()))?;
        let events =
            NonZeroU32::new(events).ok_or_else(|| ParseRateError::Zero(period.to_owned()))?;
        let period = match period {
            "s" | "sec" | "second" => Period::Second,
            "m" | "min" | "minute" => Period::Minute,
            "h" | "hour" => Period::Hour,
            "d" | "day" => Period::Day,
            _ => {
                return Err(ParseRateError::UnknownPeriod {
                    period: period.to_owned(),
                    text: text.to_owned(),
                });
            }
        };
        Ok(Self { events, period })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => "second",
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
        };
        write!(f, "{}/{period}", self.events)
    }
}

impl TryFrom<String> for Rate {
    type Error = ParseRateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
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
        let rate: Rate = "100/minute".parse().unwrap();
        assert_eq!(
            (rate.events().get(), rate.period()),
            (100, Duration::from_secs(60))
        );
        assert_eq!("20 / s".parse::<Rate>().unwrap().to_string(), "20/second");
        assert_eq!("5_000/h".parse::<Rate>().unwrap().to_string(), "5000/hour");
    }

    #[test]
    fn says_what_to_write_instead() {
        let errors = [
            "100",
            "100 per minute",
            "0/minute",
            "99999999999/s",
            "100/fortnight",
            "1.5/s",
            "/s",
        ]
        .map(|text| text.parse::<Rate>().unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r"
        `100` is not a rate; write a number, a slash and a period, such as `100/minute`
        `100 per minute` is not a rate; write a number, a slash and a period, such as `100/minute`
        a rate of zero lets nothing through; write at least `1/minute`, or pause the source instead
        `99999999999` is more events than can be counted; the most is 4294967295
        unknown period `fortnight` in `100/fortnight`; the periods are second, minute, hour and day
        `1.5/s` is not a rate; write a number, a slash and a period, such as `100/minute`
        `/s` is not a rate; write a number, a slash and a period, such as `100/minute`
        ");
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(events in 1..=u32::MAX, period in prop::sample::select(vec!["second", "minute", "hour", "day"])) {
            let text = format!("{events}/{period}");
            prop_assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<Rate>();
        }
    }
}
