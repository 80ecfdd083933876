//! Rules: each proposes candidates of one kind of evidence.

pub(crate) mod ages;
pub(crate) mod dates;
pub(crate) mod devices;
pub(crate) mod ids;
pub(crate) mod numbers;
pub(crate) mod patterns;
pub(crate) mod people;
pub(crate) mod phones;
pub(crate) mod places;
pub(crate) mod secrets;
pub(crate) mod streets;

use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    labels::{Labels, Says},
    names::{
        features::Sentence,
        tagger::{Label, Tag},
        token::{Token, TokenKind},
    },
    validate::Region,
    words::{Class, WordClasses},
};

/// A text as rules see it, and what they have proposed.
pub(crate) struct Scan<'a> {
    /// The shadow.
    pub text: &'a str,
    /// Its tokens.
    pub sentence: &'a Sentence,
    /// The classes of each token.
    pub classes: Vec<Class>,
    /// The classes of words.
    pub words: &'a WordClasses,
    /// The tagger's tags, one for each token.
    pub tags: &'a [Tag],
    /// Labels.
    pub labels: Labels<'a>,
    /// Regions of telephone numbers without a country code.
    pub regions: &'a [Region],
    /// Whether ages under 90 stay.
    pub keep_ages: bool,
    /// The candidates.
    pub out: Vec<Candidate>,
}

impl<'a> Scan<'a> {
    /// The tokens.
    pub fn tokens(&self) -> &'a [Token] {
        &self.sentence.tokens
    }

    /// A token's text.
    pub fn word(&self, index: usize) -> &'a str {
        self.sentence.tokens[index].text(self.text)
    }

    /// Whether a token has a class.
    pub fn is(&self, index: usize, class: Class) -> bool {
        self.classes.get(index).is_some_and(|own| own.is(class))
    }

    /// Whether a token is this mark.
    pub fn is_mark(&self, index: usize, mark: char) -> bool {
        self.tokens().get(index).is_some_and(|token| token.is(mark))
    }

    /// Whether a token is a number.
    pub fn is_number(&self, index: usize) -> bool {
        self.tokens().get(index).is_some_and(|token| token.kind == TokenKind::Number)
    }

    /// The label whose value begins at an offset.
    pub fn label(&self, start: usize) -> Option<(&'a Says, (usize, usize))> {
        self.labels.adjacent(self.text, self.words, start)
    }

    /// Whether a label or hint of a kind is near.
    pub fn near(&self, kind: &Kind, start: usize, end: usize) -> bool {
        self.labels.near(self.text, kind, start, end).is_some()
    }

    /// The runs of tokens that begin with the one label and go on with the other: first token, and the one after the last.
    pub fn runs(&self, begin: Label, inside: Label) -> Vec<(usize, usize)> {
        let begins = (0..self.tags.len()).filter(|&index| self.tags[index].label == begin);
        let end = |index: usize| {
            let inner = self.tags[index + 1..].iter().take_while(|tag| tag.label == inside);
            (index, index + 1 + inner.count())
        };
        begins.map(end).collect()
    }

    /// Proposes a token.
    pub fn propose_token(&mut self, token: &Token, kind: Kind, rank: Rank, confidence: u8, rule: &'static str) {
        let range = (token.start as usize, token.end as usize);
        self.out.push(Candidate::new(range, kind, rank, confidence, rule));
    }

    /// The index of the first token that begins at or after an offset.
    pub fn token_at(&self, offset: usize) -> usize {
        self.tokens().partition_point(|token| (token.start as usize) < offset)
    }
}

/// Whether a label names a kind.
pub(crate) fn names(says: &Says, kind: &Kind) -> bool {
    matches!(says, Says::Kind(known) if known == kind)
}
