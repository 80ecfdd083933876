//! Sentences of corpora in CoNLL format: a token, a tab or space, and a label on each line; an empty line after each sentence.

use crate::Example;
use masker_text::names::tagger::Label;
use std::{fs, path::Path};

/// Reads all corpora in a folder, in the order of their names.
///
/// # Panics
///
/// Panics if a file cannot be read.
pub fn read(folder: &Path) -> Vec<Example> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conll"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no file *.conll: decompress the corpora first", folder.display());
    let mut examples = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("failed to read {}: {error}", file.display()));
        let text = String::from_utf8_lossy(&bytes);
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for line in text.lines().chain([""]) {
            match line.rsplit_once(['\t', ' ']).map(|(word, label)| (word.trim(), label)) {
                Some((word, label)) if !word.is_empty() => rows.push((word, label)),
                _ if !rows.is_empty() => examples.push(sentence(&std::mem::take(&mut rows))),
                _ => {}
            }
        }
    }
    examples
}

fn sentence(rows: &[(&str, &str)]) -> Example {
    let mut text = String::new();
    let mut spans: Vec<(usize, usize, Label)> = Vec::new();
    let mut before = ("O", Label::O);
    for (index, &(word, tag)) in rows.iter().enumerate() {
        if !text.is_empty() {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(word);
        // Handles are no names of people here: they are accounts.
        let handle = word.starts_with('@') || index > 0 && rows[index - 1].0 == "@";
        let label = if handle { Label::O } else { class(tag) };
        let continues = label != Label::O && label == before.1 && (tag.starts_with("I-"));
        if continues && let Some(span) = spans.last_mut() {
            span.1 = text.len();
        } else if label != Label::O {
            spans.push((start, text.len(), label));
        }
        before = (tag, label);
    }
    Example { text, spans }
}

fn class(tag: &str) -> Label {
    match tag.get(2..) {
        Some("PER" | "person") => Label::BPerson,
        Some("LOC" | "location") => Label::BPlace,
        Some("ORG" | "corporation" | "group") => Label::BOrganization,
        _ => Label::O,
    }
}
