//! Names of people: the tagger's proposals, with guards, and repeats of names.

use super::Scan;
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    names::{
        cue::Cue,
        lexicon::Entry,
        tagger::Label,
        token::{Case, TokenKind},
    },
    words::Class,
};

/// Confidence of the tagger's proposals: with a lead of 0, and what a lead of 1 adds. Of the names with a lead of 12 to 24, two
/// thirds were right on the development data, of those above 72 more than 95 percent.
const BASE: f32 = 44.0;
const SLOPE: f32 = 0.6;
/// Least lead with which an ordinary word is a name without a cue.
const LEAD_OF_WEAK: f32 = 60.0;

/// The confidence of a lead, in percent.
pub(crate) fn confidence(lead: f32) -> u8 {
    (BASE + SLOPE * lead).clamp(0.0, 96.0) as u8
}

/// Proposes names.
pub(crate) fn find(scan: &mut Scan<'_>) {
    for (first, end) in joined_runs(scan) {
        // `Fatima, Joe and …` is a list, not `Last, First`.
        let listed = scan.is_mark(end, ',') || end < scan.tags.len() && scan.word(end).eq_ignore_ascii_case("and");
        let mut begin = first;
        let mut has_comma = false;
        for index in first..end {
            let comma = listed && !has_comma && index > first && scan.is_mark(index, ',');
            has_comma |= comma;
            if comma || ends_sentence(scan, first, index) {
                push_name(scan, begin, index);
                begin = index + 1;
            }
        }
        push_name(scan, begin, end);
    }
    strays(scan);
    scripts(scan);
    inverted(scan);
}

/// The sequences that the tagger takes for names. Two words that it takes for two people are one: `Bob Miller`.
fn joined_runs(scan: &Scan<'_>) -> Vec<(usize, usize)> {
    let tokens = scan.tokens();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (first, end) in scan.runs(Label::BPerson, Label::IPerson) {
        let given = |index: usize| {
            let info = &scan.sentence.infos[index];
            tokens[index].case == Case::Title && info.entry.first() >= 2 && info.cue == Cue::None
        };
        match runs.last_mut() {
            Some(last)
                if last.1 == first
                    && last.1 - last.0 == 1
                    && given(last.0)
                    && tokens[first].case == Case::Title
                    && tokens[first].space
                    && !tokens[first].line =>
            {
                last.1 = end;
            }
            _ => runs.push((first, end)),
        }
    }
    runs
}

fn push_name(scan: &mut Scan<'_>, first: usize, end: usize) {
    if first < end
        && let Some(candidate) = name(scan, first, end)
    {
        scan.out.push(candidate);
    }
}

/// Whether a mark within a sequence that the tagger takes for one name ends a sentence: `DR JONES. JOHN will …`.
fn ends_sentence(scan: &Scan<'_>, first: usize, index: usize) -> bool {
    let tokens = scan.tokens();
    let Some(next) = tokens.get(index + 1) else { return false };
    if !matches!(tokens[index].first, '!' | '?' | ';' | ':') && !scan.is_mark(index, '.') || index == first {
        return false;
    }
    if tokens[index].kind != TokenKind::Mark || !next.space {
        return false;
    }
    if !tokens[index].is('.') {
        return true;
    }
    // A full stop belongs to an initial, a title or a suffix before it, unless a sentence begins after it.
    let before = &tokens[index - 1];
    let short = before.chars == 1
        || before.chars <= 5 && matches!(scan.sentence.infos[index - 1].cue, Cue::Title | Cue::Suffix | Cue::Particle);
    !short || scan.is(index + 1, Class::OPENER)
}

/// Proposes `Last, First` in texts where the tagger sees two words: `garcia, maria`, `SMITH, JOHN A.`
fn inverted(scan: &mut Scan<'_>) {
    for comma in 1..scan.tokens().len().saturating_sub(1) {
        if let Some(candidate) = inverted_at(scan, comma) {
            scan.out.push(candidate);
        }
    }
}

