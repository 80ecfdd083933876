//! Dates.

use super::{Scan, names, numbers::Run};
use crate::{
    candidate::{Candidate, Rank},
    guards,
    kind::Kind,
    labels::Says,
    names::token::{Case, TokenKind},
    words::Class,
};

/// Reads a date in digits from a run's first groups.
pub(crate) fn numeric(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    let text = scan.text;
    let lengths = run.lengths(run.groups.len().min(3));
    let separator = run.separator(text, 0);
    if lengths.first() == Some(&8) {
        return compact(scan, run).map(|candidate| (1, candidate));
    }
    if lengths.len() < 2 || !matches!(separator, "/" | "-" | ".") {
        return None;
    }
    let value = |group: usize| text[run.groups[group].0..run.groups[group].1].parse::<u32>().unwrap_or(u32::MAX);
    if lengths.len() == 3 && run.separator(text, 1) == separator {
        let (a, b, c) = (value(0), value(1), value(2));
        let short = |index: usize| matches!(lengths[index], 1 | 2);
        let valid = match (lengths[0], lengths[2]) {
            (4, 1 | 2) => short(1) && is_year(a) && is_month_day(b, c),
            (1 | 2, 4) => short(1) && is_year(c) && (is_month_day(a, b) || is_month_day(b, a)),
            (1 | 2, 2) => short(1) && (is_month_day(a, b) || is_month_day(b, a)),
            _ => false,
        };
        let range = run.range(3);
        // A clock time can follow: `2024-05-01 10:00`. Another group joined by the same mark makes it something else.
        let more = run.joined(text, 3) && run.separator(text, 2) != ":";
        if !valid || more {
            return None;
        }
        let year_of_four = lengths[0] == 4 || lengths[2] == 4;
        let base = match (year_of_four, separator) {
            (true, _) => 88,
            (false, "/") => 75,
            (false, "-") => 62,
            // `1.2.10` is more often a version.
            (false, _) => 35,
        };
        let (end, clock) = clock(text, range.1);
        return judge(scan, (range.0, end), base, clock).map(|candidate| (3, candidate));
    }
    // `3/14` is a date only where a word says so.
    let pair = matches!(lengths[..2], [1 | 2, 1 | 2]) && separator == "/" && !run.joined(text, 2);
    let month_and_year =
        matches!(lengths[..2], [1 | 2, 4]) && separator == "/" && !run.joined(text, 2) && is_year(value(1));
    let range = run.range(2);
    if month_and_year && (1..=12).contains(&value(0)) {
        return judge(scan, range, if after_preposition(scan, run.tokens[0]) { 65 } else { 45 }, Clock::None)
            .map(|candidate| (2, candidate));
    }
    if pair && is_month_day(value(0), value(1)) {
        let labelled = scan.label(range.0).is_some_and(|(says, _)| names(says, &Kind::Dob) || names(says, &Kind::Date));
        if labelled || after_preposition(scan, run.tokens[0]) || follows_date(scan, range.0) {
            return judge(scan, range, 55, Clock::None).map(|candidate| (2, candidate));
        }
    }
    None
}

/// Reads eight digits after a label: `DOB: 19610304`, `DOB 03041961`.
fn compact(scan: &Scan<'_>, run: &Run) -> Option<Candidate> {
    let range = run.groups[0];
    let (says, _) = scan.label(range.0)?;
    if run.joined(scan.text, 1) || !names(says, &Kind::Dob) && !names(says, &Kind::Date) {
        return None;
    }
    let part = |from: usize, to: usize| scan.text[range.0 + from..range.0 + to].parse::<u32>().unwrap_or(0);
    let year_first = is_year(part(0, 4)) && is_month_day(part(4, 6), part(6, 8));
    let (a, b) = (part(0, 2), part(2, 4));
    let year_last = is_year(part(4, 8)) && (is_month_day(a, b) || is_month_day(b, a));
    (year_first || year_last).then(|| judge(scan, range, 88, Clock::None))?
}

/// How a clock time follows a date.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// None follows.
    None,
    /// After a space.
    Spaced,
    /// After a `T`: a timestamp of a machine.
    Machine,
}

