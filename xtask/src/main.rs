//! The program behind `cargo xtask`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use xtask::{bench, docs, papers};

/// Tasks of the repository that are not in the shipped program
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put load on a running daemon and measure it
    #[command(after_help = bench::HELP)]
    Bench(bench::BenchArgs),
    /// Write the man pages, the bills of materials and the licences of the packages
    Papers {
        /// The directory to write into; created if it is missing
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Write the pages of the book's reference that come from the source
    Docs {
        /// Fail if a page in the tree differs, and write nothing
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Papers { directory } => papers::write(&directory).map(|()| ExitCode::SUCCESS),
        Task::Docs { check: true } => docs::check().map(|()| ExitCode::SUCCESS),
        Task::Docs { check: false } => docs::write().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}