fn inverted_at(scan: &Scan<'_>, comma: usize) -> Option<Candidate> {
    let tokens = scan.tokens();
    let (last, first) = (comma - 1, comma + 1);
    // `GARCIA-LOPEZ, MARIA`
    let double = last >= 2
        && tokens[last - 1].is('-')
        && !tokens[last - 1].space
        && !tokens[last].space
        && tokens[last - 2].kind == TokenKind::Word;
    let begin = if double { last - 2 } else { last };
    if !tokens[comma].is(',')
        || tokens[comma].space
        || tokens[first].line
        || tokens[last].kind != TokenKind::Word
        || tokens[first].kind != TokenKind::Word
        || tokens[first].chars < 2
    {
        return None;
    }
    let (surname, given) = (scan.sentence.infos[last].entry, scan.sentence.infos[first].entry);
    let foreign = |entry: Entry, flag: u8| entry.0 & flag != 0;
    // `Paris, Charlotte and Madison` are first names or cities.
    let is_surname = surname.last() >= 2 && surname.first() < surname.last()
        || surname.last() >= 1 && surname.first() == 0
        || foreign(surname, Entry::FOREIGN_LAST) && surname.first() == 0;
    let is_given =
        given.first() >= 2 || given.first() >= 1 && !given.is_common() || foreign(given, Entry::FOREIGN_FIRST);
    if !is_surname || !is_given || scan.words.is_state_name(scan.word(first)) {
        return None;
    }
    let starts = scan.sentence.is_start(begin);
    let labelled = cued(scan, begin)
        || scan.label(tokens[begin].start as usize).is_some_and(|(says, _)| super::names(says, &Kind::Name));
    let common = usize::from(surname.is_common()) + usize::from(given.is_common());
    // `SMITH, MARK`: a surname that is no other word makes the next word a name.
    let sure = !surname.is_common() && !scan.is(last, Class::NO_NAME) && (tokens[last].case != Case::Lower || labelled);
    let weak = |index: usize| {
        scan.is(index, Class::NO_NAME) && !sure
            || scan.is(index, Class::OPENER)
            || scan.is(index, Class::FILLER)
            || scan.classes[index].month().is_some()
            || matches!(scan.sentence.infos[index].cue, Cue::Calendar | Cue::Greeting | Cue::Closing | Cue::Verb)
    };
    // An initial, or a second given name in the same case, belongs to the name.
    let case = tokens[last].case;
    let mut end = first + 1;
    let middle = tokens.get(end).filter(|middle| middle.kind == TokenKind::Word && !middle.line && middle.space);
    let second = |entry: Entry| entry.first() >= 1 && !entry.is_common();
    if middle.is_some_and(|middle| {
        middle.case == Case::Single
            || case == Case::Upper && middle.case == Case::Upper && second(scan.sentence.infos[end].entry)
    }) {
        end += 1;
    }
    let goes_on = scan.is_mark(end, ',') || end < tokens.len() && scan.word(end).eq_ignore_ascii_case("and");
    let list = begin >= 1 && scan.is_mark(begin - 1, ',') || goes_on;
    let fits = match (case, tokens[first].case) {
        (Case::Upper, Case::Upper) => !weak(first) && (!list || common < 2),
        (Case::Title | Case::Mixed, Case::Title | Case::Mixed) => {
            (starts || labelled) && !weak(last) && !weak(first) && (labelled || !list && common < 2)
        }
        (Case::Lower, Case::Lower) => {
            !weak(last)
                && !weak(first)
                && (labelled && !list
                    || !list && starts && surname.last() >= 2 && given.first() >= 2
                    || !list && common == 0)
        }
        _ => false,
    };
    if !fits {
        return None;
    }
    let stop = tokens[end - 1].end as usize;
    let stop = if initial_with_stop(scan, end) { stop + 1 } else { stop };
    Some(Candidate::new((tokens[begin].start as usize, stop), Kind::Name, Rank::Pattern, 82, "name-inverted"))
}

/// Proposes people that the tagger takes for places: `Teresa Walker`, which begins with a common first name and is no place that a
/// list has.
fn strays(scan: &mut Scan<'_>) {
    for index in 0..scan.tags.len() {
        if !matches!(scan.tags[index].label, Label::BPlace | Label::BOrganization) {
            continue;
        }
        let mut end = index + 1;
        while end < scan.tags.len() && matches!(scan.tags[end].label, Label::IPlace | Label::IOrganization) {
            end += 1;
        }
        if let Some((first, end)) = stray(scan, index, end) {
            let tokens = scan.tokens();
            let range = (tokens[first].start as usize, tokens[end - 1].end as usize);
            scan.out.push(Candidate::new(range, Kind::Name, Rank::Pattern, 62, "name-list"));
        }
    }
}

