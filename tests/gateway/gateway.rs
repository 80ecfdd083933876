//! The gateway from outside: the real program over real TLS on the loopback interface.
//!
//! A [`Recorder`](recorder::Recorder) is in the place of the daemon where a test looks at what the gateway forwards.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it

mod authority;
mod certificates;
mod client;
mod command_line;
mod headers;
mod installation;
mod life;
mod limits;
mod places;
mod proxy;
mod raw_http2;
mod recorder;
mod refusals;
mod remote;
mod site;
mod streams;
mod tls;
mod together;
