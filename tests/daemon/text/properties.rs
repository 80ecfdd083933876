//! Round trips of texts that are made up at random, with the seed in every message.

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};
use serde_json::{Value, json};

use super::{MASK, RESTORE, ask_all, launch, notes};

const PARTS: [&str; 40] = [
    "MRN: 00455-21 ",
    "call (212) 555-0147 x12",
    "DOB 03/04/61\n",
    "Dr. Ann Lee ",
    "Maria Lopez",
    "ann.lee@mail-host.net",
    "&#64;",
    "12 Elm St., Apt. 4\n Springfield, IL 62704",
    "4111 1111 1111 1111",
    "TCK-123456",
    "password=hunter2 ",
    "MSK",
    "MSKV1.",
    "MSK1.PHONE.K_CARE.",
    "MSKV1.PHONE.K_CARE.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "[",
    "]",
    "[PHONE_",
    "_",
    "PHONE_7F3KQ2XA",
    "[NAME_7F3KQ2XA]",
    "(",
    ")",
    "\\",
    "`",
    "**",
    "\u{200b}",
    "李小龙",
    "\u{301}",
    "é",
    "\u{1f600}",
    "\t",
    "\r\n",
    "| x | y |\n",
    "<b>",
    "{\"a\":\"",
    "\"}",
    " ",
    "7",
];

fn text_of(result: &Value) -> &str {
    result["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

fn text(rng: &mut impl Rng) -> String {
    (0..rng.random_range(0..30)).map(|_| *PARTS.choose(rng).expect("parts")).collect()
}

#[test]
fn what_is_masked_is_restored() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (replace_with, seed) in [("token", 1_u64), ("token", 2), ("placeholder", 3), ("placeholder", 4)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let texts: Vec<String> = (0..100).map(|_| text(&mut rng)).collect();
        let masked = ask_all(&mut client, MASK, &json!({"texts": texts, "replace_with": replace_with}), texts.len());
        let masked_texts: Vec<&str> = masked.iter().map(text_of).collect();
        let restored = ask_all(&mut client, RESTORE, &json!({ "texts": masked_texts }), texts.len());
        let mut round_trips = 0;
        for (((text, masked), masked_text), restored) in texts.iter().zip(&masked).zip(&masked_texts).zip(&restored) {
            let findings = masked["findings"].as_array().unwrap();
            if findings.iter().any(|finding| finding["action"] == "redact") {
                continue;
            }
            round_trips += 1;
            assert_eq!(restored["text"], **text, "seed {seed}: {masked_text}");
        }
        assert!(round_trips > 20, "seed {seed}: {round_trips} round trips");
        let again =
            ask_all(&mut client, MASK, &json!({"texts": masked_texts, "replace_with": replace_with}), texts.len());
        let again: Vec<&str> = again.iter().map(text_of).collect();
        let restored_again = ask_all(&mut client, RESTORE, &json!({ "texts": again }), texts.len());
        for (at, (restored, again)) in restored.iter().zip(&restored_again).enumerate() {
            let was_redacted = |result: &Value| result["text"].as_str().unwrap().contains("[REDACTED:");
            if !was_redacted(&masked[at]) && !was_redacted(again) {
                assert_eq!(restored["text"], again["text"], "seed {seed}: {}", masked_texts[at]);
            }
        }
    }
    daemon.stop();
}

#[test]
fn json_documents_come_back_with_equal_meaning_and_their_usual_bytes() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for (replace_with, seed) in [("token", 5_u64), ("placeholder", 6)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Every second one has escapes that JSON does not need.
        let documents: Vec<String> = (0..60)
            .map(|number| {
                let mut string = |escaped: bool| {
                    let text = json!(text(&mut rng)).to_string();
                    if escaped && number % 2 == 1 { text.replace('5', "\\u0035").replace('e', "\\u0065") } else { text }
                };
                format!(
                    "{{ {}:[{},\n{}, 1.0], \"k\" :{{{}:{}}}}}",
                    "\"first\"",
                    string(false),
                    string(true),
                    string(true),
                    string(false)
                )
            })
            .collect();
        let body = json!({"texts": documents, "format": "json", "replace_with": replace_with});
        let masked = ask_all(&mut client, MASK, &body, documents.len());
        let masked_texts: Vec<&str> = masked.iter().map(text_of).collect();
        let restored =
            ask_all(&mut client, RESTORE, &json!({"texts": masked_texts, "format": "json"}), documents.len());
        let results = masked.iter().zip(&masked_texts).zip(&restored);
        for (number, (document, ((masked, masked_text), restored))) in documents.iter().zip(results).enumerate() {
            let parsed = |text: &str| {
                serde_json::from_str::<Value>(text).unwrap_or_else(|_| panic!("seed {seed}: {masked_text}"))
            };
            parsed(masked_text);
            let findings = masked["findings"].as_array().unwrap();
            if findings.iter().all(|finding| finding["action"] != "redact") {
                let restored = restored["text"].as_str().unwrap();
                assert_eq!(parsed(restored), parsed(document), "seed {seed}: {masked_text}");
                assert!(number % 2 == 1 || restored == document, "seed {seed}: {masked_text}");
            }
        }
    }
    daemon.stop();
}