/// The person's name in a sequence of tokens that the tagger takes for a place.
pub(crate) fn stray(scan: &Scan<'_>, first: usize, end: usize) -> Option<(usize, usize)> {
    let tokens = scan.tokens();
    // `'s` and what follows is no part of a name.
    let possessive = (first..end).find(|&index| tokens[index].kind == TokenKind::Possessive && index > first);
    let stop = possessive.unwrap_or(end);
    let name = |index: usize| {
        let entry = scan.sentence.infos[index].entry;
        tokens[index].case == Case::Title && entry.first() >= 2 && !entry.is_common() && !scan.sentence.in_place(index)
    };
    // `Best regards, The Billing Team` names nobody.
    let group = |index: usize| {
        matches!(scan.sentence.infos[index].cue, Cue::Organization | Cue::Facility)
            || scan.word(index).eq_ignore_ascii_case("the")
    };
    if closed(scan, first)
        && end - first <= 3
        && tokens[first..stop].iter().all(|token| token.kind == TokenKind::Word)
        && !(first..stop).any(group)
    {
        return Some((first, stop));
    }
    if !name(first) || eponym(scan, stop) || scan.tags[first].label == Label::BOrganization && possessive.is_none() {
        return None;
    }
    let words = &tokens[first..stop];
    let proper = words.iter().all(|token| token.kind == TokenKind::Word && token.case != Case::Lower);
    let facility =
        (first..end).any(|index| scan.is(index, Class::FACILITY) || scan.sentence.infos[index].cue == Cue::Facility);
    let place = scan.sentence.infos[first].entry.is_place();
    let surname = stop - first == 2
        && !scan.sentence.infos[first + 1].entry.is_common()
        && scan.sentence.infos[first + 1].cue == Cue::None;
    (proper && !facility && (surname || stop - first == 1 && !place)).then_some((first, stop))
}

/// Checks a sequence of tokens that the tagger takes for a name.
fn name(scan: &Scan<'_>, first: usize, end: usize) -> Option<Candidate> {
    let tokens = scan.tokens();
    let (mut first, mut end) = (first, end);
    // Titles, and marks at the edges, are no part of a name.
    while first < end
        && (tokens[first].kind == TokenKind::Mark
            || tokens[first].kind == TokenKind::Possessive
            || is_title(scan, first))
    {
        first += 1;
    }
    while end > first
        && (tokens[end - 1].kind == TokenKind::Mark && !is_initial_stop(scan, end - 1)
            || tokens[end - 1].kind == TokenKind::Possessive)
    {
        end -= 1;
    }
    // `Customer Liu Wei`: a role is no part of a name either.
    while end - first > 1
        && scan.sentence.infos[first].cue == Cue::Role
        && !scan.sentence.infos[first].entry.is_first()
        && !tokens[first + 1].is('-')
    {
        first += 1;
    }
    // `70 y/o M. Smith …`: the letter says the sex.
    if end > first && is_sex(scan, first) {
        first += 1;
        if first < end && tokens[first].is('.') {
            first += 1;
        }
    }
    // `Last, First` has a comma, but what follows `First Last` is another thing.
    if let Some(comma) = (first..end).find(|&index| tokens[index].is(','))
        && comma - first >= 2
        && scan.sentence.infos[first].entry.is_first()
        && tokens[first..comma].iter().all(|token| token.kind == TokenKind::Word)
    {
        end = comma;
    }
    if first == end || tokens[first..end].iter().all(|token| token.kind != TokenKind::Word) {
        return None;
    }
    if eponym(scan, end) || tokens[first..end].iter().any(|token| token.kind == TokenKind::Number && token.chars > 2) {
        return None;
    }
    // Handles are accounts, and parts of addresses and paths are no names.
    let start = tokens[first].start as usize;
    if start > 0 && matches!(scan.text.as_bytes()[start - 1], b'@' | b'#' | b'_' | b'/') {
        return None;
    }
    // `sha256`: digits follow without a space.
    if tokens.get(end).is_some_and(|next| !next.space && next.kind == TokenKind::Number) {
        return None;
    }
    // `Child-Pugh B`, `Crohn`: words of medicine, unless a first name or a title makes them a person's.
    let titled = first > 0
        && (scan.sentence.infos[first - 1].cue == Cue::Title
            || tokens[first - 1].is('.') && first > 1 && scan.sentence.infos[first - 2].cue == Cue::Title);
    if !titled
        && (first..end).any(|index| scan.is(index, Class::EPONYM))
        && (scan.is(first, Class::EPONYM) || tokens[first + 1].is('-'))
    {
        return None;
    }
    if !titled && is_thing(scan, first, end) {
        return None;
    }
    // `a john in the hall`
    let counted = first > 0 && ["a", "an"].contains(&scan.word(first - 1));
    if end - first == 1 && counted && tokens[first].case == Case::Lower {
        return None;
    }
    // `Johnson & Johnson` is a company.
    let twin = |mark: usize, word: usize| {
        scan.is_mark(mark, '&') && tokens.get(word).is_some_and(|other| other.word == tokens[first].word)
    };
    if end - first == 1 && (twin(end, end + 1) || first >= 2 && twin(first - 1, first - 2)) {
        return None;
    }
    // `Ward C`, `Unit B`
    let designation = end - first == 2 && scan.is(first, Class::UNIT) && tokens[end - 1].case == Case::Single;
    let words = (first..end).filter(|&index| tokens[index].kind == TokenKind::Word);
    let lead = (first..end).map(|index| scan.tags[index].lead).fold(f32::MIN, f32::max);
    let weak = words.clone().all(|index| weak(scan, index));
    if (weak || abbreviation(scan, first, end)) && !supported(scan, first, end) {
        return None;
    }
    if designation && !cued(scan, first) {
        return None;
    }
    let stop = tokens[end - 1].end as usize;
    let stop = if initial_with_stop(scan, end) { stop + 1 } else { stop };
    let confidence = confidence(lead);
    let confidence = if weak { confidence.min(60) } else { confidence };
    Some(Candidate::new((start, stop), Kind::Name, Rank::Model, confidence, "name"))
}

