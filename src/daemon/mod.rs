//! The daemon put together: what it is made of, and its life from start to stop.

pub mod environ;
mod harden;
mod logging;
mod policies;
mod run;

pub use run::{ServeOptions, serve};
