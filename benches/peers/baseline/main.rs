//! The baselines for masker: a minimal HTTP server, the cryptography alone, and the store alone.
//! `benches/peers/run.py` runs it.
//!
//!     baseline floor SOCKET DIRECTORY           serves until it is terminated
//!     baseline crypto OPERATION VALUES SECONDS  tokenizes or rehydrates the values in a file, one per line, on one core
//!     baseline store ENGINE DIRECTORY ROWS      fills a store, then writes for the seconds in each line of standard input

mod crypto;
mod floor;
mod store;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["floor", socket, directory] => floor::run(socket.as_ref(), directory.as_ref()),
        ["crypto", operation, values, seconds] => crypto::run(operation, values.as_ref(), seconds.parse()?),
        ["store", engine, directory, rows] => store::run(engine, directory.as_ref(), rows.parse()?),
        _ => Err("invalid arguments; benches/peers/baseline/main.rs documents them".into()),
    }
}