/// Whether a letter after an age says the sex: `70 y/o M`, `45F`.
fn is_sex(scan: &Scan<'_>, index: usize) -> bool {
    let tokens = scan.tokens();
    if !matches!(scan.word(index), "M" | "F" | "m" | "f") || index == 0 {
        return false;
    }
    let age = ["o", "yo", "yrs", "yr", "old", "years", "year", "y"];
    let after_age = |index: usize| age.iter().any(|word| scan.word(index).eq_ignore_ascii_case(word));
    let before = index - 1;
    scan.is_number(before) && tokens[before].chars <= 3
        || (after_age(before) || tokens[before].is('.') && before > 0 && after_age(before - 1))
            && (before.saturating_sub(5)..before).any(|index| scan.is_number(index))
}

/// Whether what looks like a name is one of something else: a program, a drug, a species, a laboratory test, a grade.
fn is_thing(scan: &Scan<'_>, first: usize, end: usize) -> bool {
    let tokens = scan.tokens();
    let words = || (first..end).filter(|&index| tokens[index].kind == TokenKind::Word);
    // `Maria Jenkins`, of which the tagger has seen the first name alone.
    let preceded = first > 0 && tokens[first - 1].capital() && scan.sentence.infos[first - 1].entry.first() >= 2;
    let person = cued(scan, first) || preceded && !tokens[first].line;
    if words().all(|index| scan.is(index, Class::THING)) {
        return !person;
    }
    // `Epstein-Barr virus`, `Kirschner wire`, unless a first name is before the surname.
    let follows = scan.is(end, Class::THING_AFTER) && !tokens[end].line && tokens[end].case == Case::Lower;
    if follows && (end - first == 1 || tokens[first + 1].is('-')) {
        return !person;
    }
    // `E. coli`, `grew S. aureus`, `T. bili`
    let species = |index: usize| {
        tokens[index].chars == 1
            && scan.is_mark(index + 1, '.')
            && index + 2 < tokens.len()
            && scan.is(index + 2, Class::EPITHET)
    };
    let plain =
        |index: usize| tokens[index].chars == 1 || scan.is(index, Class::EPITHET) || tokens[index].case == Case::Lower;
    if words().any(species) && words().all(plain) {
        return true;
    }
    // `NYHA III`, `Weber B`, `Hoffmann negative`
    let roman = |index: usize| matches!(scan.word(index), "I" | "II" | "III" | "IV" | "V" | "VI");
    let class = |index: usize| {
        tokens[index].case == Case::Upper
            && tokens[index].chars <= 5
            && scan.sentence.infos[index].entry == Entry::default()
    };
    let grade = |index: usize| {
        tokens.get(index).is_some_and(|token| token.kind == TokenKind::Word && !token.line)
            && (roman(index)
                || matches!(scan.word(index), "A" | "B" | "C" | "D")
                || ["negative", "positive", "neg", "pos"]
                    .iter()
                    .any(|word| scan.word(index).eq_ignore_ascii_case(word)))
    };
    let caseless = scan.sentence.caseless == 2;
    match end - first {
        _ if scan.is(first, Class::GRADED) && grade(first + 1) && scan.is_mark(first + 2, ',') => true,
        1 => scan.is(first, Class::GRADED) && grade(end) && !person,
        2 => scan.is(first, Class::GRADED) && grade(first + 1) || !caseless && class(first) && roman(first + 1),
        3 => {
            scan.is(first, Class::GRADED)
                && scan.is(first + 2, Class::GRADED)
                && tokens[first + 1].is('-')
                && grade(end)
        }
        4 => scan.is(first, Class::GRADED) && tokens[first + 1].is('-') && grade(first + 3),
        _ => false,
    }
}

