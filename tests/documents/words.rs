//! Documents, messages and comments avoid words that have a plainer equivalent.

use super::{files, read};

/// Each word with the plainer one.
const AVOIDED: [(&str, &str); 10] = [
    ("whoever", "name the person or program"),
    ("whatever", "any, every"),
    ("what becomes of", "the result of"),
    ("is said by", "shows, contains"),
    ("stands for", "means"),
    ("it stands", "it is"),
    ("has come", "arrived, is due"),
    ("lets go of", "releases"),
    ("is told", "receives, learns"),
    ("are told", "receive, learn"),
];

/// The only text that contains the words on purpose.
const OWN: &str = "tests/documents/words.rs";

#[test]
fn avoided_words_do_not_occur() {
    let mut found = Vec::new();
    for name in files("", &[".md", ".rs"]).iter().filter(|name| *name != OWN && !name.starts_with("supply-chain")) {
        for (index, line) in read(name).lines().enumerate() {
            let line = line.to_lowercase();
            for (word, plainer) in AVOIDED.iter().filter(|(word, _)| contains_words(&line, word)) {
                found.push(format!("{name}:{}: `{word}`: write {plainer}", index + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Returns whether a line contains these words, not as parts of longer ones.
fn contains_words(line: &str, words: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(words).any(|(at, _)| {
        !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + words.len()..].chars().next())
    })
}

#[test]
fn whole_words_are_found() {
    assert!(contains_words("whatever it is", "whatever") && contains_words("(has come)", "has come"));
    assert!(!contains_words("it has comedy", "has come") && !contains_words("fn is_told", "is told"));
}
