//! Numbers, as people read them.

/// A rate: with a digit after the point while it is small.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        ..0.05 => "0".to_owned(),
        ..9.95 => format!("{per_second:.1}"),
        ..999.5 => format!("{per_second:.0}"),
        _ => grouped(per_second.round() as u64),
    }
}

/// A duration of a request.
pub(super) fn latency(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// A count, with a comma after each three digits.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time, by its two largest units.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_whole_where_they_are_large() {
        let rates = [0.0, 0.04, 0.06, 9.9, 9.96, 123.4, 999.6, 1_234_567.0].map(rate);
        assert_eq!(rates, ["0", "0", "0.1", "9.9", "10", "123", "1,000", "1,234,567"]);
        let latencies = [None, Some(0.000_05), Some(0.001_25), Some(0.025), Some(2.5)].map(latency);
        assert_eq!(latencies, ["-", "50 µs", "1.2 ms", "25 ms", "2.5 s"]);
        assert_eq!([0, 999, 1_000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
        assert_eq!([59, 61, 3_661, 90_000].map(span), ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
