//! (not yet written)

pub mod environ;
