//! Street addresses.
//!
//! An address is found at its firmest part (a street word, a unit, a box), extended to the house numbers and the unit, and on
//! the same line to the city. On further lines, the city and the postal code are findings of their own.

mod extent;

use super::Scan;
use crate::{
    kind::Kind,
    labels::Says,
    names::{
        cue::Cue,
        token::{Case, Token, TokenKind},
    },
    words::Class,
};

/// Most words in a street's name.
const STREET_WORDS: usize = 6;

/// Proposes addresses.
pub(crate) fn find(scan: &mut Scan<'_>) {
    let mut index = 0;
    while index < scan.tokens().len() {
        let found = military(scan, index)
            .or_else(|| boxed(scan, index))
            .or_else(|| street(scan, index))
            .or_else(|| numbered(scan, index));
        index = match found {
            Some(part) => extent::finish(scan, part).max(index + 1),
            None => index + 1,
        };
    }
}

/// The firm part of an address, as a range of tokens.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    end: usize,
    confidence: u8,
    rule: &'static str,
    /// Whether a unit and a city can follow.
    open: bool,
}

fn token<'a>(scan: &Scan<'a>, index: usize) -> Option<&'a Token> {
    scan.tokens().get(index)
}

/// Whether a token continues the line of the one before it.
fn same_line(scan: &Scan<'_>, index: usize) -> bool {
    token(scan, index).is_some_and(|token| !token.line)
}

/// Whether a word can be part of a street's name.
fn is_street_word(scan: &Scan<'_>, index: usize) -> bool {
    let Some(token) = token(scan, index).filter(|token| token.kind == TokenKind::Word) else { return false };
    let loose = scan.sentence.caseless != 0
        && !scan.is(index, Class::FILLER)
        && scan.sentence.infos[index].cue != Cue::Preposition;
    token.capital() || loose || is_particle(scan.word(index))
}

fn is_particle(word: &str) -> bool {
    [
        "de",
        "del",
        "della",
        "di",
        "da",
        "do",
        "dos",
        "das",
        "du",
        "des",
        "van",
        "der",
        "den",
        "von",
        "la",
        "le",
        "les",
        "los",
        "las",
        "el",
        "al",
        "y",
        "e",
        "of",
        "the",
        "u",
        "na",
        "nad",
        "pod",
        "zu",
        "zum",
        "zur",
        "am",
        "an",
        "im",
        "út",
        "útja",
        "utca",
        "tér",
        "fejedelem",
    ]
    .contains(&word)
}

/// A house number: one to five digits, with at most one letter.
fn is_house_number(scan: &Scan<'_>, index: usize) -> bool {
    token(scan, index).is_some_and(|token| token.kind == TokenKind::Number && token.chars <= 5)
        && !scan.text[..scan.tokens()[index].start as usize].ends_with(['$', '#', '€', '£', '.', '/', '-'])
}

/// The first token of the house numbers before a token: `12 `, `36 29 `.
fn house_numbers(scan: &Scan<'_>, index: usize) -> Option<usize> {
    let mut first = index;
    while first > 0
        && index - first < 2
        && !scan.tokens()[first].line
        && is_house_number(scan, first - 1)
        && unit_before(scan, first).is_none()
    {
        first -= 1;
    }
    // `221B Baker Street`, `12-14 Baker Street`
    if first == index && first >= 2 && !scan.tokens()[first].line {
        let letter =
            scan.tokens()[first - 1].chars == 1 && !scan.tokens()[first - 1].space && is_house_number(scan, first - 2);
        if letter {
            return Some(first - 2);
        }
    }
    (first < index).then_some(first)
}

