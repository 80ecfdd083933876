//! The sandbox, tested from inside: a process enters it and attempts everything that it forbids.
//!
//! There is no test harness: a process cannot leave the sandbox, and the number of its threads matters. The program
//! starts itself again for each attempt, and checks how that process exits.

mod attempts;
mod inside;
mod outside;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(inside::CHILD) => inside::run(&arguments[2..]),
        // Test runners ask a harness for its tests.
        Some("--list") => {}
        _ => outside::run(),
    }
}
