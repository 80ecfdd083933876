//! `masker serve`: the daemon and its life from start to stop.

mod acceptance;
mod audit;
mod clients;
mod effective_user;
pub mod engines;
mod inputs;
mod notify;
mod offline;
mod periodic;
mod policies;
mod recorded_audit_head;
mod refusals;
mod reload;
mod restore;
mod run;
pub mod sandbox;
mod second_database;
mod signals;
mod socket;
mod stack;
mod start_error;
mod threads;
mod users;
mod vault_owner;
mod watchdog;
pub mod wipe_environment;

pub use offline::OFFLINE;
pub use run::serve;