/// An address around a street word: `12 Elm Street`, `Rue de Pologne 36`, `Lozerlaan 172`.
fn street(scan: &Scan<'_>, index: usize) -> Option<Part> {
    let tokens = scan.tokens();
    let own = &tokens[index];
    if own.kind != TokenKind::Word {
        return None;
    }
    if scan.is(index, Class::STREET) && index > 0 && !own.line {
        return street_after(scan, index);
    }
    if scan.is(index, Class::STREET_FIRST) {
        return street_before(scan, index);
    }
    let word = scan.word(index);
    let one_word =
        own.chars >= 7 && (own.capital() || scan.sentence.caseless != 0) && scan.words.ends_like_street(word);
    let own_word = scan.words.is_street_ending(word) && index > 0 && !own.line && is_street_word(scan, index - 1);
    if !one_word && !own_word {
        return None;
    }
    // The number follows: `Änggårda Gata 24`, `Corellistraat 178`, `Erzsébet tér 92.`
    let mut end = index + 1;
    let mut numbered = false;
    if is_house_number(scan, end) && same_line(scan, end) {
        numbered = true;
        end += 1;
        if token(scan, end).is_some_and(|letter| letter.chars == 1 && !letter.space && letter.kind == TokenKind::Word) {
            end += 1;
        }
    }
    let mut first = index;
    while first > 0
        && index - first < STREET_WORDS
        && !tokens[first].line
        && is_street_word(scan, first - 1)
        && !tokens[first - 1].is('.')
        && scan.sentence.infos[first - 1].cue != Cue::Preposition
    {
        first -= 1;
    }
    let before = house_numbers(scan, first);
    let first = before.unwrap_or(if own_word { first } else { first.max(index.saturating_sub(2)) });
    if !numbered && before.is_none() {
        return None;
    }
    Some(Part { first, end, confidence: if numbered { 82 } else { 70 }, rule: "street-word", open: true })
}

/// An address before a street word: `1234 Elm St`, `5th Avenue`.
fn street_after(scan: &Scan<'_>, index: usize) -> Option<Part> {
    let tokens = scan.tokens();
    let word = scan.word(index);
    let mut first = index;
    let mut words = 0;
    while first > 0 && words < STREET_WORDS && !tokens[first].line {
        let before = &tokens[first - 1];
        let ordinal = before.kind == TokenKind::Word
            && !before.space
            && first >= 2
            && tokens[first - 2].kind == TokenKind::Number
            && matches!(before.chars, 2);
        if ordinal {
            first -= 2;
            words += 1;
            continue;
        }
        let joint =
            before.is('.') && first >= 2 && tokens[first - 2].kind == TokenKind::Word && tokens[first - 2].chars <= 3
                || before.is('\'')
                || before.is('-') && !before.space
                || before.kind == TokenKind::Possessive;
        let street_word = is_street_word(scan, first - 1)
            && !scan.is(first - 1, Class::FILLER)
            && scan.sentence.infos[first - 1].cue != Cue::Preposition;
        if !street_word && !joint {
            break;
        }
        words += usize::from(street_word);
        first -= 1;
    }
    // `St. Mary's` and `Dr. Lee` are no streets.
    let saint = matches!(word.to_ascii_lowercase().as_str(), "st" | "dr" | "ct" | "pl" | "sq" | "av") && {
        let stop = scan.is_mark(index + 1, '.');
        let next = index + 1 + usize::from(stop);
        same_line(scan, next)
            && tokens[next].capital()
            && !scan.is(next, Class::UNIT)
            && house_numbers(scan, first).is_none()
    };
    if words == 0 || saint {
        return None;
    }
    let numbers = house_numbers(scan, first);
    let begins_with_ordinal = tokens[first].kind == TokenKind::Number;
    let capital = tokens[index].capital() && (first..index).any(|index| tokens[index].capital());
    let confidence = match (numbers, capital) {
        (Some(_), true) => 88,
        (Some(_), false) if scan.sentence.caseless != 0 || begins_with_ordinal => 70,
        (Some(_), false)
            if words <= 2
                && matches!(word, "street" | "st" | "avenue" | "ave" | "road" | "rd" | "lane" | "drive" | "blvd") =>
        {
            60
        }
        // A street without a number: a place, less exact. Words such as `Way` and `Place` end other names too.
        (None, true)
            if matches!(word, "Street" | "St" | "Avenue" | "Ave" | "Road" | "Rd" | "Lane" | "Boulevard" | "Blvd") =>
        {
            58
        }
        _ => return None,
    };
    let mut first = numbers.unwrap_or(first);
    // Without a number, a name of more than three words begins with the sentence.
    while numbers.is_none() && index - first > 3 {
        first += 1;
    }
    let mut end = index + 1;
    if scan.is_mark(end, '.') && same_line(scan, end) && word.len() <= 4 && !tokens[end].space {
        end += 1;
    }
    // `Halkoaho Street 12`: the number of the house follows.
    if is_house_number(scan, end) && same_line(scan, end) && numbers.is_none() {
        end += 1;
    }
    Some(Part { first, end, confidence, rule: "street", open: true })
}

