//! The program from outside: the daemon over its socket, and the command line.
//!
//! Each test starts the real binary in a temporary directory. The tests in `cli` need no daemon, or a few lines of HTTP
//! in place of one.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it

mod access;
mod api_keys;
mod audit;
mod backup;
mod bulk;
mod cli;
mod connections;
mod contract;
mod control_key;
mod engines;
mod gateway;
mod handover;
mod honeytokens;
mod keys;
mod lifecycle;
mod limits;
mod log_reader;
mod operator;
mod races;
mod reload;
mod reports;
mod request_path;
mod rotations;
mod sandbox;
mod secrets;
mod sessions;
mod share;
mod socket;
mod spellings;
mod starts;
mod status;
mod text;
