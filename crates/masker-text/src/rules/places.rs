//! Cities, counties and facilities.

use super::{Scan, people};
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    names::{
        cue::Cue,
        tagger::Label,
        token::{Case, TokenKind},
    },
    words::Class,
};

/// Proposes places.
pub(crate) fn find(scan: &mut Scan<'_>) {
    facilities(scan);
    for (first, end) in scan.runs(Label::BPlace, Label::IPlace) {
        if let Some(candidate) = place(scan, first, end) {
            scan.out.push(candidate);
        }
    }
}

fn place(scan: &Scan<'_>, first: usize, end: usize) -> Option<Candidate> {
    let tokens = scan.tokens();
    let mut end = end;
    while end > first
        && (tokens[end - 1].kind == TokenKind::Mark && !tokens[end - 1].is('.') || tokens[end - 1].is('.'))
    {
        end -= 1;
    }
    if first == end || tokens[first].kind != TokenKind::Word {
        return None;
    }
    let range = (tokens[first].start as usize, tokens[end - 1].end as usize);
    let text = &scan.text[range.0..range.1];
    let start = range.0;
    if start > 0 && matches!(scan.text.as_bytes()[start - 1], b'@' | b'#' | b'_' | b'/') {
        return None;
    }
    let state = end - first == 1 && scan.is(first, Class::STATE) && tokens[first].case == Case::Upper;
    if state {
        // A state alone is no place smaller than a state; after a city it is part of the place.
        let city = first >= 2
            && tokens[first - 1].is(',')
            && matches!(scan.tags[first - 2].label, Label::BPlace | Label::IPlace);
        return city.then(|| Candidate::new(range, Kind::Location, Rank::Model, 60, "state"));
    }
    // `Glasgow 15` and `Bactrim, Keflex` name no place.
    let words = || (first..end).filter(|&index| tokens[index].kind == TokenKind::Word);
    let placed = first > 0 && scan.sentence.infos[first - 1].cue == Cue::Preposition;
    let score = |index: usize| scan.is(index, Class::EPONYM) || scan.is(index, Class::GRADED) && scan.is_number(end);
    let medical = !scan.is_mark(end, ',') && words().all(score);
    if words().all(|index| scan.is(index, Class::THING)) || scan.is(end, Class::THING_AFTER) || !placed && medical {
        return None;
    }
    if people::stray(scan, first, end).is_some() || scan.words.is_large_place(text) || people::eponym(scan, end) {
        return None;
    }
    let lower = tokens[first..end].iter().all(|token| token.case == Case::Lower || token.kind != TokenKind::Word);
    let known = (first..end).any(|index| scan.sentence.infos[index].entry.is_place() || scan.sentence.in_place(index));
    let common = (first..end).all(|index| scan.sentence.infos[index].entry.is_common());
    if lower && (common || !known) {
        return None;
    }
    // Regions are too vague to be smaller than a state: `the Denver metro area`, `the Ohio River Valley`.
    let region = |index: usize| {
        ["metro", "metropolitan", "region", "valley", "coast", "river", "mountains", "basin", "hemisphere"]
            .iter()
            .any(|word| index < tokens.len() && scan.word(index).eq_ignore_ascii_case(word))
    };
    let the = first > 0 && scan.word(first - 1).eq_ignore_ascii_case("the");
    if the && (region(end - 1) || region(end)) {
        return None;
    }
    let lead = (first..end).map(|index| scan.tags[index].lead).fold(f32::MIN, f32::max);
    let confidence = (people::confidence(lead) + if known { 6 } else { 0 }).min(92);
    Some(Candidate::new(range, Kind::Location, Rank::Model, confidence, "place"))
}

/// Proposes names that end like those of hospitals and clinics: `Elm Street Clinic`, `UCLA Med Ctr`, `St. Mary's Hospital`.
fn facilities(scan: &mut Scan<'_>) {
    let tokens = scan.tokens();
    for index in 1..tokens.len() {
        let facility = scan.is(index, Class::FACILITY);
        let end_word = scan.is(index, Class::FACILITY_END) && tokens[index].capital();
        if !facility && !end_word || tokens[index].line {
            continue;
        }
        // The last word of the name counts: `Hospital` of `Hospital Center`.
        if tokens.get(index + 1).is_some_and(|next| !next.line && next.capital())
            && (scan.is(index + 1, Class::FACILITY_END) || scan.is(index + 1, Class::FACILITY))
        {
            continue;
        }
        let mut first = index;
        let mut proper = 0;
        while first > 0 && index - first < 7 && !tokens[first].line {
            let before = &tokens[first - 1];
            let word = before.kind == TokenKind::Word && (before.capital() || scan.is(first - 1, Class::FACILITY_END));
            let joint = before.kind == TokenKind::Possessive
                || before.is('-') && !before.space
                || before.is('&')
                || before.is('.') && first >= 2 && matches!(scan.word(first - 2), "St" | "Mt" | "Ft" | "Med" | "Dr");
            // `5th Street Clinic`
            let ordinal = before.kind == TokenKind::Number
                && !tokens[first].space
                && ["st", "nd", "rd", "th"].iter().any(|end| scan.word(first).eq_ignore_ascii_case(end));
            if !word && !joint && !ordinal {
                break;
            }
            // A sentence's first word, and words that are no names, begin no name.
            let generic = word && scan.sentence.is_start(first - 1) && scan.sentence.infos[first - 1].entry.is_common();
            if generic
                || word && matches!(scan.sentence.infos[first - 1].cue, Cue::Preposition | Cue::Verb | Cue::Role)
                || word && is_article(scan.word(first - 1))
            {
                break;
            }
            proper += usize::from(
                word && !scan.is(first - 1, Class::FACILITY) && !scan.is(first - 1, Class::FACILITY_END) || ordinal,
            );
            first -= 1;
        }
        while first < index
            && (tokens[first].kind != TokenKind::Word && tokens[first].kind != TokenKind::Number
                || tokens[first].is('-'))
        {
            first += 1;
        }
        let titled = tokens[index].capital() && index > first;
        if proper == 0 && !(facility && titled) || first == index {
            continue;
        }
        let range = (tokens[first].start as usize, tokens[index].end as usize);
        let confidence = if facility { 85 } else { 72 };
        scan.out.push(Candidate::new(range, Kind::Location, Rank::Pattern, confidence, "facility"));
    }
}

fn is_article(word: &str) -> bool {
    ["the", "our", "a", "an", "this", "that", "my", "any", "your", "his", "her"]
        .iter()
        .any(|article| word.eq_ignore_ascii_case(article))
}