/// An address after a street word: `12 rue Charles Corbeau`, `Via Santa Teresa 71`.
fn street_before(scan: &Scan<'_>, index: usize) -> Option<Part> {
    let tokens = scan.tokens();
    let mut end = index + 1;
    if scan.is_mark(end, '.') && same_line(scan, end) {
        end += 1;
    }
    let mut words = 0;
    while words < STREET_WORDS && same_line(scan, end) {
        let hyphen = tokens[end].is('-') && !tokens[end].space
            || tokens[end].is('\'')
            || tokens[end].is('.') && tokens[end - 1].chars <= 2;
        if !hyphen && (!is_street_word(scan, end) || scan.is(end, Class::UNIT)) {
            break;
        }
        words += usize::from(!hyphen);
        end += 1;
    }
    if words == 0 {
        return None;
    }
    let numbered = is_house_number(scan, end) && same_line(scan, end);
    if numbered {
        end += 1;
    }
    let before = house_numbers(scan, index);
    let unit = same_line(scan, end) && scan.is(end, Class::UNIT) || labelled(scan, index);
    let confidence = match (numbered, before) {
        (_, Some(_)) => 85,
        (true, None) => 78,
        (false, None) if unit => 65,
        _ => return None,
    };
    let word = scan.word(index).to_ascii_lowercase();
    // `Plaza 3` and `Court 5` are rooms; `via email 2` is none at all.
    if tokens[index].case == Case::Lower
        && before.is_none()
        && scan.sentence.caseless == 0
        && !matches!(word.as_str(), "ul" | "rue" | "al")
    {
        return None;
    }
    Some(Part { first: before.unwrap_or(index), end, confidence, rule: "street-first", open: true })
}

/// An address without a street word: number, name, number, where a label, a unit or a line says that it is one.
fn numbered(scan: &Scan<'_>, index: usize) -> Option<Part> {
    // The number of a unit is no house number.
    if !is_house_number(scan, index) || index > 0 && unit_before(scan, index + 1).is_some() {
        return None;
    }
    if !is_house_number(scan, index) || scan.tokens()[index].chars > 4 && !labelled(scan, index) {
        return None;
    }
    let tokens = scan.tokens();
    let mut end = index + 1;
    if is_house_number(scan, end) && same_line(scan, end) {
        end += 1;
    }
    let name = end;
    while end - name < STREET_WORDS && same_line(scan, end) {
        let joint = end > name
            && (tokens[end].is('-')
                || tokens[end].is('.') && tokens[end - 1].chars <= 4
                || tokens[end].is('\'')
                || tokens[end].kind == TokenKind::Possessive);
        if scan.is(end, Class::UNIT) || !joint && !is_street_word(scan, end) || scan.classes[end].month().is_some() {
            break;
        }
        end += 1;
    }
    if end == name || !tokens[name].space || !tokens[name].capital() && scan.sentence.caseless == 0 {
        return None;
    }
    let numbered = is_house_number(scan, end) && same_line(scan, end);
    if numbered {
        end += 1;
    }
    let after = |index: usize| token(scan, index).is_some();
    let unit_at = if scan.is_mark(end, ',') { end + 1 } else { end };
    let unit = after(unit_at)
        && scan.is(unit_at, Class::UNIT)
        && is_house_number(scan, unit_at + 1 + usize::from(scan.is_mark(unit_at + 1, '.')));
    let own_line = tokens[index].line && (token(scan, end).is_none_or(|next| next.line) || scan.is_mark(end, ','));
    let label = labelled(scan, index);
    let comes = comes_from(scan, index);
    let unit_first = numbered && unit_before(scan, index).is_some();
    let confidence = match () {
        () if unit || unit_first => 86,
        () if label && numbered => 85,
        () if label => 74,
        () if numbered && own_line => 72,
        () if numbered && comes => 66,
        () => return None,
    };
    Some(Part { first: index, end, confidence, rule: "house-number", open: true })
}

