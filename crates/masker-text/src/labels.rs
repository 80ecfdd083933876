//! Labels: words before a value, keys and table heads that say the value's kind.

mod table;

use crate::{
    kind::Kind,
    names::token::{Token, TokenKind},
    pack::Pack,
    words::{Class, WordClasses},
};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use std::collections::HashMap;

/// What a label says about its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// The value's kind.
    Kind(Kind),
    /// The value identifies nobody.
    Nothing,
}

/// A label in a text.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// Index in [`LabelSet::says`].
    pub says: u16,
    /// Whether the words only make the kind more likely.
    pub hint: bool,
}

/// All labels of the languages in use.
pub(crate) struct LabelSet {
    automaton: AhoCorasick,
    /// For each pattern of the automaton: an index in `says`, and whether it is a hint.
    patterns: Vec<(u16, bool)>,
    /// The pattern of each label, to find a shorter one where a longer one ends within a word.
    by_text: HashMap<String, usize>,
    /// What labels say.
    pub says: Vec<Says>,
}

impl LabelSet {
    /// Collects the labels of language packs, and further ones.
    pub fn new(packs: &[Pack], more: &[(Kind, String)]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut set = Self {
            automaton: AhoCorasick::new([""; 0]).expect("no patterns"),
            patterns: Vec::new(),
            by_text: HashMap::new(),
            says: Vec::new(),
        };
        for pack in packs {
            for (hint, table) in [(false, &pack.labels), (true, &pack.hints)] {
                for (kind, labels) in table {
                    let says = if kind == "NONE" { Says::Nothing } else { Says::Kind(Kind::new(kind)) };
                    let index = set.index(says);
                    for label in labels {
                        set.add(label, index, hint, &mut texts);
                    }
                }
            }
        }
        for (kind, label) in more {
            let index = set.index(Says::Kind(kind.clone()));
            set.add(label, index, true, &mut texts);
        }
        set.automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .expect("labels are few and short");
        for (index, text) in texts.into_iter().enumerate() {
            set.by_text.entry(text).or_insert(index);
        }
        set
    }

    fn index(&mut self, says: Says) -> u16 {
        let index = self.says.iter().position(|known| *known == says).unwrap_or_else(|| {
            self.says.push(says);
            self.says.len() - 1
        });
        index as u16
    }

    /// Adds a label as it is written, and as keys write it: `date of birth`, `date_of_birth`, `date-of-birth`, `dateofbirth`.
    fn add(&mut self, label: &str, index: u16, hint: bool, texts: &mut Vec<String>) {
        let lower = label.to_lowercase();
        let mut forms = vec![lower.clone()];
        if lower.contains(' ') && !hint {
            forms.extend(["_", "-", "", "."].map(|joint| lower.replace(' ', joint)));
        }
        // `Member No.`, `Member #` and `Member Num` mean what `Member number` means.
        if let Some(stem) = lower.strip_suffix(" number") {
            forms.extend(
                [" no", " no.", " num", " nr", " #", "#", "_no", "no", "_num"].map(|end| format!("{stem}{end}")),
            );
        }
        for form in forms {
            if form.len() > 3 || !form.contains(' ') {
                texts.push(form);
                self.patterns.push((index, hint));
            }
        }
    }

    /// Finds all labels of a text.
    pub fn find(&self, text: &str) -> Vec<Label> {
        let bytes = text.as_bytes();
        let mut labels = Vec::new();
        let mut at = 0;
        while let Some(found) = self.automaton.find(Input::new(bytes).range(at..)) {
            let (start, end) = (found.start(), found.end());
            let open = start == 0 || !is_word(bytes[start - 1]) || is_hump(bytes, start);
            let pattern = if !open {
                None
            } else if is_closed(bytes, end) {
                Some((found.pattern().as_usize(), end))
            } else {
                self.shorter(text, start, end)
            };
            // A match that is none can hide a label that begins within it.
            at = start + 1;
            if let Some((pattern, end)) = pattern {
                let (says, hint) = self.patterns[pattern];
                labels.push(Label { start, end, says, hint });
                at = end;
            }
        }
        labels
    }

