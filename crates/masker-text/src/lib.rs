//! Finds personal data in text.

pub mod names;
pub mod pack;
