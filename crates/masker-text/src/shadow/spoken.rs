//! Text that is written as it is spoken: digits as words, and the marks of email addresses.

use super::Writer;

/// Fewest digits in a run of spelled-out digits.
const DIGITS_MIN: usize = 7;

/// Whether a text can hold anything that [`replace`] changes.
pub fn may_speak(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut digits = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let end = word_end(bytes, at);
        let word = &bytes[at..end];
        match word.len() {
            2 if word.eq_ignore_ascii_case(b"at") && marked(bytes, at, end) => return true,
            3 if word.eq_ignore_ascii_case(b"dot") => return true,
            3..=6 if digits < DIGITS_MIN && digit(word).is_some() => digits += 1,
            _ => {}
        }
        at = end;
    }
    digits >= DIGITS_MIN.div_ceil(3)
}

/// Replaces spelled-out digits and marks.
pub fn replace(text: &str, writer: &mut Writer<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphabetic() || at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let end = word_end(bytes, at);
        let word = &bytes[at..end];
        if digit(word).is_some() || repeat(word).is_some() {
            let (stop, digits) = digits(bytes, at);
            if digits.len() >= DIGITS_MIN {
                writer.replace(at, stop, &digits);
                at = stop;
                continue;
            }
            at = stop.max(end);
            continue;
        }
        if let Some((start, stop, mark)) = mark(bytes, at, end) {
            if start >= writer.done {
                writer.replace(start, stop, mark);
            }
            at = stop;
            continue;
        }
        at = end;
    }
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count()
}

/// The digit of a word of a language with a pack.
fn digit(word: &[u8]) -> Option<char> {
    const WORDS: [(&str, char); 26] = [
        ("zero", '0'),
        ("oh", '0'),
        ("one", '1'),
        ("two", '2'),
        ("three", '3'),
        ("four", '4'),
        ("five", '5'),
        ("six", '6'),
        ("seven", '7'),
        ("eight", '8'),
        ("nine", '9'),
        ("null", '0'),
        ("eins", '1'),
        ("zwei", '2'),
        ("zwo", '2'),
        ("drei", '3'),
        ("vier", '4'),
        ("sechs", '6'),
        ("sieben", '7'),
        ("acht", '8'),
        ("neun", '9'),
        ("cero", '0'),
        ("uno", '1'),
        ("dos", '2'),
        ("cinco", '5'),
        ("nueve", '9'),
    ];
    const MORE: [(&str, char); 6] =
        [("tres", '3'), ("cuatro", '4'), ("seis", '6'), ("siete", '7'), ("ocho", '8'), ("niner", '9')];
    // Most words begin with another letter.
    if word.len() > 6
        || !matches!(
            word.first()?.to_ascii_lowercase(),
            b'z' | b'o' | b't' | b'f' | b's' | b'e' | b'n' | b'd' | b'v' | b'a' | b'c' | b'u'
        )
    {
        return None;
    }
    WORDS.iter().chain(&MORE).find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, digit)| *digit)
}

/// How many times a word says the next digit.
fn repeat(word: &[u8]) -> Option<usize> {
    if word.eq_ignore_ascii_case(b"double") {
        Some(2)
    } else if word.eq_ignore_ascii_case(b"triple") {
        Some(3)
    } else {
        None
    }
}

/// Reads a run of spelled-out digits: where its last digit ends, and the digits.
fn digits(bytes: &[u8], start: usize) -> (usize, String) {
    let mut digits = String::new();
    let mut at = start;
    let mut stop = start;
    let mut times = 1;
    // A number has fewer digits than this.
    while at < bytes.len() && digits.len() < 32 {
        let end = word_end(bytes, at);
        let word = &bytes[at..end];
        if let Some(digit) = digit(word) {
            digits.extend(std::iter::repeat_n(digit, times));
            times = 1;
            stop = end;
        } else if let Some(repeat) = repeat(word) {
            times = repeat;
        } else {
            break;
        }
        let gap = bytes[end..].iter().take(3).take_while(|byte| matches!(byte, b' ' | b'-' | b',' | b'.')).count();
        if gap == 0 {
            break;
        }
        at = end + gap;
    }
    (stop, digits)
}

/// Whether brackets enclose a word.
fn marked(bytes: &[u8], start: usize, end: usize) -> bool {
    start > 0
        && matches!(bytes[start - 1], b'(' | b'[' | b'{' | b'<')
        && matches!(bytes.get(end), Some(b')' | b']' | b'}' | b'>'))
}

/// A spoken mark of an email address: what it replaces, and the mark.
fn mark(bytes: &[u8], at: usize, end: usize) -> Option<(usize, usize, &'static str)> {
    let word = &bytes[at..end];
    let mark = match word.len() {
        2 if word.eq_ignore_ascii_case(b"at") => "@",
        3 if word.eq_ignore_ascii_case(b"dot") => ".",
        _ => return None,
    };
    let (mut start, mut stop) = (at, end);
    let marked = marked(bytes, at, end);
    if marked {
        start -= 1;
        stop += 1;
    }
    let before = bytes[..start].iter().rev().take(3).take_while(|&&byte| byte == b' ').count();
    let after = bytes[stop..].iter().take(3).take_while(|&&byte| byte == b' ').count();
    let neighbours = (before < 3 && after < 3 && before <= start)
        && start.checked_sub(before + 1).is_some_and(|index| bytes[index].is_ascii_alphanumeric())
        && bytes.get(stop + after).is_some_and(u8::is_ascii_alphanumeric);
    if !neighbours || !marked && (before == 0 || after == 0 || !spoken_address(bytes, at)) {
        return None;
    }
    Some((start - before, stop + after, mark))
}

/// Whether a plain `at` or `dot` is part of `… at … dot …`, with at most 6 words and no other mark between.
fn spoken_address(bytes: &[u8], at: usize) -> bool {
    let near = |words: &mut dyn Iterator<Item = &[u8]>, wanted: &[u8]| {
        words.take(7).take_while(|word| word.len() < 30).any(|word| word.eq_ignore_ascii_case(wanted))
    };
    let window = &bytes[at..bytes.len().min(at + 120)];
    let line = window.split(|&byte| matches!(byte, b'\n' | b',' | b'?' | b'!' | b';')).next().unwrap_or_default();
    let before = &bytes[at.saturating_sub(120)..at];
    let before = before.rsplit(|&byte| matches!(byte, b'\n' | b',' | b'?' | b'!' | b';')).next().unwrap_or_default();
    let is_at = bytes[at].eq_ignore_ascii_case(&b'a');
    let mut right = line.split(|&byte| byte == b' ');
    let mut left = before.rsplit(|&byte| byte == b' ');
    if is_at {
        // The word after next says `dot`: `jane at example dot org`.
        let words: Vec<&[u8]> = right.filter(|word| !word.is_empty()).take(8).collect();
        words.get(1).is_some_and(|word| word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-'))
            && words.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"dot"))
    } else {
        near(&mut left, b"at") || near(&mut right, b"at")
    }
}
