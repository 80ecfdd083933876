//! Finds personal data in text: pure and deterministic, without I/O, clocks or randomness.
//!
//! A [`Detector`] reads the [shadow](crate#shadow) of a text, in segments of bounded size. Rules propose candidates: one automaton
//! of patterns, numbers in groups of digits, labelled values, addresses, and a trained tagger of names and places. Overlaps are
//! settled by the strength of the evidence. The time is linear in the length of the text.
//!
//! # Shadow
//!
//! The shadow is the text without what hides values from patterns: compatibility characters, digits of other scripts, invisible
//! characters, HTML entities, percent-encoded marks, JSON escapes, spelled-out digits, soft wraps. Findings have offsets in the
//! original.
//!
//! The crate uses no other crate of masker. Every crate may use it, and so may other programs:
//!
//! ```
//! use masker_text::{Detector, Options, Request};
//!
//! let detector = Detector::new(Options::default()).unwrap();
//! let text = "Call Maria Lopez at (212) 555-0147.";
//! let findings = detector.find(text, &Request::default()).unwrap();
//! let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind.as_str()).collect();
//! assert_eq!(kinds, ["NAME", "PHONE"]);
//! assert_eq!(&text[findings[0].start..findings[0].end], "Maria Lopez");
//! ```

#![warn(missing_docs)]

mod blobs;
mod candidate;
mod detector;
mod finding;
mod guards;
mod kind;
mod labels;
pub mod names;
mod options;
pub mod pack;
mod recognizer;
mod resolve;
mod rules;
mod segment;
mod shadow;
mod stream;
mod validate;
mod words;

pub use self::{
    detector::{Detector, FindError, LISTED_BYTES_MAX, LISTED_MAX, RECOGNIZERS_MAX, Request},
    finding::{Finding, Why},
    kind::Kind,
    options::{Keep, Options, OptionsError},
    pack::Language,
    recognizer::{MATCH_BYTES_MAX, REGEX_BYTES_MAX, REGEX_SOURCE_BYTES_MAX, Recognizer, Validator},
    segment::SEGMENT_BYTES_MAX,
    stream::Stream,
    validate::Region,
};