/// Whether a title such as `Dr` is at a token, with a word after it.
fn is_title(scan: &Scan<'_>, index: usize) -> bool {
    scan.sentence.infos[index].cue == Cue::Title
        && ["dr", "mr", "mrs", "ms", "miss", "mx", "prof", "doctor", "professor", "sir", "madam"]
            .iter()
            .any(|title| scan.word(index).eq_ignore_ascii_case(title))
}

/// Whether a full stop belongs to an initial before it.
fn is_initial_stop(scan: &Scan<'_>, index: usize) -> bool {
    scan.is_mark(index, '.')
        && index > 0
        && scan.tokens()[index - 1].chars == 1
        && scan.tokens()[index - 1].kind == TokenKind::Word
}

/// Whether a name ends in an initial whose full stop follows.
fn initial_with_stop(scan: &Scan<'_>, end: usize) -> bool {
    let last = &scan.tokens()[end - 1];
    last.kind == TokenKind::Word && last.chars == 1 && scan.is_mark(end, '.') && !scan.tokens()[end].space
}

/// Whether what follows makes a name an eponym: `Crohn's disease`, `Wells score`.
pub(crate) fn eponym(scan: &Scan<'_>, end: usize) -> bool {
    let tokens = scan.tokens();
    let mut next = end;
    if tokens.get(next).is_some_and(|token| token.kind == TokenKind::Possessive) {
        next += 1;
    }
    // One word may stand between: `Framingham risk score`.
    (next..next + 2).any(|index| {
        let same = tokens.get(index).is_some_and(|token| token.kind == TokenKind::Word && !token.line);
        same && scan.sentence.infos[index].cue == Cue::Eponymous
            && (index == next
                || tokens[next].kind == TokenKind::Word
                    && scan.sentence.infos[next].cue == Cue::None
                    && scan.sentence.infos[next].entry.is_common()
                    && tokens[next].case == Case::Lower)
    })
}

/// Whether a word alone is weak evidence: an ordinary word, a month, a day.
fn weak(scan: &Scan<'_>, index: usize) -> bool {
    let info = &scan.sentence.infos[index];
    let ordinary = info.entry.is_common() && (info.entry.first() < 3 || scan.tokens()[index].case == Case::Lower);
    ordinary || scan.is(index, Class::NO_NAME) || info.cue == Cue::Calendar
}

/// Whether a name is one word in capitals, such as `MI` or `SNOMED`, in a text that has lower case too: a short one, or one that is in
/// no list.
fn abbreviation(scan: &Scan<'_>, first: usize, end: usize) -> bool {
    let token = &scan.tokens()[first];
    let entry = scan.sentence.infos[first].entry;
    end - first == 1
        && scan.sentence.caseless != 2
        && (token.case == Case::Upper && (token.chars <= 5 || entry == Entry::default()) || token.case == Case::Single)
        && entry.first() < 3
}