/// Whether a label says that an address begins at a token.
fn labelled(scan: &Scan<'_>, index: usize) -> bool {
    let start = scan.tokens()[index].start as usize;
    scan.label(start).is_some_and(|(says, _)| matches!(says, Says::Kind(Kind::Address)))
        || scan.labels.near(scan.text, &Kind::Address, start, start).is_some()
        || index >= 2
            && [
                "lives",
                "reside",
                "resides",
                "residing",
                "deliver",
                "delivered",
                "ship",
                "shipped",
                "sent",
                "taxi",
                "moved",
            ]
            .iter()
            .any(|word| (index.saturating_sub(4)..index).any(|before| scan.word(before).eq_ignore_ascii_case(word)))
}

/// Whether a preposition of place is before a token: `at 12 …`.
fn comes_from(scan: &Scan<'_>, index: usize) -> bool {
    index.checked_sub(1).is_some_and(|before| {
        scan.tokens()[before].is(',')
            || ["at", "to", "in", "from", "is", "with", "near", "on"]
                .iter()
                .any(|word| scan.word(before).eq_ignore_ascii_case(word))
    })
}

/// A post office box: `P.O. Box 101`, `Postfach 71`, with a house number before it.
fn boxed(scan: &Scan<'_>, index: usize) -> Option<Part> {
    let tokens = scan.tokens();
    let own = &tokens[index];
    if own.kind != TokenKind::Word || !matches!(own.first, 'p' | 'P' | 'a' | 'A') {
        return None;
    }
    let word = scan.word(index);
    let is = |index: usize, word: &str| index < tokens.len() && scan.word(index).eq_ignore_ascii_case(word);
    let number = if is(index, "postfach") || is(index, "apartado") {
        index + 1
    } else if is(index, "po") && is(index + 1, "box") {
        index + 2
    } else if is(index, "p") && scan.is_mark(index + 1, '.') && is(index + 2, "o") {
        let word = index + 3 + usize::from(scan.is_mark(index + 3, '.'));
        if !is(word, "box") {
            return None;
        }
        word + 1
    } else {
        return None;
    };
    let number = number + usize::from(scan.is_mark(number, '#'));
    if !is_house_number(scan, number) || word.is_empty() {
        return None;
    }
    let first = house_numbers(scan, index).unwrap_or(index);
    Some(Part { first, end: number + 1, confidence: 90, rule: "box", open: true })
}

/// A military address of the United States: `PSC 1234, Box 56` or a ship, and `APO AE 09012`.
fn military(scan: &Scan<'_>, index: usize) -> Option<Part> {
    let tokens = scan.tokens();
    let is = |index: usize, words: &[&str]| {
        tokens.get(index).is_some_and(|token| token.kind == TokenKind::Word && token.chars <= 5)
            && words.iter().any(|word| scan.word(index).eq_ignore_ascii_case(word))
    };
    if tokens[index].kind != TokenKind::Word
        || !matches!(tokens[index].first.to_ascii_lowercase(), 'p' | 'c' | 'u' | 'a' | 'f' | 'd')
        || tokens[index].chars > 5
    {
        return None;
    }
    let office = if is(index, &["psc", "cmr", "uss", "usns", "uscgc", "usnv", "unit"]) {
        // The office follows on the same or the next line.
        (index + 1..index + 9).find(|&office| is(office, &["apo", "fpo", "dpo"]))?
    } else if is(index, &["apo", "fpo", "dpo"]) {
        index
    } else {
        return None;
    };
    let area = office + 1 + usize::from(scan.is_mark(office + 1, ','));
    (is(area, &["aa", "ae", "ap"]) && scan.is_number(area + 1)).then_some(Part {
        first: index,
        end: area + 2,
        confidence: 93,
        rule: "military",
        open: false,
    })
}

/// `Apt. 12` before an address.
fn unit_before(scan: &Scan<'_>, first: usize) -> Option<usize> {
    let number = first.checked_sub(1)?;
    if !scan.is_number(number) || token(scan, first).is_some_and(|token| token.line) {
        return None;
    }
    let word = if number >= 2 && scan.is_mark(number - 1, '.') { number - 2 } else { number.checked_sub(1)? };
    scan.is(word, Class::UNIT).then_some(word)
}

/// Words after which no city continues.
fn is_stop(word: &str) -> bool {
    [
        "and", "or", "for", "who", "which", "last", "on", "at", "in", "is", "was", "i", "please", "with", "if", "to",
        "this", "that", "phone", "tel", "dob", "mrn",
    ]
    .iter()
    .any(|stop| word.eq_ignore_ascii_case(stop))
}
