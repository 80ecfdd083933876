//! The gateway from outside: the real program over real TLS on the loopback interface.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it
