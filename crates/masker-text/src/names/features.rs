//! Features of tokens. The trainer and the tagger share them.

use super::{
    cue::{Cue, CueTable},
    hash::mix,
    lexicon::{Entry, Lexicon},
    token::{Case, Token, TokenKind, tokenize_around},
};
use std::sync::Arc;

/// Number of features of a token.
pub const FEATURES: usize = 37;

/// The words that features know: lists of names, and cue words.
pub struct Knowledge {
    /// Names, common words, places.
    pub lexicon: Arc<Lexicon>,
    /// Cue words of the languages in use.
    pub cues: CueTable,
}

/// What features are made of, for one token.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    word: u64,
    shape: u64,
    flags: u64,
    prefix: u64,
    suffix2: u64,
    suffix3: u64,
    chars: u64,
    start: bool,
    space: bool,
    phrase: u64,
    /// What lists say about the word.
    pub entry: Entry,
    /// The word's class of cue words.
    pub cue: Cue,
}

/// A text's tokens and what features are made of.
#[derive(Default)]
pub struct Sentence {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// Information on each token.
    pub infos: Vec<Info>,
    /// 0 if the case of letters says something, 1 if (nearly) all are lower case, 2 if most are upper case.
    pub caseless: u8,
}

impl Sentence {
    /// Reads a text.
    pub fn read(text: &str, knowledge: &Knowledge) -> Self {
        Self::read_around(text, &[], knowledge)
    }

    /// Reads a text. Each of some ranges, in the order of the text, is one mark.
    pub fn read_around(text: &str, marks: &[(usize, usize)], knowledge: &Knowledge) -> Self {
        let mut sentence = Self::default();
        tokenize_around(text, marks, &mut sentence.tokens);
        sentence.annotate(knowledge);
        sentence
    }

    fn annotate(&mut self, knowledge: &Knowledge) {
        let tokens = &self.tokens;
        let mut counts = [0u32; 2];
        self.infos.reserve(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            let (entry, cue) = match token.kind {
                TokenKind::Word => (knowledge.lexicon.get(token.word), knowledge.cues.get(token.word)),
                _ => (Entry::default(), Cue::None),
            };
            match token.case {
                Case::Lower => counts[0] += 1,
                Case::Title | Case::Upper | Case::Mixed => counts[1] += 1,
                _ => {}
            }
            self.infos.push(Info {
                word: token.word,
                shape: shape(token),
                flags: u64::from(entry.0) | (cue as u64) << 8,
                prefix: u64::from(token.prefix),
                suffix2: u64::from(token.suffix2),
                suffix3: u64::from(token.suffix3),
                chars: u64::from(token.chars.min(12)),
                start: starts_sentence(tokens, index),
                space: token.space,
                phrase: 0,
                entry,
                cue,
            });
        }
        self.mark_phrases(knowledge);
        let upper = self.tokens.iter().filter(|token| token.case == Case::Upper).count() as u32;
        self.caseless = match counts {
            [lower, 0] if lower > 1 => 1,
            [lower, capital] if capital * 40 < lower => 1,
            [lower, capital] if upper > 2 && upper * 10 > (lower + capital) * 7 => 2,
            _ => 0,
        };
    }

    /// Marks the words of places that consist of two or three words.
    fn mark_phrases(&mut self, knowledge: &Knowledge) {
        for index in 0..self.tokens.len().saturating_sub(1) {
            if self.tokens[index].kind != TokenKind::Word || self.infos[index].phrase != 0 {
                continue;
            }
            let mut hash = self.tokens[index].word;
            for len in 2..=3 {
                let Some(next) = self.tokens.get(index + len - 1) else { break };
                if next.kind != TokenKind::Word || next.line {
                    break;
                }
                hash = phrase(hash, next.word);
                if knowledge.lexicon.get(hash).is_place() {
                    for (offset, info) in self.infos[index..index + len].iter_mut().enumerate() {
                        info.phrase = if offset == 0 { 1 } else { 2 };
                    }
                }
            }
        }
    }

    /// Forgets what lists say about a token. The trainer does so now and then, because texts have names that no list has.
    pub fn forget(&mut self, index: usize) {
        let info = &mut self.infos[index];
        info.entry = Entry(info.entry.0 & Entry::COMMON);
        info.flags = info.flags & !0xff | u64::from(info.entry.0);
        info.phrase = 0;
    }

    /// Whether the token is part of a place's name of several words.
    pub fn in_place(&self, index: usize) -> bool {
        self.infos[index].phrase != 0
    }

