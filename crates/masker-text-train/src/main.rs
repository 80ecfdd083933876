//! Trains the tagger of `masker-text`, and writes what the detector embeds: name lists, weights, and their hash.
//!
//! The corpora are the Broad Twitter Corpus, WNUT17 and wikigold, each under CC BY 4.0, in CoNLL format and decompressed.
//! `lists.py` beside this program makes the name lists. The result depends on the inputs and the seed only.
//!
//! ```console
//! $ mkdir corpora && for file in …/*.conll.gz; do gzip -dc "$file" > "corpora/$(basename "$file" .gz)"; done
//! $ python3 crates/masker-text-train/lists.py src lists
//! $ cargo run --release -p masker-text-train -- corpora lists crates/masker-text/packs/model.bin
//! ```
//!
//! An optional fourth argument is the seed.

mod corpus;
mod lists;
mod made_up;
mod perceptron;
mod sentences;
mod words;

use made_up::{Generator, Span};
use masker_text::{
    names::{
        features::{Knowledge, Sentence},
        tagger::Label,
    },
    pack::{Language, cue_table},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::{env, fs, path::PathBuf};

const SEED: u64 = 20;
const PASSES: usize = 12;
const MADE_UP_WITH_NAMES: usize = 15_000;
const MADE_UP_WITHOUT_NAMES: usize = 3_500;
/// One of this many sentences of the corpora is repeated in lower case.
const LOWERED: u32 = 10;
/// Percentage of tokens whose list entries are dropped, because real texts have names that no list has.
const FORGOTTEN: u32 = 12;

/// A text with labelled spans.
pub struct Example {
    /// The text.
    pub text: String,
    /// The spans, in the order of the text.
    pub spans: Vec<Span>,
}

fn main() {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let (corpora, list_folder, output, seed) = match arguments.as_slice() {
        [corpora, lists, output] => (corpora, lists, output, SEED),
        [corpora, lists, output, seed] => {
            let seed = seed.to_str().and_then(|seed| seed.parse().ok()).expect("the seed is a number");
            (corpora, lists, output, seed)
        }
        _ => panic!("usage: masker-text-train CORPORA LISTS OUTPUT [SEED]"),
    };
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let lists = lists::Lists::read(list_folder);
    let knowledge = Knowledge { lexicon: lists.lexicon().into(), cues: cue_table(&[Language::English.pack()]) };

    let mut examples = corpus::read(corpora);
    println!("{} sentences of corpora", examples.len());
    for index in 0..examples.len() {
        if random.random_range(0..LOWERED) == 0 && examples[index].text.is_ascii() {
            let example = &examples[index];
            examples.push(Example { text: example.text.to_ascii_lowercase(), spans: example.spans.clone() });
        }
    }
    let mut generator = Generator::new(&lists, StdRng::seed_from_u64(seed + 1));
    examples.extend((0..MADE_UP_WITH_NAMES).map(|_| generator.sentence(sentences::WITH_NAMES)));
    examples.extend((0..MADE_UP_WITHOUT_NAMES).map(|_| generator.sentence(sentences::WITHOUT_NAMES)));
    if env::var_os("MASKER_TEXT_TRAIN_SHOW").is_some() {
        for example in examples.iter().rev().step_by(97).take(150) {
            let names: Vec<&str> = example.spans.iter().map(|span| &example.text[span.0..span.1]).collect();
            println!("{:?} {names:?}", example.text);
        }
    }
    let instances: Vec<perceptron::Instance> = examples
        .iter()
        .map(|example| {
            let mut sentence = Sentence::read(&example.text, &knowledge);
            for index in 0..sentence.tokens.len() {
                if random.random_range(0..100) < FORGOTTEN {
                    sentence.forget(index);
                }
            }
            let labels = labels(&sentence, &example.spans);
            perceptron::Instance::new(&sentence, labels)
        })
        .collect();
    println!("{} sentences in all", instances.len());
    let weights = perceptron::train(&instances, PASSES, &mut random);

    let mut bytes = Vec::new();
    knowledge.lexicon.write(&mut bytes);
    weights.write(&mut bytes);
    fs::write(output, &bytes).unwrap_or_else(|error| panic!("failed to write {}: {error}", output.display()));
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{} bytes, SHA-256 {digest}", bytes.len());
}

/// The labels of a sentence's tokens: those that a span covers.
fn labels(sentence: &Sentence, spans: &[Span]) -> Vec<u8> {
    let mut labels = vec![0; sentence.tokens.len()];
    for &(start, end, label) in spans {
        let mut first = true;
        for (token, slot) in sentence.tokens.iter().zip(&mut labels) {
            if (token.start as usize) < end && token.end as usize > start {
                *slot = if first { label as u8 } else { label as u8 + 1 };
                first = false;
            }
        }
    }
    // A name does not continue on the next line.
    for (token, label) in sentence.tokens.iter().zip(&mut labels) {
        if token.line && *label != 0 && label.is_multiple_of(2) {
            *label -= 1;
        }
    }
    debug_assert!(labels.iter().all(|&label| label <= Label::IOrganization as u8));
    labels
}
