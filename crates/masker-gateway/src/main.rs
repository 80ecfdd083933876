//! The program `masker-gateway`.

use std::process::ExitCode;

use masker_gateway::{arguments::Arguments, run};

fn main() -> ExitCode {
    match Arguments::read(std::env::args_os()) {
        Ok(arguments) => run(&arguments),
        Err(exit) => exit,
    }
}
