//! Points in time as text: UTC, so that lines of several hosts sort together.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 with nanoseconds: `2026-11-23T05:33:07.123456789Z`.
#[must_use]
pub fn rfc3339(unix_ns: i128) -> String {
    point(unix_ns).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// For people: `2026-11-23 05:33:07.123Z`.
pub(super) fn plain(unix_ns: i128) -> String {
    point(unix_ns).format("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// A time outside of the years 1677 to 2262 is no time of an access: the nearer end.
fn point(unix_ns: i128) -> DateTime<Utc> {
    let fallback = if unix_ns < 0 { i64::MIN } else { i64::MAX };
    DateTime::from_timestamp_nanos(i64::try_from(unix_ns).unwrap_or(fallback))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_utc() {
        assert_eq!(super::rfc3339(1_795_412_345_000_000_042), "2026-11-23T05:39:05.000000042Z");
        assert_eq!(super::plain(1_795_412_345_987_654_321), "2026-11-23 05:39:05.987Z");
        assert_eq!(super::rfc3339(i128::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(super::plain(-1), "1969-12-31 23:59:59.999Z");
    }
}
