//! The daemon put together: what it is made of, and its life from start to stop.

mod audit;
mod periodic;
mod clients;
pub mod engines;
pub mod wipe_environment;
mod logging;
mod recorded_audit_head;
mod offline;
mod policies;
mod reload;
mod run;
pub mod sandbox;
mod stack;
mod watchdog;

pub use offline::OFFLINE;
pub use run::{ServeOptions, serve};
