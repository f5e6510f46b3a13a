//! Instants as RFC 3339, read strictly and written fast.
//!
//! Source: RFC 3339 section 5.6. `T` and `Z` may be lower case, seconds may be 60, the offset `-00:00` is legal; the space
//! instead of `T`, offsets without minutes and times without seconds are not. Digits beyond the nanosecond are cut off.

use bytes::BufMut;
use jiff::Timestamp;
use jiff::civil::{Date, Time};

/// Bytes that `write` needs at most: `-YYYYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
pub const MAX_LEN: usize = 33;

/// Why a text is not an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeError {
    /// It is not an RFC 3339 date and time.
    Form,
    /// It is one, but later than the last instant that this gateway can hold (9999-12-30T22:00:00Z).
    TooLate,
}

/// The instant that `text` names.
///
/// # Errors
/// [`TimeError`], see there.
pub fn parse(text: &str) -> Result<Timestamp, TimeError> {
    parse_fields(text.as_bytes()).ok_or(TimeError::Form)?
}

/// `None`: not of the form. The inner error: beyond what can be held.
fn parse_fields(text: &[u8]) -> Option<Result<Timestamp, TimeError>> {
    let (head, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| head[at] != byte) || !matches!(head[10], b'T' | b't') {
        return None;
    }
    let year = digits(&head[0..4])?;
    let date = Date::new(
        i16::try_from(year).ok()?,
        two(&head[5..7])?,
        two(&head[8..10])?,
    )
    .ok()?;
    let (hour, minute, second) = (
        two(&head[11..13])?,
        two(&head[14..16])?,
        two(&head[17..19])?,
    );
    if second > 60 {
        return None;
    }
    let (nanos, offset) = fraction(rest)?;
    // A leap second is the last instant of its minute: the scale has no room for it.
    let (second, nanos) = if second == 60 {
        (59, 999_999_999)
    } else {
        (second, nanos)
    };
    let time = Time::new(hour, minute, second, nanos).ok()?;
    let offset_seconds = offset_seconds(offset)?;
    let utc = date
        .to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(Err(TimeError::TooLate), |zoned| Ok(zoned.timestamp()));
    Some(utc.and_then(|at| {
        at.checked_sub(jiff::SignedDuration::from_secs(offset_seconds))
            .map_err(|_| TimeError::TooLate)
    }))
}

/// The fraction of a second in nanoseconds and what follows it.
fn fraction(rest: &[u8]) -> Option<(i32, &[u8])> {
    let Some(after_point) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = after_point
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    if length == 0 {
        return None;
    }
    let (fraction, rest) = after_point.split_at(length);
    let nanos = (0..9).fold(0, |sum, at| {
        sum * 10 + i32::from(fraction.get(at).map_or(0, |digit| digit - b'0'))
    });
    Some((nanos, rest))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    match offset {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(&[*h1, *h2])?, two(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn two(text: &[u8]) -> Option<i8> {
    i8::try_from(digits(text)?).ok()
}

fn digits(text: &[u8]) -> Option<i32> {
    text.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i32::from(byte - b'0'))
    })
}

/// Appends `at` in UTC: `2026-01-02T03:04:05Z`, with three, six or nine digits of a second when there is a fraction.
/// Years before 0 and after 9999, which RFC 3339 cannot say, are written with a sign and six digits as ISO 8601 does.
pub fn write(at: Timestamp, out: &mut impl BufMut) {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let mut text = [0_u8; MAX_LEN];
    let mut at = if (0..=9999).contains(&year) {
        put(&mut text, 0, year.unsigned_abs(), 4)
    } else {
        text[0] = if year < 0 { b'-' } else { b'+' };
        put(&mut text, 1, year.unsigned_abs(), 6)
    };
    for (separator, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', second_of_day.unsigned_abs() / 3600),
        (b':', second_of_day.unsigned_abs() / 60 % 60),
        (b':', second_of_day.unsigned_abs() % 60),
    ] {
        text[at] = separator;
        at = put(&mut text, at + 1, number, 2);
    }
    let nanos = u64::from(nanos.unsigned_abs());
    if nanos != 0 {
        text[at] = b'.';
        at = if nanos.is_multiple_of(1_000_000) {
            put(&mut text, at + 1, nanos / 1_000_000, 3)
        } else if nanos.is_multiple_of(1_000) {
            put(&mut text, at + 1, nanos / 1_000, 6)
        } else {
            put(&mut text, at + 1, nanos, 9)
        };
    }
    text[at] = b'Z';
    out.put_slice(&text[..=at]);
}

/// `at` as `write` writes it.
#[must_use]
pub fn text(at: Timestamp) -> String {
    let mut text = Vec::with_capacity(MAX_LEN);
    write(at, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn put(text: &mut [u8], at: usize, mut number: u64, width: usize) -> usize {
    for slot in text[at..at + width].iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    at + width
}

/// Year, month and day of a day count since 1970-01-01 in the proleptic Gregorian calendar: eras of 400 years, years that
/// begin in March, so that the leap day comes last.
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_rfc_3339_allows() {
        for (text, utc) in [
            ("2018-04-05T17:31:00Z", "2018-04-05T17:31:00Z"),
            ("2018-04-05t17:31:00z", "2018-04-05T17:31:00Z"),
            ("2018-04-05T18:31:00+01:00", "2018-04-05T17:31:00Z"),
            ("2018-04-05T16:31:00-01:00", "2018-04-05T17:31:00Z"),
            ("2018-04-05T17:31:00-00:00", "2018-04-05T17:31:00Z"),
            ("2018-04-05T17:31:00.000000000Z", "2018-04-05T17:31:00Z"),
            ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520Z"),
            ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57Z"),
            ("1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870Z"),
            ("1990-12-31T23:59:60Z", "1990-12-31T23:59:59.999999999Z"),
            (
                "2018-04-05T17:31:00.1234567899Z",
                "2018-04-05T17:31:00.123456789Z",
            ),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(parse(text).map(super::text).as_deref(), Ok(utc), "{text}");
        }
    }

    #[test]
    fn refuses_what_rfc_3339_does_not_allow() {
        for text in [
            "",
            "lunchtime",
            "2018-04-05T18:31Z",
            "2018-04-05T18:31:00X",
            "2018-04-05T18:31:00+25:00",
            "2018-04-05T18:31:00+xx:00",
            "2018-04-05T18:31:00+05",
            "2018-04-05T18:31:00+0500",
            "2018-04-05 18:31:00Z",
            "2018-04-05T18:31:00",
            "2018-04-05T18:31:00.Z",
            "2018-02-30T00:00:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T23:60:00Z",
            "2018-04-05T23:59:61Z",
            "2018-04-05T18:31:00Z ",
            "+018-04-05T18:31:00Z",
            "2018-04-05T18:31:00+01:60",
            "2018-04-05T18:31:0０Z",
            "2018-04-05T18:31:00,5Z",
            "20180405T183100Z",
        ] {
            assert_eq!(parse(text), Err(TimeError::Form), "{text}");
        }
        assert_eq!(parse("9999-12-31T23:59:59Z"), Err(TimeError::TooLate));
    }

    proptest! {
        #[test]
        fn writes_as_the_library_does_and_reads_it_back(nanos in i128::from(-62_135_596_800_i64) * 1_000_000_000..253_402_207_200_i128 * 1_000_000_000) {
            let at = Timestamp::from_nanosecond(nanos).expect("in range");
            let text = text(at);
            prop_assert_eq!(text.parse::<Timestamp>().expect("the library reads it"), at);
            prop_assert_eq!(parse(&text), Ok(at));
        }
    }
}
