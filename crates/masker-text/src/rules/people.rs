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
    for (index, end) in scan.runs(Label::BPerson, Label::IPerson) {
        // `Fatima, Joe and …` is a list, not `Last, First`.
        let listed = scan.is_mark(end, ',') || end < scan.tags.len() && scan.word(end).eq_ignore_ascii_case("and");
        let comma = (index + 1..end).find(|&comma| listed && scan.is_mark(comma, ','));
        let parts = match comma {
            Some(comma) => [(index, comma), (comma + 1, end)],
            None => [(index, end), (end, end)],
        };
        for (first, stop) in parts {
            if let Some(candidate) = name(scan, first, stop) {
                scan.out.push(candidate);
            }
        }
    }
    strays(scan);
    scripts(scan);
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
    while end - first > 1 && scan.sentence.infos[first].cue == Cue::Role && !scan.sentence.infos[first].entry.is_first()
    {
        first += 1;
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
        let plain = token.kind == TokenKind::Word && scan.tags[index].label == Label::O && !weak(scan, index);
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