    /// Whether a token is no part of a name by its form: a common word in lower case, or a mark or number without a capitalized
    /// word before it. Most tokens are, so that the tagger has less to do.
    pub fn is_outside(&self, index: usize) -> bool {
        if self.caseless == 1 {
            return false;
        }
        let token = &self.tokens[index];
        let capital = |index: usize| self.tokens.get(index).is_some_and(Token::capital);
        let before = index > 0 && capital(index - 1);
        match token.kind {
            TokenKind::Word => {
                let info = &self.infos[index];
                token.case == Case::Lower
                    && info.entry.0 == Entry::COMMON
                    && info.phrase == 0
                    && !(before && capital(index + 1))
            }
            _ => !before,
        }
    }

    /// Whether the token begins a sentence or a line.
    pub fn is_start(&self, index: usize) -> bool {
        self.infos[index].start
    }

    /// Returns the hashes of a token's features.
    pub fn features(&self, index: usize) -> [u64; FEATURES] {
        let at = |offset: isize| {
            index.checked_add_signed(offset).and_then(|index| self.infos.get(index)).unwrap_or(&Info::EDGE)
        };
        let (left2, left, own, right, right2) = (at(-2), at(-1), at(0), at(1), at(2));
        let look = |info: &Info| info.flags << 8 | info.shape;
        let (left_look, own_look, right_look) = (look(left), look(own), look(right));
        let case = u64::from(self.caseless);
        let own_start = own_look << 1 | u64::from(own.start);
        let mut hashes = [0; FEATURES];
        let mut id = 0u64;
        let mut add = |a: u64, b: u64| {
            hashes[id as usize] = mix(a, b, id);
            id += 1;
        };
        add(0, 0);
        add(own.word, 0);
        add(own.shape, 0);
        add(own.prefix, 0);
        add(own.suffix2, 0);
        add(own.suffix3, 0);
        add(own.chars, own.shape);
        add(u64::from(own.entry.0), 0);
        add(own.cue as u64, own.shape);
        add(own_look, 0);
        add(own_start, 0);
        add(case, own.shape);
        add(case, own_look);
        add(own.word, own.shape);
        add(u64::from(own.space) | u64::from(own.start) << 1, own.shape);
        add(left.word, 0);
        add(left.shape, 0);
        add(left.flags, 0);
        add(left2.word, 0);
        add(look(left2), 0);
        add(right.word, 0);
        add(right.shape, 0);
        add(right.flags, 0);
        add(right2.word, 0);
        add(look(right2), 0);
        add(left_look, own_look);
        add(left.word, own.shape);
        add(left.word, own_look);
        add(right_look, own_look);
        add(right.word, own.shape);
        add(right.word, own_look);
        add(left.word, own.word);
        add(own.word, right.word);
        add(mix(left_look, right_look, 1), own_look);
        add((left2.cue as u64) << 8 | left.cue as u64, own.shape);
        add(own.phrase, own.shape);
        add(own.suffix3, own_look);
        hashes
    }
}

impl Info {
    /// What is before the first token and after the last.
    const EDGE: Info = Info {
        word: 1,
        shape: 63,
        flags: 0,
        prefix: 0,
        suffix2: 0,
        suffix3: 0,
        chars: 0,
        start: false,
        space: false,
        phrase: 0,
        entry: Entry(0),
        cue: Cue::None,
    };
}

/// Combines the hashes of a phrase's words.
pub fn phrase(hash: u64, word: u64) -> u64 {
    mix(hash, word, 77)
}

fn shape(token: &Token) -> u64 {
    match token.kind {
        TokenKind::Word => match token.case {
            Case::None => 1,
            Case::Lower => 2,
            Case::Title => 3,
            Case::Upper => 4,
            Case::Single => 5,
            Case::Mixed => 6,
        },
        TokenKind::Number => 8 + u64::from(token.chars.min(6)),
        TokenKind::Possessive => 16,
        TokenKind::Mark => match token.first {
            '.' => 17,
            ',' => 18,
            '-' => 19,
            ':' | ';' => 20,
            '!' | '?' => 21,
            '(' | '[' | '<' | '{' => 22,
            ')' | ']' | '>' | '}' => 23,
            '"' | '\'' => 24,
            '@' | '#' => 25,
            '/' | '\\' => 26,
            first if first.is_ascii() => 27,
            _ => 28,
        },
    }
}

/// Whether a sentence or a line begins with a token: after a full stop, or after an opening mark there.
fn starts_sentence(tokens: &[Token], index: usize) -> bool {
    let token = &tokens[index];
    if token.line || index == 0 {
        return true;
    }
    let before = &tokens[index - 1];
    if before.kind != TokenKind::Mark {
        return false;
    }
    match before.first {
        '!' | '?' => token.space,
        // A full stop after an initial or a short abbreviation ends no sentence.
        '.' => {
            token.space && !(index >= 2 && tokens[index - 2].kind == TokenKind::Word && tokens[index - 2].chars <= 2)
        }
        '"' | '(' | '>' | '*' | '#' => index == 1 || before.line,
        _ => false,
    }
}
