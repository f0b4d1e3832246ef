//! Points in time as people type and read them. UTC unless said otherwise, as everything else that dkimwatch prints.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use crate::print;

/// Nanoseconds of an hour.
pub(super) const HOUR: i64 = 3_600_000_000_000;

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time: write 2026-11-28, \"2026-11-28 14:00\", 2026-11-28T14:00:00+01:00, or how long ago it is: 90m, 2h, 7d, 4w"
)]
pub struct NoTime(String);

/// Which end of a range a time is: a day alone is its first moment, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// From then on.
    Since,
    /// Until then.
    Until,
}

/// Reads a time; `now` is what a duration counts back from. Nanoseconds since the Unix epoch.
///
/// # Errors
/// The text is none.
pub fn parse(text: &str, end: End, now: i64) -> Result<i64, NoTime> {
    let no = || NoTime(text.to_owned());
    let trimmed = text.trim();
    if let Some(ago) = duration(trimmed) {
        return now.checked_sub(ago).ok_or_else(no);
    }
    let utc = |naive: NaiveDateTime| naive.and_utc();
    let with_zone = || DateTime::parse_from_rfc3339(trimmed).ok().map(|time| time.to_utc());
    let without = || {
        ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
            .into_iter()
            .find_map(|format| NaiveDateTime::parse_from_str(trimmed, format).ok())
            .map(utc)
    };
    let day = || {
        let day = NaiveDate::parse_from_str(trimmed, "%Y-%m-%d").ok()?;
        let day = match end {
            End::Since => day,
            End::Until => day.succ_opt()?,
        };
        Some(utc(day.and_time(NaiveTime::MIN)))
    };
    let time = with_zone().or_else(without).or_else(day).ok_or_else(no)?;
    time.timestamp_nanos_opt().ok_or_else(no)
}

/// `90s`, `30m`, `2h`, `7d`, `4w`: nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000_000)
}

/// Now, nanoseconds since the Unix epoch.
#[must_use]
pub fn now() -> i64 {
    Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX)
}

/// For people: `2026-11-23 05:33:07 UTC`.
#[must_use]
pub fn plain(unix_ns: i64) -> String {
    DateTime::from_timestamp_nanos(unix_ns).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The same without the zone, for columns that name it: `2026-11-23 05:33:07`.
#[must_use]
pub fn short(unix_ns: i64) -> String {
    DateTime::from_timestamp_nanos(unix_ns).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// For programs: RFC 3339 with nanoseconds.
#[must_use]
pub fn rfc3339(unix_ns: i64) -> String {
    print::rfc3339(unix_ns.into())
}

/// How long something took, for people: its two greatest units.
pub struct Long(pub i64);

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0) / 1_000_000_000;
        let units =
            [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
        let mut left = 2;
        for (number, unit) in units.into_iter().skip_while(|(number, _)| *number == 0) {
            if left == 0 {
                break;
            }
            if number > 0 {
                if left < 2 {
                    f.write_str(" ")?;
                }
                write!(f, "{number} {unit}")?;
            }
            left -= 1;
        }
        if seconds == 0 { f.write_str("less than 1 s") } else { Ok(()) }
    }
}

/// The hour of a day, UTC.
pub(super) fn hour_of_day(unix_ns: i64) -> usize {
    usize::try_from(unix_ns.div_euclid(HOUR).rem_euclid(24)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        let now = 1_795_900_000_000_000_000;
        let since = |text: &str| parse(text, End::Since, now).map(plain);
        let until = |text: &str| parse(text, End::Until, now).map(plain);
        assert_eq!(since("2026-11-28").as_deref(), Ok("2026-11-28 00:00:00 UTC"));
        assert_eq!(until("2026-11-28").as_deref(), Ok("2026-11-29 00:00:00 UTC"), "a day's whole length");
        for text in [
            "2026-11-28 14:00",
            "2026-11-28T14:00",
            "2026-11-28 14:00:00",
            "2026-11-28T15:00:00+01:00",
            "2026-11-28T14:00:00.000Z",
        ] {
            assert_eq!(since(text).as_deref(), Ok("2026-11-28 14:00:00 UTC"), "{text}");
            assert_eq!(since(text), until(text));
        }
        assert_eq!(parse("2h", End::Since, now), Ok(now - 2 * HOUR));
        assert_eq!(parse("7d", End::Since, now), Ok(now - 7 * 24 * HOUR));
        for wrong in [
            "",
            "h",
            "-2h",
            "2.5h",
            "2 hours",
            "yesterday",
            "2026-13-01",
            "28.11.2026",
            "99999999999999999d",
            "9999-01-01",
        ] {
            let error = since(wrong).expect_err(wrong);
            assert!(error.to_string().contains("2026-11-28"), "{error}");
        }
    }

    #[test]
    fn lengths_are_their_two_greatest_units() {
        let long = |seconds: i64| Long(seconds * 1_000_000_000).to_string();
        assert_eq!(long(0), "less than 1 s");
        assert_eq!(long(59), "59 s");
        assert_eq!(long(3_600), "1 h");
        assert_eq!(long(3_661), "1 h 1 min");
        assert_eq!(long(86_400 + 59), "1 d");
        assert_eq!(long(2 * 86_400 + 3_600 * 5), "2 d 5 h");
    }

    #[test]
    fn hours_of_the_day_are_those_of_utc_before_the_epoch_too() {
        assert_eq!((hour_of_day(0), hour_of_day(-1), hour_of_day(25 * HOUR)), (0, 23, 1));
    }
}
