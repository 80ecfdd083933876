//! `date`, `date_mdy` and `date_dmy`: days of the proleptic Gregorian calendar.

use std::borrow::Cow;

/// The order of a date that does not begin with its year.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    MonthDayYear,
    DayMonthYear,
}

/// Returns a date as `YYYY-MM-DD`. A date may begin with its year; `order` allows another order too. Returns `None` for
/// every other text, and for a day that does not exist.
pub(super) fn form(text: &str, order: Option<Order>) -> Option<Cow<'_, str>> {
    let (year, month, day) = year_first(text).or_else(|| year_last(text, order?))?;
    let number = |digits: &str| digits.parse::<i16>().ok();
    let (month_number, day_number) = (i8::try_from(number(month)?).ok()?, i8::try_from(number(day)?).ok()?);
    let year_number = number(year).filter(|year| (1..=9_999).contains(year))?;
    jiff::civil::Date::new(year_number, month_number, day_number).ok()?;
    let form = format!("{year}-{month:0>2}-{day:0>2}");
    Some(if form == text { Cow::Borrowed(text) } else { Cow::Owned(form) })
}

/// Splits `YYYY-MM-DD`, with `-`, `/` or `.` twice or nothing between its parts.
fn year_first(text: &str) -> Option<(&str, &str, &str)> {
    if let Some(digits) = digits(text, 8..=8) {
        let (year, rest) = digits.split_at(4);
        let (month, day) = rest.split_at(2);
        return Some((year, month, day));
    }
    let [year, month, day] = parts(text)?;
    Some((digits(year, 4..=4)?, digits(month, 2..=2)?, digits(day, 2..=2)?))
}

/// Splits a date that ends in its year, with one or two digits for month and day.
fn year_last(text: &str, order: Order) -> Option<(&str, &str, &str)> {
    let [first, second, year] = parts(text)?;
    let (month, day) = match order {
        Order::MonthDayYear => (first, second),
        Order::DayMonthYear => (second, first),
    };
    Some((digits(year, 4..=4)?, digits(month, 1..=2)?, digits(day, 1..=2)?))
}

/// Splits a text at its separators, which are the same one twice.
fn parts(text: &str) -> Option<[&str; 3]> {
    let separator = text.chars().find(|c| matches!(c, '-' | '/' | '.'))?;
    let mut parts = text.split(separator);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Returns the text if it is made of as many ASCII digits.
fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<&str> {
    (count.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}
