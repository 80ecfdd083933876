//! Street addresses.
//!
//! An address is found at its firmest part (a street word, a unit, a box), extended to the house numbers and the unit, and on
//! the same line to the city. On further lines, the city and the postal code are findings of their own.

use super::Scan;
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    labels::Says,
    names::{
        cue::Cue,
        token::{Case, Token, TokenKind},
    },
    words::Class,
};

/// A street's name has at most so many words.
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
            Some(part) => finish(scan, part).max(index + 1),
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

/// Extends a part to the unit and the city, and proposes all. Returns the index of the token after it.
fn finish(scan: &mut Scan<'_>, part: Part) -> usize {
    let mut end = part.end;
    let mut first = part.first;
    let mut confidence = part.confidence;
    let mut quoted = None;
    if part.open {
        if let Some(unit) = unit_before(scan, first) {
            first = unit;
        }
        if let Some(other) = crossing(scan, first) {
            first = other;
        }
        for _ in 0..2 {
            if let Some((unit, stop)) = unit_after(scan, end) {
                confidence = confidence.max(88);
                // Marks that quote a line stay: the unit is a finding of its own.
                if unit > end && quote(scan, unit - 1) {
                    quoted = Some((unit, stop));
                    break;
                }
                end = stop;
            }
            end = city_after(scan, end);
        }
    }
    // In running text, an address is one value on all its lines. In a block of lines, lines stay apart.
    let block = scan.tokens()[first].line || first > 0 && quote(scan, first - 1);
    if part.open && !block {
        end = lines_end(scan, end);
    }
    let tokens = scan.tokens();
    let range = (tokens[first].start as usize, tokens[end - 1].end as usize);
    scan.out.push(Candidate::new(range, Kind::Address, Rank::Pattern, confidence, part.rule));
    if let Some((unit, stop)) = quoted {
        let range = (tokens[unit].start as usize, tokens[stop - 1].end as usize);
        scan.out.push(Candidate::new(range, Kind::Address, Rank::Pattern, confidence, "unit"));
        end = stop;
    }
    if part.open && block { lines_after(scan, end) } else { end }
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

/// The other street of a corner: `the corner of Vesterbro and `, `Elm and `.
fn crossing(scan: &Scan<'_>, first: usize) -> Option<usize> {
    let and =
        first.checked_sub(1).filter(|&and| scan.word(and).eq_ignore_ascii_case("and") || scan.is_mark(and, '&'))?;
    let mut start = and;
    while start > 0 && and - start < 5 && !scan.tokens()[start].line {
        let before = start - 1;
        let number = scan.is_number(before);
        let corner = scan.word(before).eq_ignore_ascii_case("of")
            && before >= 1
            && scan.word(before - 1).eq_ignore_ascii_case("corner");
        if corner {
            let the = before >= 2 && scan.word(before - 2).eq_ignore_ascii_case("the");
            return Some(before - 1 - usize::from(the));
        }
        if !(number || is_street_word(scan, before) || scan.is_mark(before, '.'))
            || scan.sentence.infos[before].cue == Cue::Preposition
        {
            break;
        }
        start -= 1;
    }
    let cue = start.checked_sub(1).is_some_and(|before| {
        matches!(scan.sentence.infos[before].cue, Cue::Preposition)
            || ["is", "in", "at", "of"].contains(&scan.word(before))
    });
    (start < and && cue && scan.tokens()[start].capital()).then_some(start)
}

/// A unit after an address: `, Apt. 12`, `Suite 3` on the same or the next line. Returns its first token, and the one after it.
fn unit_after(scan: &Scan<'_>, end: usize) -> Option<(usize, usize)> {
    let mut at = end;
    for _ in 0..2 {
        if scan.is_mark(at, ',') || quote(scan, at) {
            at += 1;
        }
    }
    // Marks of quoted lines.
    while at < end + 5 && quote(scan, at) {
        at += 1;
    }
    if !scan.is(at, Class::UNIT) && !scan.is_mark(at, '#') {
        return None;
    }
    let unit = at;
    at += 1;
    if scan.is_mark(at, '.') || scan.is_mark(at, '#') {
        at += 1;
    }
    let value = token(scan, at).filter(|token| {
        !token.line && (token.kind == TokenKind::Number || token.chars <= 2 && token.kind == TokenKind::Word)
    })?;
    // `4B`
    let letter = token(scan, at + 1).is_some_and(|next| !next.space && next.chars == 1 && next.kind != TokenKind::Mark)
        && value.kind == TokenKind::Number;
    Some((unit, at + 1 + usize::from(letter)))
}

/// Whether a token is a mark that quotes a line.
fn quote(scan: &Scan<'_>, index: usize) -> bool {
    token(scan, index)
        .is_some_and(|token| token.kind == TokenKind::Mark && matches!(token.first, '>' | '?' | '*' | '|'))
}

/// The end of a city after an address on the same line, with its state.
fn city_after(scan: &Scan<'_>, end: usize) -> usize {
    let mut stop = end;
    let mut at = end;
    for _ in 0..4 {
        let comma = scan.is_mark(at, ',') && same_line(scan, at);
        if comma {
            at += 1;
        }
        let from = at;
        while at - from < 6 && same_line(scan, at) {
            let own = &scan.tokens()[at];
            let joint = at > from
                && (own.is('-')
                    || own.is('\'')
                    || own.is('.')
                        && scan.tokens()[at - 1].chars <= 2
                        && scan.tokens().get(at + 1).is_some_and(|next| next.capital()));
            let word = is_street_word(scan, at)
                && !scan.is(at, Class::FILLER)
                && !matches!(scan.sentence.infos[at].cue, Cue::Verb | Cue::Role | Cue::Naming);
            if !joint && !word || word && is_stop(scan.word(at)) {
                break;
            }
            at += 1;
        }
        let words = at - from;
        // Without a comma, only capitalized words after a unit or a number are a city.
        let number_before = scan.tokens()[end - 1].kind == TokenKind::Number;
        if words == 0 || !comma && !(number_before && from == end) {
            break;
        }
        stop = at;
        // A postal code that is no ZIP code of the United States belongs to the address.
        let state = scan.is(at - 1, Class::STATE) && scan.tokens()[at - 1].case == Case::Upper;
        if !state && scan.is_number(at) && same_line(scan, at) && (4..=6).contains(&scan.tokens()[at].chars) {
            return at + 1;
        }
    }
    while stop > end && scan.tokens()[stop - 1].kind == TokenKind::Mark {
        stop -= 1;
    }
    stop
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

/// A line of a city after an address: its words, and its postal code.
struct CityLine {
    words: (usize, usize),
    code: Option<usize>,
    /// The token after the line's part that belongs to the address.
    end: usize,
}

/// Reads the city, the region or the country, and the postal code on the line after a token.
fn city_line(scan: &Scan<'_>, at: usize) -> Option<CityLine> {
    let mut from = at;
    while from < at + 5 && (quote(scan, from) || scan.is_mark(from, ',')) {
        from += 1;
    }
    let first = token(scan, from)?;
    let quoted = from > at && scan.tokens()[at].line;
    if !first.line && !quoted && !scan.is_mark(at, ',') {
        return None;
    }
    let mut stop = from;
    while stop - from < 7 && (stop == from || same_line(scan, stop)) {
        let own = &scan.tokens()[stop];
        let joint = stop > from && own.kind == TokenKind::Mark && matches!(own.first, '-' | '\'' | '.');
        if !joint && !is_street_word(scan, stop) {
            break;
        }
        stop += 1;
    }
    while stop > from && scan.tokens()[stop - 1].kind == TokenKind::Mark {
        stop -= 1;
    }
    // `Makareao, nan 57132`: a region before the code.
    let mut code = stop;
    let comma = scan.is_mark(code, ',') && same_line(scan, code);
    if comma {
        code += 1;
        if token(scan, code).is_some_and(|own| own.kind == TokenKind::Word && own.chars <= 3 && !own.line) {
            code += 1;
        }
    }
    let number =
        scan.is_number(code) && (code == from || same_line(scan, code)) && (2..=6).contains(&scan.tokens()[code].chars);
    let long = number && scan.tokens()[code].chars >= 4;
    let line_ends = |index: usize| token(scan, index).is_none_or(|next| next.line || next.kind == TokenKind::Mark);
    if long && (comma || line_ends(code + 1) || stop - from >= 1) {
        return Some(CityLine { words: (from, stop), code: Some(code), end: code + 1 });
    }
    // A region's number: `, 81`.
    if number && stop == from && line_ends(code + 1) {
        return Some(CityLine { words: (from, stop), code: Some(code), end: code + 1 });
    }
    (stop > from && stop - from <= 6 && line_ends(stop)).then_some(CityLine {
        words: (from, stop),
        code: None,
        end: stop,
    })
}

/// The end of an address that goes on to the next lines.
fn lines_end(scan: &Scan<'_>, end: usize) -> usize {
    let mut at = end;
    for _ in 0..3 {
        let Some(line) = city_line(scan, at) else { break };
        let words = &scan.tokens()[line.words.0..line.words.1];
        // The next line of a form is no city: `Phone`, `DOB`.
        let start = scan.tokens()[line.words.0].start as usize;
        let label = scan.labels.found.binary_search_by_key(&start, |label| label.start).is_ok();
        let zip = line.code.is_some_and(|code| {
            code > 0 && scan.is(code - 1, Class::STATE) && scan.tokens()[code - 1].case == Case::Upper
        });
        if label || words.is_empty() && line.code.is_none() {
            break;
        }
        if zip {
            return line.end - 1;
        }
        at = line.end;
        if line.code.is_some_and(|code| scan.tokens()[code].chars >= 4) {
            break;
        }
    }
    at
}

/// Proposes the city and the postal code on the lines after an address. Returns the index of the token after them.
fn lines_after(scan: &mut Scan<'_>, end: usize) -> usize {
    let mut at = end;
    for _ in 0..3 {
        let Some(line) = city_line(scan, at) else { break };
        let (from, stop) = line.words;
        if stop > from {
            let range = (scan.tokens()[from].start as usize, scan.tokens()[stop - 1].end as usize);
            scan.out.push(Candidate::new(range, Kind::Location, Rank::Pattern, 60, "address-city"));
        }
        at = line.end;
        if let Some(code) = line.code {
            let state = code > 0 && scan.is(code - 1, Class::STATE) && scan.tokens()[code - 1].case == Case::Upper;
            let own = &scan.tokens()[code];
            if !state && own.chars >= 4 {
                scan.out.push(Candidate::new(
                    (own.start as usize, own.end as usize),
                    Kind::Address,
                    Rank::Pattern,
                    70,
                    "address-code",
                ));
            }
            if own.chars >= 4 {
                break;
            }
        }
    }
    at
}
