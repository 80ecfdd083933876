//! Tests of tokens, lists and the model.

use super::{
    cue::{Cue, CueTable},
    features::{Knowledge, Sentence},
    lexicon::{Entry, Lexicon},
    tagger::{BUCKETS, Bucket, Label, WIDTH, Weights},
    token::{Case, TokenKind, hash_word, tokenize},
};
use crate::pack::Language;
use sha2::{Digest, Sha256};

#[test]
fn the_model_is_the_recorded_one() {
    let digest: String =
        Sha256::digest(include_bytes!("../../packs/model.bin")).iter().map(|byte| format!("{byte:02x}")).collect();
    let recorded = include_str!("../../packs/README.md");
    assert!(recorded.contains(&digest), "packs/README.md does not have the hash {digest}");
}

#[test]
fn packs_parse() {
    for language in Language::ALL {
        let pack = language.pack();
        assert_eq!(pack.language, language.code());
        assert!(pack.cues.keys().all(|class| Cue::parse(class).is_some()));
        assert_eq!(pack.months.len(), 12);
        assert_eq!(Language::parse(language.code()), Some(language));
    }
    assert_eq!(Language::parse("de-AT"), Some(Language::German));
    assert_eq!(Language::parse("xx"), None);
}

#[test]
fn texts_have_tokens() {
    let text = "Dr. O'Brien's 12\u{a0}cafés,\nYES é 李小龙x";
    let mut tokens = Vec::new();
    tokenize(text, &mut tokens);
    let words: Vec<&str> = tokens.iter().map(|token| token.text(text)).collect();
    assert_eq!(words, ["Dr", ".", "O'Brien", "'s", "12", "cafés", ",", "YES", "é", "李小龙x"]);
    assert_eq!(tokens[2].case, Case::Mixed);
    assert_eq!(tokens[3].kind, TokenKind::Possessive);
    assert!(tokens[5].space && !tokens[6].space && tokens[7].line && !tokens[8].line);
    assert_eq!(tokens[7].word, hash_word("yes"));
    assert_eq!(tokens[0].suffix2, {
        let mut other = Vec::new();
        tokenize("dr", &mut other);
        other[0].suffix2
    });
}

#[test]
fn lexicons_keep_entries() {
    let words = ["ann", "lee", "the", "paris"];
    let flags = [3, 3 << 2, Entry::COMMON, Entry::PLACE];
    let more = [(hash_word("ann"), Entry::COMMON)];
    let lexicon = Lexicon::build(words.iter().zip(flags).map(|(word, flag)| (hash_word(word), flag)).chain(more));
    let mut bytes = Vec::new();
    lexicon.write(&mut bytes);
    bytes.push(7);
    let (read, rest) = Lexicon::read(&bytes).unwrap();
    assert_eq!(rest, [7]);
    assert_eq!(read.get(hash_word("Ann")).0, 3 | Entry::COMMON);
    assert!(read.get(hash_word("Paris")).is_place() && read.get(hash_word("lee")).is_name());
    assert_eq!(read.get(hash_word("nobody")), Entry(0));
    assert!(Lexicon::read(&bytes[..100]).is_none());
}

#[test]
fn the_tagger_finds_a_name() {
    let (lexicon, rest) = Lexicon::read(include_bytes!("../../packs/model.bin")).unwrap();
    let weights = Weights::read(rest).unwrap();
    let cues = crate::pack::cue_table(&[Language::English.pack()]);
    let sentence =
        Sentence::read("Yesterday Maria Lopez called from Boston.", &Knowledge { lexicon: lexicon.into(), cues });
    let labels: Vec<Label> = weights.tag(&sentence).iter().map(|tag| tag.label).collect();
    assert_eq!(labels[1..6], [Label::BPerson, Label::IPerson, Label::O, Label::O, Label::BPlace]);
    let mut bytes = Vec::new();
    weights.write(&mut bytes);
    assert_eq!(bytes, rest);
}

#[test]
fn negative_weights_survive_their_bias() {
    let mut rows = vec![Bucket::new([[0; WIDTH]; 4]); BUCKETS];
    rows[5] = Bucket::new([[-128, 127, 0, -1, 1, 2, -3, 9], [0; WIDTH], [0; WIDTH], [1, 1, 1, 1, 1, 1, 1, -7]]);
    let weights = Weights { rows, transitions: [[0; WIDTH]; WIDTH], scale: 1 };
    let mut bytes = Vec::new();
    weights.write(&mut bytes);
    let mut again = Vec::new();
    Weights::read(&bytes).unwrap().write(&mut again);
    assert_eq!(bytes, again);
    assert_eq!(CueTable::build([("dr", Cue::Title), ("dr", Cue::Street)]).get(hash_word("Dr")), Cue::Title);
}
