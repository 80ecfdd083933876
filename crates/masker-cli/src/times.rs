//! Times that users write in arguments.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::context::CommandError;

/// Parses a time in RFC 3339, or a date, which is its first moment in UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    if text.len() == "2026-01-31".len() {
        let day: Date = text.parse().ok()?;
        return Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    text.parse().ok()
}

/// Parses a time, a date, or a duration before `now` such as `24h`, and returns the time.
///
/// # Errors
/// [`CommandError::Usage`] with the name of the option.
pub(crate) fn parse_past(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, CommandError> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let ago = units.iter().find_map(|(unit, seconds)| {
        let count: u32 = text.strip_suffix(*unit)?.parse().ok()?;
        now.checked_sub(SignedDuration::from_secs(i64::from(count) * seconds)).ok()
    });
    ago.or_else(|| parse_time(text)).ok_or_else(|| {
        let forms = "a duration such as 24h, a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z";
        CommandError::Usage(format!("{option}: expected {forms}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_past_time_is_a_duration_a_date_or_a_time() {
        let now: Timestamp = "2027-01-31T10:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2027-01-30T10:00:00Z"),
            ("30m", "2027-01-31T09:30:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(parse_past("--since", text, now).unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "h", "1.5h", "-1h", "99999999999d", "4294967295d", "one day", "yesterday", "2026-02-30"] {
            let error = parse_past("--since", wrong, now).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{wrong}");
            assert!(error.to_string().contains("such as 24h"), "{error}");
        }
    }
}
