//! The sandbox, tried from inside: everything that it forbids is attempted by a process that has entered it.
//!
//! No test harness: what a process enters it never leaves, and its threads count. The program starts itself again, once for
//! each attempt, and looks at how that process ended.

mod attempts;
mod inside;
mod outside;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(inside::CHILD) => inside::run(&arguments[2..]),
        // What a runner of tests asks of a harness.
        Some("--list") => {}
        _ => outside::run(),
    }
}
