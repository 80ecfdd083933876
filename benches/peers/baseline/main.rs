//! What masker is measured against in its own terms: the floor of an HTTP server, the cryptography alone, the store alone.
//! `benches/peers/run.py` runs it.
//!
//!     baseline floor SOCKET DIRECTORY           serves until it is ended
//!     baseline crypto OPERATION VALUES SECONDS  tokenizes or rehydrates values, one on each line of a file, on one core
//!     baseline store ENGINE DIRECTORY ROWS      fills a store, then writes for a while for each line of standard input

mod crypto;
mod floor;
mod store;

/// What any of it may end with.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["floor", socket, directory] => floor::run(socket.as_ref(), directory.as_ref()),
        ["crypto", operation, values, seconds] => crypto::run(operation, values.as_ref(), seconds.parse()?),
        ["store", engine, directory, rows] => store::run(engine, directory.as_ref(), rows.parse()?),
        _ => Err("the first lines of benches/peers/baseline/main.rs have what this takes".into()),
    }
}
