//! Dates and times: `DateStyle=ISO`, `TimeZone=UTC` to ISO 8601, over the whole of Postgres' range.

/// `2024-01-02 03:04:05.6` → `"2024-01-02T03:04:05.6"`.
#[inline]
pub(super) fn timestamp(text: &str, out: &mut Vec<u8>) -> bool {
    date_time(text, false, out)
}

/// `2024-01-02 03:04:05.6+00` → `"2024-01-02T03:04:05.6Z"`.
#[inline]
pub(super) fn timestamp_tz(text: &str, out: &mut Vec<u8>) -> bool {
    date_time(text, true, out)
}

/// `0044-03-15 BC` → `"-000043-03-15"`.
pub(super) fn date(text: &str, out: &mut Vec<u8>) -> bool {
    let (text, before_christ) = era(text);
    let start = out.len();
    out.push(b'"');
    if calendar_date(text, before_christ, out) {
        out.push(b'"');
        true
    } else {
        out.truncate(start);
        false
    }
}

/// `03:04:05+02` → `"03:04:05+02:00"`.
pub(super) fn time_tz(text: &str, out: &mut Vec<u8>) -> bool {
    let Some(sign) = text.rfind(['+', '-']).filter(|_| is_plain(text)) else {
        return false;
    };
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    if text.len() - sign == 3 {
        out.extend_from_slice(b":00");
    }
    out.push(b'"');
    true
}

#[inline]
fn date_time(text: &str, zoned: bool, out: &mut Vec<u8>) -> bool {
    let (text, before_christ) = era(text);
    let Some((date, time)) = text.split_once(' ') else {
        return false;
    };
    if !is_plain(time) {
        return false;
    }
    let time = if zoned {
        match time.strip_suffix("+00") {
            Some(time) => time,
            None => return false,
        }
    } else {
        time
    };
    let start = out.len();
    out.push(b'"');
    if !calendar_date(date, before_christ, out) {
        out.truncate(start);
        return false;
    }
    out.push(b'T');
    out.extend_from_slice(time.as_bytes());
    if zoned {
        out.push(b'Z');
    }
    out.push(b'"');
    true
}

/// Whether `text` is made of what dates and times are made of, and so needs no escaping.
#[inline]
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b':' | b'.' | b'+' | b'-'))
}

fn era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

#[inline]
fn calendar_date(date: &str, before_christ: bool, out: &mut Vec<u8>) -> bool {
    if !is_plain(date) {
        return false;
    }
    let bytes = date.as_bytes();
    if bytes.len() == 10 && !before_christ && bytes[4] == b'-' {
        out.extend_from_slice(bytes);
        return true;
    }
    // `infinity` and `-infinity` have no year.
    let Some((year, rest)) = date.split_once('-') else {
        return false;
    };
    let Ok(year) = year.parse::<i64>() else {
        return false;
    };
    // 1 BC is the year 0.
    let year = if before_christ { 1 - year } else { year };
    if (0..=9999).contains(&year) {
        out.extend_from_slice(format!("{year:04}-{rest}").as_bytes());
    } else {
        let sign = if year < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{sign}{:06}-{rest}", year.abs()).as_bytes());
    }
    true
}
