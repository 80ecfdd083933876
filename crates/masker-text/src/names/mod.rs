//! Names of people and places: tokens, features, and a trained tagger.
//!
//! The trainer uses this module, so that it sees texts exactly as the detector does.

pub mod cue;
pub mod features;
pub mod hash;
pub mod lexicon;
pub mod tagger;
pub mod token;

#[cfg(test)]
mod tests;
