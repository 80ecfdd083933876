//! What rules propose, before overlaps are settled.

use crate::kind::Kind;
use std::borrow::Cow;

/// How strong the evidence for a candidate is. Of two that overlap, the stronger one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The tagger proposes it.
    Model,
    /// It has the form.
    Pattern,
    /// A label names its kind.
    Labelled,
    /// It has the form, and its check digits or its structure are right.
    Validated,
    /// The options list it.
    Listed,
}

/// A possible finding in the shadow.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// The kind.
    pub kind: Kind,
    /// The strength of the evidence.
    pub rank: Rank,
    /// Confidence in percent.
    pub confidence: u8,
    /// The rule's name.
    pub rule: Cow<'static, str>,
    /// Where the label is that decided.
    pub label: Option<(usize, usize)>,
    /// Which check the value passed.
    pub check: Option<&'static str>,
}

impl Candidate {
    /// Creates a candidate.
    pub fn new(range: (usize, usize), kind: Kind, rank: Rank, confidence: u8, rule: &'static str) -> Self {
        Self { start: range.0, end: range.1, kind, rank, confidence, rule: rule.into(), label: None, check: None }
    }

    /// Adds the label that decided.
    pub fn labelled(self, start: usize, end: usize) -> Self {
        Self { label: Some((start, end)), ..self }
    }

    /// Adds the check that the value passed.
    pub fn checked(self, check: &'static str) -> Self {
        Self { check: Some(check), ..self }
    }
}