/// Reads the clock time after a date. Returns where it ends.
fn clock(text: &str, end: usize) -> (usize, Clock) {
    let bytes = &text.as_bytes()[end..];
    let clock = match bytes.first() {
        Some(b' ') => Clock::Spaced,
        Some(b'T') => Clock::Machine,
        _ => return (end, Clock::None),
    };
    let two = |at: usize| bytes.get(at..at + 2).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
    if !(two(1) && bytes.get(3) == Some(&b':') && two(4)) {
        return (end, Clock::None);
    }
    let mut len = 6;
    if bytes.get(6) == Some(&b':') && two(7) {
        len = 9;
        if matches!(bytes.get(9), Some(b'.' | b',')) {
            let digits = bytes[10..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
            len += if digits > 0 { 1 + digits } else { 0 };
        }
    }
    if bytes.get(len) == Some(&b'Z') {
        len += 1;
    }
    (end + len, clock)
}

/// Decides what a date of a range is.
fn judge(scan: &Scan<'_>, range: (usize, usize), base: u8, clock: Clock) -> Option<Candidate> {
    let bytes = scan.text.as_bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if range.0 > 0 && word(bytes[range.0 - 1]) || bytes.get(range.1).is_some_and(|&byte| word(byte)) {
        return None;
    }
    let label = scan.label(range.0);
    match label {
        Some((says, at)) if names(says, &Kind::Dob) => {
            return Some(Candidate::new(range, Kind::Dob, Rank::Labelled, 97, "dob").labelled(at.0, at.1));
        }
        Some((says, at)) if names(says, &Kind::Date) => {
            return Some(Candidate::new(range, Kind::Date, Rank::Labelled, 95, "date").labelled(at.0, at.1));
        }
        Some((Says::Nothing, _)) if base < 60 || clock == Clock::Machine => return None,
        _ => {}
    }
    // `b. 4/5/1961`
    let before = scan.text[..range.0].trim_end_matches(' ');
    if before.ends_with("b.") && !before[..before.len() - 2].ends_with(|char: char| char.is_alphanumeric()) {
        return Some(Candidate::new(range, Kind::Dob, Rank::Labelled, 80, "dob"));
    }
    let (from, to) = guards::chunk(scan.text, range.0, range.1);
    let chunk = &bytes[from..to];
    let inner = range.0 > from && matches!(bytes[range.0 - 1], b'/' | b'-' | b'.' | b'\\' | b'=')
        || bytes.get(range.1).is_some_and(|byte| matches!(byte, b'/' | b'-' | b'\\') && range.1 + 1 < to);
    if inner || guards::is_uuid(chunk) {
        return None;
    }
    let base = match clock {
        Clock::Machine => 40,
        _ if guards::after_version(scan.text, range.0) => return None,
        _ => base,
    };
    let confidence = if base < 80 && scan.near(&Kind::Date, range.0, range.1) { base + 12 } else { base };
    Some(Candidate::new(range, Kind::Date, Rank::Pattern, confidence, "date"))
}

fn is_year(year: u32) -> bool {
    (1880..=2100).contains(&year)
}

fn is_month_day(month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Whether a date and `, ` or ` and ` are before an offset: `on 3/14, 3/21 and 3/28`.
fn follows_date(scan: &Scan<'_>, start: usize) -> bool {
    let is_date = |candidate: &Candidate| {
        matches!(candidate.kind, Kind::Date | Kind::Dob)
            && candidate.end < start
            && [", ", " and ", ", and ", " & ", "; ", " or ", "/", ","].contains(&&scan.text[candidate.end..start])
    };
    scan.out.last().is_some_and(is_date)
}

/// Whether `on`, `since` or the like is before a token.
fn after_preposition(scan: &Scan<'_>, token: usize) -> bool {
    token.checked_sub(1).is_some_and(|before| {
        ["on", "since", "until", "till", "from", "by", "am", "vom", "el", "desde", "dated", "in"]
            .iter()
            .any(|word| scan.word(before).eq_ignore_ascii_case(word))
    })
}

/// Proposes dates with a month's name, and days of the week.
pub(crate) fn find(scan: &mut Scan<'_>) {
    let mut index = 0;
    while index < scan.tokens().len() {
        let class = scan.classes[index];
        let found = if class.month().is_some() {
            worded(scan, index)
        } else if class.is(Class::WEEKDAY) {
            weekday(scan, index)
        } else {
            None
        };
        if let Some(candidate) = found {
            let next = scan.token_at(candidate.end).max(index + 1);
            let range = (candidate.start, candidate.end);
            scan.out.push(candidate);
            if class.month().is_some() {
                days_before(scan, range.0);
                index = days_after(scan, range, next);
            } else {
                index = next;
            }
        } else {
            index += 1;
        }
    }
}

/// The day that a token says, with the token after it: `12`, `12th`.
fn day(scan: &Scan<'_>, index: usize) -> Option<(u32, usize)> {
    let token = scan.tokens().get(index).filter(|token| token.kind == TokenKind::Number && token.chars <= 2)?;
    let day = scan.word(index).parse().ok().filter(|day| (1..=31).contains(day) && !token.line)?;
    let ordinal = scan.tokens().get(index + 1).is_some_and(|next| {
        !next.space && ["st", "nd", "rd", "th"].iter().any(|end| scan.word(index + 1).eq_ignore_ascii_case(end))
    });
    Some((day, index + 1 + usize::from(ordinal)))
}

/// The token after `,`, `and` or both.
fn after_joint(scan: &Scan<'_>, index: usize) -> Option<usize> {
    let is_and = |index: usize| {
        index < scan.tokens().len()
            && (scan.is_mark(index, '&')
                || ["and", "or", "und", "y"].iter().any(|word| scan.word(index).eq_ignore_ascii_case(word)))
    };
    let comma = index + usize::from(scan.is_mark(index, ','));
    let and = comma + usize::from(is_and(comma));
    (and > index).then_some(and)
}

/// Proposes further days after a date without a year: `March 3, 7 and 12`. Returns the token after them.
fn days_after(scan: &mut Scan<'_>, range: (usize, usize), next: usize) -> usize {
    // The last number of the date is its day.
    let text = &scan.text[range.0..range.1];
    let last = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let digits = last.len() - last.trim_end_matches(|char: char| char.is_ascii_digit()).len();
    let Some(mut before) = last[last.len() - digits..].parse().ok().filter(|day| (1..=31u32).contains(day)) else {
        return next;
    };
    let mut at = next;
    while let Some(joint) = after_joint(scan, at)
        && let Some((own, mut after)) = day(scan, joint)
        && own > before
        && ends_day(scan, after)
    {
        let start = scan.tokens()[joint].start as usize;
        // The year of all: `May 3, 5, 7, 2024`.
        let year = after + usize::from(scan.is_mark(after, ','));
        if scan.tokens().get(year).is_some_and(|year| year.kind == TokenKind::Number && year.chars == 4 && !year.line)
            && scan.word(year).parse().is_ok_and(is_year)
        {
            after = year + 1;
        }
        let end = scan.tokens()[after - 1].end as usize;
        scan.out.push(Candidate::new((start, end), Kind::Date, Rank::Pattern, 74, "date-list"));
        (before, at) = (own, after);
    }
    at
}

/// Whether a number can be a day, by what follows it: no word that is counted, no unit.
fn ends_day(scan: &Scan<'_>, index: usize) -> bool {
    let Some(token) = scan.tokens().get(index) else { return true };
    match token.kind {
        TokenKind::Mark => {
            token.line
                || token.space
                || !matches!(token.first, '/' | ':' | '%' | '-' | '+' | '°') && {
                    // `7.5` and `7,5` are other numbers.
                    !(matches!(token.first, '.' | ',')
                        && scan
                            .tokens()
                            .get(index + 1)
                            .is_some_and(|next| !next.space && next.kind == TokenKind::Number))
                }
        }
        TokenKind::Word => {
            token.line
                || token.space
                    && ["and", "or", "at", "in", "for", "with", "to", "from", "by", "of", "as", "but", "when", "if"]
                        .iter()
                        .any(|word| scan.word(index).eq_ignore_ascii_case(word))
        }
        _ => token.line,
    }
}

/// Proposes further days before a date that begins with its day: `3, 5 and 7 May`.
fn days_before(scan: &mut Scan<'_>, start: usize) {
    let first = scan.token_at(start);
    let Some((mut before, _)) = day(scan, first) else { return };
    let mut at = first;
    // A joint has at most two tokens, and a day has two.
    while let Some((index, own)) = (1..=4).filter_map(|back| at.checked_sub(back)).find_map(|index| {
        let (own, after) = day(scan, index)?;
        (after_joint(scan, after) == Some(at) && own < before).then_some((index, own))
    }) {
        let (from, to) = (scan.tokens()[index].start as usize, scan.tokens()[index].end as usize);
        let inside = from > 0 && !scan.tokens()[index].space && scan.text.as_bytes()[from - 1] != b'(';
        if inside {
            break;
        }
        scan.out.push(Candidate::new((from, to), Kind::Date, Rank::Pattern, 66, "date-list"));
        (before, at) = (own, index);
    }
}

/// Reads the date around a month's name: `January 5th, 2023`, `5 Jan 2023`, `5th of January`, `April 2023`, `Jan 9th '23`.
fn worded(scan: &Scan<'_>, month: usize) -> Option<Candidate> {
    let tokens = scan.tokens();
    let token = &tokens[month];
    let number = |index: usize| -> Option<u32> {
        tokens
            .get(index)
            .filter(|token| token.kind == TokenKind::Number && token.chars <= 4)
            .and_then(|_| scan.word(index).parse().ok())
    };
    let is_day = |index: usize| number(index).is_some_and(|day| (1..=31).contains(&day)) && tokens[index].chars <= 2;
    let ordinal = |index: usize| {
        tokens.get(index).is_some_and(|token| {
            !token.space && ["st", "nd", "rd", "th"].iter().any(|end| scan.word(index).eq_ignore_ascii_case(end))
        })
    };
    let mut start = token.start as usize;
    let mut end = token.end as usize;
    let mut next = month + 1;
    // An abbreviation's full stop.
    if scan.is_mark(next, '.') && token.chars <= 4 {
        next += 1;
    }
    let mut day = false;
    let mut year = false;
    // A day before the month.
    if let Some(mut before) = month.checked_sub(1) {
        let of = |index: usize| ["of", "de", "."].iter().any(|word| scan.word(index).eq_ignore_ascii_case(word));
        if before > 0 && (of(before) || tokens[before].is('-')) {
            before -= 1;
        }
        if ordinal(before) && before > 0 {
            before -= 1;
        }
        let glued = before > 0 && !tokens[before].space && tokens[before - 1].kind == TokenKind::Word;
        if is_day(before) && !tokens[month].line && !glued {
            start = tokens[before].start as usize;
            day = true;
        }
    }
    // A day after it.
    let same_line = |index: usize| tokens.get(index).is_some_and(|token| !token.line);
    if !day && is_day(next) && same_line(next) {
        day = true;
        end = tokens[next].end as usize;
        next += 1;
        if ordinal(next) {
            end = tokens[next].end as usize;
            next += 1;
        }
    }
    // A year after all.
    let mut at = next;
    while same_line(at)
        && (tokens[at].is(',') || tokens[at].is('-') || ["of", "de"].contains(&scan.word(at)))
        && at < next + 2
    {
        at += 1;
    }
    if same_line(at) && tokens[at].is('\'') && number(at + 1).is_some() && tokens[at + 1].chars == 2 {
        year = true;
        end = tokens[at + 1].end as usize;
    } else if same_line(at) && number(at).is_some_and(is_year) && tokens[at].chars == 4 {
        year = true;
        end = tokens[at].end as usize;
    }
    if !day && !year {
        return None;
    }
    // `may 2 people`, `mark 3`: words that are months only with a capital letter or a year.
    if token.case == Case::Lower && !year && matches!(scan.word(month), "may" | "mar" | "march" | "sun" | "dec") {
        return None;
    }
    let base = if year { 94 } else { 82 };
    judge(scan, (start, end), base, Clock::None)
}

/// A day of the week after a preposition names a day near the text's own.
fn weekday(scan: &Scan<'_>, index: usize) -> Option<Candidate> {
    let before = index.checked_sub(1)?;
    let cue = ["on", "next", "last", "this", "until", "by", "since", "meet", "coming", "every"]
        .iter()
        .any(|word| scan.word(before).eq_ignore_ascii_case(word));
    let token = &scan.tokens()[index];
    (cue && !token.line)
        .then(|| Candidate::new((token.start as usize, token.end as usize), Kind::Date, Rank::Pattern, 52, "weekday"))
}
