//! The daemon put together: what it is made of, and its life from start to stop.

mod audit;
mod chores;
mod clients;
pub mod environ;
mod harden;
mod logging;
mod noted;
mod policies;
mod reload;
mod run;
mod stack;

pub use noted::noted_head;
pub use run::{ServeOptions, serve};
