//! The body of a stream: a line of options, and the parts of a text, which a thread reads.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    places::{Place, Places},
    source::{TextProblem, TextReader},
};
use masker_client::{RequestBody, upload};

/// Bytes of a text in a line. Each takes six at most as JSON, which is below the daemon's limit for a line.
const PART_BYTES: usize = 8 * 1024;

const _: () = assert!(6 * PART_BYTES + 64 <= masker_types::limits::TEXT_LINE_BYTES_MAX);

/// What the thread that reads a text has found so far.
#[derive(Default)]
pub(super) struct ReadState {
    bytes: AtomicU64,
    places: Mutex<Places>,
    problem: Mutex<Option<TextProblem>>,
}

impl ReadState {
    /// Returns how many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the place of an offset in characters.
    pub(super) fn place(&self, offset: u64) -> Option<Place> {
        locked(&self.places).of(offset)
    }

    /// Returns the place after what was read.
    pub(super) fn end(&self) -> Option<Place> {
        locked(&self.places).end()
    }

    /// Takes the reason why the text could not be read to its end.
    pub(super) fn take_problem(&self) -> Option<TextProblem> {
        locked(&self.problem).take()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

/// Starts to read a text, and returns the body of a stream with it. If the stream ends early, the thread is abandoned, because
/// a blocking read cannot be interrupted.
pub(super) fn body(mut reader: TextReader, options: &impl Serialize, state: Arc<ReadState>) -> RequestBody {
    let mut first = Vec::new();
    add_line(&mut first, options);
    let (sender, pieces) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut lines = Ok(first);
        loop {
            let is_failed = lines.is_err();
            // The receiver is gone if the request has ended.
            if sender.blocking_send(lines.map(Bytes::from)).is_err() || is_failed {
                return;
            }
            lines = match reader.next() {
                Ok(Some(piece)) => {
                    locked(&state.places).push(piece);
                    state.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    Ok(lines_of(piece))
                }
                Ok(None) => return,
                Err(problem) => {
                    *locked(&state.problem) = Some(problem);
                    Err(io::Error::other("the text cannot be read to its end"))
                }
            };
        }
    });
    upload::pieces(pieces)
}

/// Returns the lines of a piece of a text.
fn lines_of(piece: &str) -> Vec<u8> {
    let mut lines = Vec::with_capacity(piece.len() + piece.len() / 8);
    let mut rest = piece;
    while !rest.is_empty() {
        let longest = rest.len().min(PART_BYTES);
        let end = (0..=longest).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(longest);
        let (text, others) = rest.split_at(end);
        add_line(&mut lines, &Part { text });
        rest = others;
    }
    lines
}

/// Appends a line of JSON. The types that are sent always have one.
fn add_line(to: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(&mut *to, value);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_api::TextStreamPart;
    use masker_types::limits::TEXT_LINE_BYTES_MAX;

    #[test]
    fn lines_are_short_enough_and_have_the_whole_text() {
        for text in ["a".repeat(20_000), "\u{1}".repeat(20_000), "渚😀".repeat(5_000), "\r\n\"".to_owned()] {
            let lines = String::from_utf8(lines_of(&text)).unwrap();
            assert!(lines.lines().all(|line| line.len() <= TEXT_LINE_BYTES_MAX));
            let parts = lines.lines().map(|line| serde_json::from_str::<TextStreamPart>(line).unwrap().text);
            assert!(parts.collect::<String>() == text);
        }
    }
}
