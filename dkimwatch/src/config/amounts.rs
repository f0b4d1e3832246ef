//! Amounts as people type them: `64MiB`, `10m`, `1d`.

use std::time::Duration;

/// A number and a unit of time.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = parts(text);
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("a duration is a number and s, m, h or d, for instance 30s".to_owned()),
    };
    amount(text, number, seconds).map(Duration::from_secs)
}

/// A number and a unit of bytes.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = parts(text);
    let bytes = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("a size is a number and KiB, MiB, GiB or TiB, for instance 64MiB".to_owned()),
    };
    amount(text, number, bytes)
}

fn parts(text: &str) -> (&str, &str) {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    (digits, text.get(digits.len()..).unwrap_or_default())
}

fn amount(text: &str, number: &str, unit: u64) -> Result<u64, String> {
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "1w", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        for wrong in ["", "64", "64MB", "MiB", "-1KiB", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
