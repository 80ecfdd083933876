//! Telephone and fax numbers.

use super::{Scan, names, numbers::Run};
use crate::{
    candidate::{Candidate, Rank},
    guards,
    kind::Kind,
    labels::Says,
    validate,
};

/// Fewest and most digits of a telephone number.
const DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

/// Reads a telephone number from a run's first groups.
pub(crate) fn find(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    let text = scan.text;
    let bytes = text.as_bytes();
    let first = run.groups[0].0;
    // `(212)`, `+1` and `+(1` begin before the first digit.
    let mut start = first;
    let mut plus = false;
    while let Some(mark) = start.checked_sub(1).map(|index| bytes[index]).filter(|mark| matches!(mark, b'(' | b'+')) {
        plus |= mark == b'+';
        start -= 1;
        if first - start == 2 {
            break;
        }
    }
    if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_') {
        return None;
    }
    let opened = bytes[start] == b'(' || bytes.get(start + 1) == Some(&b'(');
    // Digits one by one: `2 1 2 5 5 5 0 1 4 7`.
    let single = run.groups.iter().take_while(|group| group.1 - group.0 == 1).count();
    for count in (1..=run.groups.len().min(single.max(7))).rev() {
        let digits = run.digits(text, count);
        let end = run.groups[count - 1].1;
        if !DIGITS.contains(&digits.len()) || run.joined(text, count) || !plain_separators(text, run, count, opened) {
            continue;
        }
        let (end, extension) = extension(text, end);
        if guards::glued(bytes, end, end)
            && bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            continue;
        }
        if part_number(&bytes[end..]) {
            continue;
        }
        let form = Form { plus, opened, extension, count, lengths: run.lengths(count) };
        if let Some(candidate) = judge(scan, run, &digits, (start, end), &form) {
            return Some((count, candidate));
        }
    }
    None
}

/// Whether a dash and a single letter follow digits: `415-555-0132-B`.
fn part_number(after: &[u8]) -> bool {
    matches!(after, [b'-', letter, rest @ ..]
        if letter.is_ascii_alphabetic() && !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

struct Form {
    plus: bool,
    opened: bool,
    extension: bool,
    count: usize,
    lengths: Vec<usize>,
}

/// Whether separators are those of telephone numbers.
fn plain_separators(text: &str, run: &Run, count: usize, opened: bool) -> bool {
    (0..count - 1).all(|group| {
        let separator = run.separator(text, group);
        matches!(separator, "-" | "." | " " | "/" | " - " | " (" | ") " | ")" | "(" | ") - " | ")-" | "-(" | " / ")
            && (opened || !separator.starts_with(')') || separator.contains('(') || group > 0)
    })
}

/// Reads an extension after a number: `x123`, `ext. 4`.
fn extension(text: &str, end: usize) -> (usize, bool) {
    let rest = &text[end..];
    let trimmed = rest.trim_start_matches([' ', ',']);
    let lead = rest.len() - trimmed.len();
    if lead > 2 {
        return (end, false);
    }
    for word in ["extension", "ext.", "ext", "x", "#"] {
        let Some(head) = trimmed.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word)) else { continue };
        let digits_at = &trimmed[head.len()..];
        let space = digits_at.len() - digits_at.trim_start_matches([' ', '.', ':']).len();
        let digits = digits_at[space..].bytes().take(7).take_while(u8::is_ascii_digit).count();
        let stop = lead + head.len() + space + digits;
        if (1..=6).contains(&digits) && space <= 2 && !rest[stop..].starts_with(|char: char| char.is_alphanumeric()) {
            return (end + stop, true);
        }
    }
    (end, false)
}

