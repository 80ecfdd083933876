//! How far an address reaches: the unit, the city, the postal code.

use super::{Part, is_stop, is_street_word, same_line, token, unit_before};
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    names::token::Case,
    names::{cue::Cue, token::TokenKind},
    rules::Scan,
    words::Class,
};

/// Extends a part to the unit and the city, and proposes all. Returns the index of the token after it.
pub(super) fn finish(scan: &mut Scan<'_>, part: Part) -> usize {
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
        // `Haldenstein, nan 76216`: a region of a few letters before the code.
        let region = comma
            && words == 0
            && stop > end
            && token(scan, at)
                .is_some_and(|own| own.kind == TokenKind::Word && own.chars <= 3 && own.case == Case::Lower)
            && scan.is_number(at + 1)
            && same_line(scan, at + 1)
            && (4..=6).contains(&scan.tokens()[at + 1].chars);
        if region {
            return at + 2;
        }
        // Without a comma, only capitalized words after a unit or a number are a city.
        let number_before = scan.tokens()[end - 1].kind == TokenKind::Number;
        let follows = comma || number_before && from == end;
        if words == 0 || !follows {
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
                scan.propose_token(own, Kind::Address, Rank::Pattern, 70, "address-code");
            }
            if own.chars >= 4 {
                break;
            }
        }
    }
    at
}