    /// The longest label that begins like a longer one, which ends within a word: `insurance` in `insurance policyholder`.
    fn shorter(&self, text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        (start + 2..end).rev().find_map(|end| {
            let label = text.get(start..end).filter(|_| is_closed(bytes, end) && bytes[end - 1] != b' ')?;
            Some((*self.by_text.get(&label.to_ascii_lowercase())?, end))
        })
    }
}

/// Whether no word goes on after a label.
fn is_closed(bytes: &[u8], end: usize) -> bool {
    let plural = bytes.get(end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'))
        && bytes.get(end + 1).is_none_or(|&byte| !is_word(byte));
    !is_word(bytes[end - 1]) || bytes.get(end).is_none_or(|&byte| !is_word(byte)) || plural
}

/// Whether a byte is part of a word. The underscore is not: it joins the words of keys.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Whether a word of a key in camel case begins at an offset: `patientMrn`.
fn is_hump(bytes: &[u8], start: usize) -> bool {
    bytes[start].is_ascii_uppercase() && bytes[start - 1].is_ascii_lowercase()
}

/// The labels of one text, and the cells of tables with heads.
pub(crate) struct Labels<'a> {
    set: &'a LabelSet,
    /// Labels in the order of the text.
    pub found: Vec<Label>,
    /// Cells of tables: their range and what the column's head says.
    pub cells: Vec<table::Cell>,
}

impl<'a> Labels<'a> {
    /// Finds the labels and the tables of a text.
    pub fn new(set: &'a LabelSet, text: &str) -> Self {
        let found = set.find(text);
        let cells = table::cells(text, &found, set);
        Self { set, found, cells }
    }

    /// What a label says.
    pub fn says(&self, label: &Label) -> &'a Says {
        &self.set.says[usize::from(label.says)]
    }

    /// Whether a range is within a label of several words, such as `place of birth`, or of one with a colon, such as `Birthdate:`.
    pub fn covers(&self, text: &str, start: usize, end: usize) -> bool {
        let index = self.found.partition_point(|label| label.start <= start);
        index.checked_sub(1).map(|index| &self.found[index]).is_some_and(|label| {
            let sure = text[label.start..label.end].contains(' ') || text[label.end..].starts_with(':');
            !label.hint && end <= label.end && sure
        })
    }

    /// What the head of a cell says.
    pub fn says_of(&self, index: u16) -> &'a Says {
        &self.set.says[usize::from(index)]
    }

    /// The label whose value begins at an offset: in front of it, or at the head of its column.
    pub fn adjacent(&self, text: &str, classes: &WordClasses, start: usize) -> Option<(&'a Says, (usize, usize))> {
        let cell =
            self.cells.partition_point(|cell| cell.start <= start).checked_sub(1).map(|index| &self.cells[index]);
        if let Some(cell) = cell.filter(|cell| start < cell.end) {
            return Some((&self.set.says[usize::from(cell.says)], cell.head));
        }
        let index = self.found.partition_point(|label| label.end <= start);
        let label = self.found[..index].iter().rev().take(3).find(|label| !label.hint)?;
        if start - label.end > GAP_MAX {
            return None;
        }
        // A label that follows the value of its own line (`555-0143 fax`) is none of the next line's.
        let gap = &text[label.end..start];
        if gap.contains('\n') && !gap.trim_start_matches([' ', '"', '*']).starts_with([':', '=']) {
            let line = text[..label.start].rfind('\n').map_or(0, |at| at + 1);
            if text[line..label.start].bytes().any(|byte| byte.is_ascii_digit()) {
                return None;
            }
        }
        is_filler(text, classes, label.end, start).then(|| (self.says(label), (label.start, label.end)))
    }

    /// Whether a label or hint of a kind is near a value: in the same sentence, up to 60 bytes before it or 16 after.
    pub fn near(&self, text: &str, kind: &Kind, start: usize, end: usize) -> Option<(usize, usize)> {
        let says = |label: &Label| matches!(self.says(label), Says::Kind(known) if known == kind);
        let index = self.found.partition_point(|label| label.end <= start);
        let before = self.found[..index].iter().rev().take(6).take_while(|label| start - label.end <= NEAR_BEFORE);
        for label in before {
            if says(label) && !crosses(&text[label.end..start]) {
                return Some((label.start, label.end));
            }
        }
        let after = self.found[index..].iter().skip_while(|label| label.start < end).take(2);
        for label in after.take_while(|label| label.start - end <= NEAR_AFTER) {
            if says(label) && !text[end..label.start].contains(['\n', ':', ',']) {
                return Some((label.start, label.end));
            }
        }
        None
    }

    /// The label directly after a value: `555-0142 (cell)`, `555-0143 fax`.
    pub fn after(&self, text: &str, end: usize) -> Option<(&'a Says, (usize, usize))> {
        let index = self.found.partition_point(|label| label.start < end);
        let label = self.found.get(index).filter(|label| label.start - end <= 4)?;
        let gap = &text[end..label.start];
        let closed = text[label.end..].trim_start_matches([' ', ')', ']']);
        let colon = closed.starts_with([':', '=', '#']);
        // `212-555-0147 Fax 212-555-0148`: the label of the next number, unless brackets enclose it.
        let next = text[label.end..]
            .trim_start_matches([' ', '.'])
            .starts_with(|char: char| char.is_ascii_digit() || "(+".contains(char));
        let bracketed = gap.ends_with(['(', '[']);
        (!colon && (!next || bracketed) && gap.bytes().all(|byte| matches!(byte, b' ' | b'(' | b'[' | b'-' | b'/')))
            .then(|| (self.says(label), (label.start, label.end)))
    }
}