/// Decides what digits of this form are.
fn judge(scan: &Scan<'_>, run: &Run, digits: &[u8], range: (usize, usize), form: &Form) -> Option<Candidate> {
    let text = scan.text;
    let label = scan.label(range.0);
    let after = scan.labels.after(text, range.1);
    let is_phone = |says: &Says| names(says, &Kind::Phone) || names(says, &Kind::Fax);
    let adjacent = label.filter(|(says, _)| is_phone(says));
    // `212-555-0147 phone, 212-555-0148 fax`: the label before the number is that of the number before it.
    let adjacent = adjacent.filter(|(_, at)| !after.is_some_and(|(says, _)| is_phone(says)) || !trails(scan, *at));
    if let Some((says, _)) = label {
        // A label of something else wins, except words that are part of any sentence.
        if !is_phone(says) && !matches!(says, Says::Kind(Kind::Address | Kind::Date | Kind::Location | Kind::Name)) {
            return None;
        }
    }
    let trailing = after.filter(|(says, _)| is_phone(says)).filter(|_| adjacent.is_none());
    let letter = letter(text, range.0).filter(|_| adjacent.is_none());
    let kind = match adjacent.or(trailing) {
        Some((says, _)) if names(says, &Kind::Fax) => Kind::Fax,
        Some(_) => Kind::Phone,
        None => letter.clone().unwrap_or_else(|| fax_nearby(scan, range)),
    };
    let near = adjacent.is_some()
        || letter.is_some()
        || trailing.is_some()
        || scan.near(&Kind::Phone, range.0, range.1)
        || kind == Kind::Fax;
    let nanp_form = matches!(form.lengths.as_slice(), [3, 3, 4] | [1, 3, 3, 4] | [3, 7] | [3, 3, 2, 2])
        || form.lengths.as_slice() == [10] && form.extension;
    let nanp = validate::is_nanp(digits);
    let dashed = (0..form.count - 1).any(|group| run.separator(text, group) != " ") || form.opened;
    let international = form.plus && validate::is_international(digits)
        || digits.strip_prefix(b"00").is_some_and(validate::is_international);
    if !form.plus && form.count == 1 && !near && !form.extension {
        return None;
    }
    if guards::technical(text, range.0, range.1) && adjacent.is_none() {
        return None;
    }
    let labelled = adjacent.or(trailing).map(|(_, at)| at);
    let (rank, confidence, rule, check) = match () {
        () if international => {
            (Rank::Validated, if near { 97 } else { 90 }, "phone-international", Some("numbering plan"))
        }
        () if nanp && (nanp_form || form.count == 1) && near => {
            (Rank::Validated, 97, "phone-nanp", Some("numbering plan"))
        }
        () if nanp && nanp_form && dashed => (Rank::Validated, 80, "phone-nanp", Some("numbering plan")),
        () if adjacent.is_some() && (7..=15).contains(&digits.len()) => (Rank::Labelled, 88, "phone-label", None),
        () if trailing.is_some() && (7..=15).contains(&digits.len()) => (Rank::Labelled, 80, "phone-label", None),
        () if form.extension && dashed && digits.len() >= 9 => (Rank::Pattern, 70, "phone-extension", None),
        () if form.plus && digits.len() >= 8 => (Rank::Pattern, 55, "phone-plus", None),
        () if near && regional(scan, digits) && (plausible(text, run, form) || short_lead(&form.lengths)) => {
            (Rank::Pattern, 75, "phone-hint", Some("numbering plan"))
        }
        () if near && digits.len() >= 7 && plausible(text, run, form) => (Rank::Pattern, 62, "phone-hint", None),
        () if nanp_form && dashed && digits.len() >= 10 && matches!(digits[digits.len() - 10], b'2'..=b'9') => {
            (Rank::Pattern, 50, "phone-form", None)
        }
        () if form.opened && dashed && (7..=11).contains(&digits.len()) && form.count >= 2 => {
            (Rank::Pattern, 50, "phone-form", None)
        }
        () => return None,
    };
    let mut candidate = Candidate::new(range, kind, rank, confidence, rule);
    candidate.label = labelled;
    candidate.check = check;
    Some(candidate)
}

