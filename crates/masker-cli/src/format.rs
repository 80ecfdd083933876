//! Numbers and times as text for people.

use std::io;

use masker_types::grant::Limits;

/// Formats a rate. A small one has a digit after the point.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        ..0.05 => "0".to_owned(),
        ..9.95 => format!("{per_second:.1}"),
        ..999.5 => format!("{per_second:.0}"),
        _ => grouped(per_second.round() as u64),
    }
}

/// Formats the duration of a request.
pub(crate) fn latency(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Formats a count with a comma between groups of three digits.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a span of time with its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Formats a number of bytes.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut amount, mut unit) = (count as f64, "bytes");
    for larger in units {
        if amount < 1_024.0 {
            break;
        }
        (amount, unit) = (amount / 1_024.0, larger);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{amount:.1} {unit}") }
}

/// Returns the day of a time in RFC 3339, or `-`.
pub(crate) fn day(at: Option<String>) -> String {
    at.and_then(|at| at.split_once('T').map(|(day, _)| day.to_owned())).unwrap_or_else(|| "-".to_owned())
}

/// Formats an error of the operating system without its number.
pub(crate) fn io_error(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Formats limits: `none`, or each with its number.
pub(crate) fn limits(limits: &Limits) -> String {
    if limits.is_unlimited() {
        return "none".to_owned();
    }
    let each: Vec<String> = limits.iter().map(|(limit, number)| format!("{limit}={number}")).collect();
    let each = each.join(",");
    if *limits == Limits::standard() { format!("standard: {each}") } else { each }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_numbers_with_few_digits() {
        let rates = [0.0, 0.04, 0.06, 9.9, 9.96, 123.4, 999.6, 1_234_567.0].map(rate);
        assert_eq!(rates, ["0", "0", "0.1", "9.9", "10", "123", "1,000", "1,234,567"]);
        let latencies = [None, Some(0.000_05), Some(0.001_25), Some(0.025), Some(2.5)].map(latency);
        assert_eq!(latencies, ["-", "50 µs", "1.2 ms", "25 ms", "2.5 s"]);
        assert_eq!([0, 999, 1_000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
        assert_eq!([59, 61, 3_661, 90_000].map(span), ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn an_error_of_the_system_has_no_number() {
        assert_eq!(io_error(&io::Error::from_raw_os_error(libc::ENOENT)), "No such file or directory");
        assert_eq!(io_error(&io::Error::other("cut short")), "cut short");
    }

    #[test]
    fn a_time_is_shortened_to_its_day() {
        assert_eq!(day(Some("2027-02-04T08:00:00.5Z".to_owned())), "2027-02-04");
        assert_eq!(day(None), "-");
    }
}