const GAP_MAX: usize = 40;
const NEAR_BEFORE: usize = 60;
const NEAR_AFTER: usize = 16;

/// Whether a sentence, or a group of lines, ends in a text.
fn crosses(gap: &str) -> bool {
    gap.contains(". ") || gap.contains("? ") || gap.contains("! ") || gap.contains("\n\n")
}

/// Whether only marks and filler words are between a label and its value.
fn is_filler(text: &str, classes: &WordClasses, start: usize, end: usize) -> bool {
    let gap = &text[start..end];
    if gap.bytes().filter(|&byte| byte == b'\n').count() > 1 || gap.contains(['?', '!']) {
        return false;
    }
    let mut tokens: Vec<Token> = Vec::new();
    crate::names::token::tokenize(gap, &mut tokens);
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        if let Some(len) = bracketed(&tokens[index..]) {
            index += len;
            continue;
        }
        let filler = match token.kind {
            TokenKind::Word => token.chars == 1 && token.first == 's' || classes.of(token).is(Class::FILLER),
            TokenKind::Number => false,
            TokenKind::Possessive => true,
            // A full stop ends the sentence, except after an abbreviation such as `No.`
            TokenKind::Mark if token.first == '.' => {
                let short = index == 0 || tokens[index - 1].kind == TokenKind::Word && tokens[index - 1].chars <= 3;
                short || !tokens.get(index + 1).is_some_and(|next| next.space)
            }
            // `her date of birth, 4 May 1961,`
            TokenKind::Mark if token.first == ',' => gap.trim() == ",",
            TokenKind::Mark => is_gap_mark(token.first),
        };
        if !filler {
            return false;
        }
        index += 1;
    }
    true
}

/// Whether a mark can stand between a label and its value.
pub(crate) fn is_gap_mark(mark: char) -> bool {
    matches!(
        mark,
        ':' | '='
            | '#'
            | '"'
            | '\''
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '<'
            | '>'
            | '-'
            | '*'
            | '|'
            | '.'
            | '_'
            | '`'
            | '/'
            | '+'
            | '\\'
            | '~'
    )
}

/// The number of tokens of a tag (`</b>`), or of a form in brackets (`(mm/dd/yyyy)`), that begins at the first token.
pub(crate) fn bracketed(tokens: &[Token]) -> Option<usize> {
    let close = match tokens.first()?.first {
        '<' => '>',
        '(' => ')',
        _ => return None,
    };
    let len = tokens.iter().take(9).position(|token| token.is(close))? + 1;
    let inside = &tokens[1..len - 1];
    let plain = inside.iter().all(|token| match token.kind {
        TokenKind::Word => token.chars <= if close == '>' { 6 } else { 4 },
        TokenKind::Mark => matches!(token.first, '/' | '-' | '.'),
        _ => false,
    });
    plain.then_some(len)
}