/// Whether a label belongs to the number before it, because that number has none before it.
fn trails(scan: &Scan<'_>, label: (usize, usize)) -> bool {
    let before = scan.text[..label.0].trim_end_matches([' ', '(', '[', '-', '/']);
    let number =
        before.len() - before.trim_end_matches(|char: char| char.is_ascii_digit() || " ()-.+".contains(char)).len();
    let start = before.len() - number;
    let digits = before[start..].bytes().filter(u8::is_ascii_digit).count();
    let first = start + before[start..].find(|char: char| char.is_ascii_digit()).unwrap_or(0);
    digits >= 7 && scan.label(first).is_none_or(|(_, own)| trails_number(scan.text, own.0))
}

/// Whether digits are directly before an offset.
fn trails_number(text: &str, at: usize) -> bool {
    text[..at].trim_end_matches([' ', '(', '[', '-', '/']).ends_with(|char: char| char.is_ascii_digit())
}

/// What the letter of a letterhead says: `F: 212-555-0148`, `T. +44 20 …`.
fn letter(text: &str, start: usize) -> Option<Kind> {
    let before = text[..start].trim_end_matches(' ');
    let before = before.strip_suffix([':', '.'])?;
    let letter = before.chars().next_back()?;
    let alone =
        !before[..before.len() - letter.len_utf8()].ends_with(|char: char| char.is_alphanumeric() || char == '\'');
    match letter {
        'F' | 'f' if alone => Some(Kind::Fax),
        'T' | 'P' | 'M' | 'C' | 'O' | 't' | 'p' | 'm' if alone => Some(Kind::Phone),
        _ => None,
    }
}

/// Whether a number could be one of the regions in use.
fn regional(scan: &Scan<'_>, digits: &[u8]) -> bool {
    scan.regions.iter().any(|region| region.accepts(digits))
}

/// Whether groups near the word `call` look like one number: not years, not a row of short numbers.
fn plausible(text: &str, run: &Run, form: &Form) -> bool {
    let years = run.groups[..form.count]
        .iter()
        .all(|&(start, end)| end - start == 4 && matches!(&text[start..start + 2], "19" | "20"));
    let total: usize = form.lengths.iter().sum();
    let zero = text.as_bytes()[run.groups[0].0] == b'0';
    !years
        && if form.count == 1 {
            (10..=11).contains(&total) || zero && (7..=12).contains(&total)
        } else {
            form.lengths.iter().all(|&len| len >= 2 || form.plus)
        }
}

/// Whether one digit is before longer groups: the trunk prefix of `8 (912) 345-67-89`, or the area of `06 1 555 0147`.
fn short_lead(lengths: &[usize]) -> bool {
    matches!(lengths, [1, rest @ ..] | [2, 1, rest @ ..] if !rest.is_empty() && rest.iter().all(|&len| len >= 2))
}

/// `FAX` if the nearest label in the sentence says so.
fn fax_nearby(scan: &Scan<'_>, range: (usize, usize)) -> Kind {
    // `212-555-0147 | Fax: 212-555-0148`: the label of the next number.
    let leads = |end: usize| {
        let rest = scan.text[end..].trim_start_matches([' ', '.', ')', ']']);
        rest.starts_with(|char: char| char.is_ascii_digit() || ":=#(+".contains(char))
    };
    let fax = scan.labels.near(scan.text, &Kind::Fax, range.0, range.1);
    let fax = fax.filter(|fax| fax.1 <= range.0 || !leads(fax.1));
    let phone = scan.labels.near(scan.text, &Kind::Phone, range.0, range.1);
    match (fax, phone) {
        (Some(fax), Some(phone)) if fax.1 <= range.0 && phone.1 <= range.0 && fax.0 >= phone.0 => Kind::Fax,
        (Some(_), None) => Kind::Fax,
        _ => Kind::Phone,
    }
}
