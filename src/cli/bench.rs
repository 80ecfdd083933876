//! (not yet written)

use super::{
    args::{BenchArgs, Global},
    exit::Exit,
};
use crate::config::Host;

/// (not yet written)
pub fn run(_args: &BenchArgs, _global: &Global, _host: Host<'_>) -> Exit {
    Exit::Error
}
