//! Texts that arrive in parts.

use crate::{
    detector::{Detector, FindError, Request, State},
    finding::Finding,
    segment,
};

/// Finds personal data in a text that arrives in parts. All ways to split a text give the same findings as the whole text.
pub struct Stream<'d> {
    detector: &'d Detector,
    state: State,
    /// What has arrived and is not settled.
    rest: String,
    /// The offset of `rest` in the text.
    offset: usize,
    failed: bool,
}

impl<'d> Stream<'d> {
    /// Begins a text.
    pub fn new(detector: &'d Detector) -> Self {
        Self { detector, state: State::default(), rest: String::new(), offset: 0, failed: false }
    }

    /// Takes the next part, and returns the findings that are final now, with offsets in the whole text.
    ///
    /// # Errors
    ///
    /// Returns an error if the request stops the search. Every further call fails then.
    pub fn push(&mut self, part: &str, request: &Request<'_>) -> Result<Vec<Finding>, FindError> {
        self.rest.push_str(part);
        self.advance(false, request)
    }

    /// Ends the text, and returns the last findings.
    ///
    /// # Errors
    ///
    /// Returns an error if the request stops the search, or has stopped it before.
    pub fn finish(mut self, request: &Request<'_>) -> Result<Vec<Finding>, FindError> {
        self.advance(true, request)
    }

    /// How many bytes of the text are settled: no later finding begins before them.
    pub fn settled(&self) -> usize {
        self.offset
    }

    fn advance(&mut self, complete: bool, request: &Request<'_>) -> Result<Vec<Finding>, FindError> {
        if self.failed {
            return Err(FindError::Stopped);
        }
        let mut findings = Vec::new();
        let mut at = 0;
        while at < self.rest.len()
            && let Some(len) = segment::end(&self.rest[at..], complete)
        {
            let segment = &self.rest[at..at + len];
            let found = self.detector.find_segment(segment, self.offset + at, &mut self.state, request, &mut findings);
            if let Err(error) = found {
                self.failed = true;
                return Err(error);
            }
            at += len;
        }
        self.rest.drain(..at);
        self.offset += at;
        Ok(findings)
    }
}
