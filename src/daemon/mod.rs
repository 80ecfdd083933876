//! The daemon put together: what it is made of, and its life from start to stop.

mod audit;
mod chores;
mod clients;
pub mod engines;
pub mod environ;
mod logging;
mod noted;
mod offline;
mod policies;
mod reload;
mod run;
pub mod sandbox;
mod stack;
mod watchdog;

pub use offline::OFFLINE;
pub use run::{ServeOptions, serve};