/// Whether context supports a weak name: a title, a role, a greeting, an initial after it, or a word that is surely a name.
fn supported(scan: &Scan<'_>, first: usize, end: usize) -> bool {
    let tokens = scan.tokens();
    if scan.sentence.caseless == 0
        && tokens[first..end].iter().all(|token| token.case != Case::Lower)
        && end - first > 1
    {
        return true;
    }
    cued(scan, first)
        || scan.tags[first].lead > LEAD_OF_WEAK && tokens[first].case != Case::Lower && !scan.sentence.is_start(first)
}

/// Whether a title, a role, a greeting or the like is before a token, with at most one mark between.
fn cued(scan: &Scan<'_>, first: usize) -> bool {
    let tokens = scan.tokens();
    let cue = |index: Option<usize>| {
        index.and_then(|index| scan.sentence.infos.get(index)).is_some_and(|info| {
            matches!(info.cue, Cue::Title | Cue::Role | Cue::Greeting | Cue::Naming | Cue::Kin | Cue::Closing)
        })
    };
    let before = first.checked_sub(1);
    let before =
        if before.is_some_and(|index| tokens[index].kind == TokenKind::Mark) { first.checked_sub(2) } else { before };
    cue(before)
}

/// Whether a token begins the line after a closing: `Best,` or `Kind regards`.
fn closed(scan: &Scan<'_>, index: usize) -> bool {
    let tokens = scan.tokens();
    let mut before = index;
    if index == 0 || !tokens[index].line || !tokens[index].capital() {
        return false;
    }
    before -= 1;
    if tokens[before].kind == TokenKind::Mark && before > 0 {
        before -= 1;
    }
    scan.sentence.infos[before].cue == Cue::Closing
}

/// Proposes names in scripts without case, such as Chinese, within a text of Latin letters: after a title or a role.
fn scripts(scan: &mut Scan<'_>) {
    for index in 1..scan.tokens().len() {
        let token = &scan.tokens()[index];
        if token.case != Case::None
            || token.kind != TokenKind::Word
            || !(2..=6).contains(&token.chars)
            || scan.tags[index].label != Label::O
        {
            continue;
        }
        let cue = scan.sentence.infos[index - 1].cue;
        if matches!(cue, Cue::Title | Cue::Role | Cue::Naming | Cue::Greeting) {
            scan.propose_token(token, Kind::Name, Rank::Model, 65, "name-script");
        }
    }
}

/// Proposes other occurrences of the words of certain names, and remembers these words.
pub(crate) fn repeats(scan: &mut Scan<'_>, known: &mut KnownNames) {
    let found: Vec<(usize, usize)> = scan
        .out
        .iter()
        .filter(|candidate| candidate.kind == Kind::Name && candidate.confidence >= 75)
        .map(|candidate| (candidate.start, candidate.end))
        .collect();
    let tokens = scan.tokens();
    for (start, end) in found {
        let first = scan.token_at(start);
        for (index, token) in tokens.iter().enumerate().skip(first).take_while(|(_, token)| (token.end as usize) <= end)
        {
            if token.kind == TokenKind::Word && token.chars >= 3 && !weak(scan, index) {
                known.insert(token.word);
            }
        }
    }
    if known.is_empty() {
        return;
    }
    for (index, token) in tokens.iter().enumerate() {
        // Names that alone are those of programs are tagged, but not proposed.
        let open = scan.tags[index].label == Label::O || scan.is(index, Class::THING);
        let plain = token.kind == TokenKind::Word && open && !weak(scan, index);
        let cased = token.capital() || scan.sentence.caseless != 0;
        if plain && cased && known.contains(token.word) && !eponym(scan, index + 1) {
            scan.propose_token(token, Kind::Name, Rank::Model, 66, "name-repeat");
        }
    }
}

/// The words of names that a text had so far, up to a number, so that a long text takes no more memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownNames {
    /// Sorted hashes.
    words: Vec<u64>,
}

impl KnownNames {
    /// Most words that are remembered.
    const MAX: usize = 512;

    fn insert(&mut self, word: u64) {
        if let Err(index) = self.words.binary_search(&word)
            && self.words.len() < Self::MAX
        {
            self.words.insert(index, word);
        }
    }

    fn contains(&self, word: u64) -> bool {
        self.words.binary_search(&word).is_ok()
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}
