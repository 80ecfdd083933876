//! What the detector returns.

use crate::kind::Kind;
use std::borrow::Cow;

/// Personal data in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Offset of the first byte in the original text.
    pub start: usize,
    /// Offset after the last byte in the original text.
    pub end: usize,
    /// The kind.
    pub kind: Kind,
    /// Confidence in percent.
    pub confidence: u8,
    /// The name of the rule that decided, such as `phone-nanp`, or of a recognizer of the options.
    pub rule: Cow<'static, str>,
    /// What led to the finding, if the request asks for explanations.
    pub why: Option<Box<Why>>,
}

/// An explanation of a finding. It holds offsets, but no part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The strength of the evidence: `listed`, `validated`, `labelled`, `pattern` or `model`.
    pub evidence: &'static str,
    /// The range of the label that decided, in bytes of the original text.
    pub label: Option<(usize, usize)>,
    /// The check that the value passed, such as `modulo 97` or a card's issuer.
    pub check: Option<&'static str>,
    /// Whether the text was changed to read the value: entities, escapes, invisible characters, spelled-out digits.
    pub rewritten: bool,
}

impl Why {
    /// Says what led to the finding, in one sentence without any part of the text.
    pub fn sentence(&self, finding: &Finding) -> String {
        use std::fmt::Write as _;
        let mut sentence = format!("rule {} ({})", finding.rule, self.evidence);
        if let Some((start, end)) = self.label {
            let _ = write!(sentence, ", label at bytes {start} to {end}");
        }
        if let Some(check) = self.check {
            let _ = write!(sentence, ", check passed: {check}");
        }
        if self.rewritten {
            sentence.push_str(", read through an encoding");
        }
        sentence
    }
}
