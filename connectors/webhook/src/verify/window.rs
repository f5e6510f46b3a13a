//! How old a request may be.

use std::borrow::Cow;

use jiff::{Timestamp, Zoned, civil::DateTime, fmt::rfc2822, tz::TimeZone};

use super::{Incoming, Reason, SignatureRule, TimeUnit, TimestampRule};

/// The time of sending: as text, which is what is signed, and as an instant.
#[derive(Debug, Clone)]
pub(super) struct Stamp<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) instant: Timestamp,
}

impl TimestampRule {
    /// Where it stands, for people.
    pub(super) fn place(&self, signature: Option<&SignatureRule>) -> String {
        match (&self.from, &self.item, signature) {
            (Some(place), _, _) => place.to_string(),
            (None, Some(item), Some(rule)) => format!("{item}… in {}", rule.from),
            (None, item, _) => item.clone().unwrap_or_default(),
        }
    }

    /// Reads it. `None` only if it is optional and absent.
    pub(super) fn read<'a>(
        &self,
        request: &Incoming<'a>,
        signature: Option<&SignatureRule>,
    ) -> Result<Option<Stamp<'a>>, Reason> {
        let texts: Vec<Cow<'a, str>> = match (&self.from, &self.item, signature) {
            (Some(place), _, _) => place.read(request).into_iter().collect(),
            (None, Some(prefix), Some(rule)) => rule
                .items(request)
                .into_iter()
                .filter_map(|item| strip(item, prefix))
                .collect(),
            _ => Vec::new(),
        };
        if texts.is_empty() {
            return match self.optional {
                true => Ok(None),
                false => Err(Reason::MissingTimestamp(self.place(signature))),
            };
        }
        texts
            .into_iter()
            .find_map(|text| {
                let instant = parse(&text, self.unit)?;
                Some(Stamp { text, instant })
            })
            .map(Some)
            .ok_or_else(|| Reason::MalformedTimestamp {
                place: self.place(signature),
                wanted: words(self.unit),
            })
    }

    /// Checks both ends of the window.
    pub(super) fn check(&self, stamp: &Stamp<'_>, now: Timestamp) -> Result<(), Reason> {
        let age_ms = now.as_millisecond() - stamp.instant.as_millisecond();
        let past = i64::try_from(self.past.get().as_millis()).unwrap_or(i64::MAX);
        let future = i64::try_from(self.future.get().as_millis()).unwrap_or(i64::MAX);
        // A clock that shows whole seconds cannot tell fractions of one.
        let slack = 999;
        if age_ms > past.saturating_add(slack) {
            return Err(Reason::Stale {
                age: age_ms / 1000,
                limit: past / 1000,
            });
        }
        if age_ms.saturating_neg() > future.saturating_add(slack) {
            return Err(Reason::Future {
                ahead: -age_ms / 1000,
                limit: future / 1000,
            });
        }
        Ok(())
    }
}

impl SignatureRule {
    /// The value's items: everything between separators, without surrounding blanks.
    pub(super) fn items<'a>(&self, request: &Incoming<'a>) -> Vec<Cow<'a, str>> {
        let mut items = Vec::new();
        for value in self.from.read_every(request) {
            let Some(separator) = &self.separator else {
                items.push(value);
                continue;
            };
            match value {
                Cow::Borrowed(text) => {
                    items.extend(
                        text.split(separator.as_str())
                            .map(|item| Cow::Borrowed(item.trim())),
                    );
                }
                Cow::Owned(text) => items.extend(
                    text.split(separator.as_str())
                        .map(|item| Cow::Owned(item.trim().to_owned())),
                ),
            }
        }
        items
    }
}

/// What follows `prefix`, if the item starts with it.
pub(super) fn strip<'a>(item: Cow<'a, str>, prefix: &str) -> Option<Cow<'a, str>> {
    match item {
        Cow::Borrowed(text) => text.strip_prefix(prefix).map(Cow::Borrowed),
        Cow::Owned(text) => text
            .strip_prefix(prefix)
            .map(|rest| Cow::Owned(rest.to_owned())),
    }
}

pub(super) fn words(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::S => "a number of seconds since 1970",
        TimeUnit::Ms => "a number of milliseconds since 1970",
        TimeUnit::Rfc3339 => "an RFC 3339 time",
        TimeUnit::ScalrDate => "a date",
    }
}

fn parse(text: &str, unit: TimeUnit) -> Option<Timestamp> {
    let number = || -> Option<i64> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    match unit {
        TimeUnit::S => Timestamp::from_second(number()?).ok(),
        TimeUnit::Ms => Timestamp::from_millisecond(number()?).ok(),
        TimeUnit::Rfc3339 => text.parse().ok(),
        TimeUnit::ScalrDate => {
            let named = text
                .strip_suffix(" UTC")
                .or_else(|| text.strip_suffix(" GMT"))
                .and_then(|rest| DateTime::strptime("%a %d %b %Y %H:%M:%S", rest).ok())
                .and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
            named
                .or_else(|| rfc2822::parse(text).ok())
                .map(|zoned: Zoned| zoned.timestamp())
        }
    }
}

/// Writes `instant` as a sender would.
pub(super) fn write(instant: Timestamp, unit: TimeUnit) -> String {
    match unit {
        TimeUnit::S => instant.as_second().to_string(),
        TimeUnit::Ms => instant.as_millisecond().to_string(),
        TimeUnit::Rfc3339 => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        TimeUnit::ScalrDate => instant.strftime("%a %d %b %Y %H:%M:%S UTC").to_string(),
    }
}
