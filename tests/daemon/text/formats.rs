//! JSON documents, offsets, explanations, languages.

use serde_json::{Value, json};

use super::{DETECT, MASK, RESTORE, ask, ask_all, kinds, launch, mask, notes, restore};
use crate::harness::error_code;

#[test]
fn a_json_document_keeps_keys_order_and_escapes() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let document = r#"{ "z":1.50, "maria.lopez@mail-host.net" : "keep \u00e9\/ and\t",
  "patient":{"name":"Maria Lopez","phone":"(212) 555-0147","list":["a\nb", "mail: maria.lopez@mail-host.net", true, null]},
  "a":"\ud83d\ude00 Dr. Jos\u00e9 Alvarez\n" }"#;
    let result = ask(&mut client, MASK, document, json!({"format": "json"}));
    let masked = result["text"].as_str().unwrap();
    assert!(kinds(&result).contains(&"NAME") && kinds(&result).contains(&"PHONE"), "{result}");
    for kept in [
        r#"{ "z":1.50, "maria.lopez@mail-host.net" : "keep \u00e9\/ and\t","#,
        r#""a\nb", "#,
        ", true, null]}",
        r"\ud83d\ude00 Dr. ",
    ] {
        assert!(masked.contains(kept), "{kept} in {masked}");
    }
    assert!(!masked.contains("Maria") && !masked.contains("0147") && !masked.contains("mail: maria"), "{masked}");
    serde_json::from_str::<Value>(masked).unwrap();
    assert_eq!(restore(&mut client, masked, json!({"format": "json"})), document);
    let again = ask(&mut client, MASK, masked, json!({"format": "json"}));
    assert_eq!((&again["text"], &again["findings"]), (&json!(masked), &json!([])));
    for text in ["{", "", "Maria Lopez", "{\"a\": 1} {\"b\": 2}"] {
        for path in [MASK, DETECT, RESTORE] {
            assert_eq!(error_code(&ask(&mut client, path, text, json!({"format": "json"}))), "text.not_json");
        }
    }
    daemon.stop();
}

/// The escapes of a document are no part of its values.
#[test]
fn a_value_of_a_document_is_what_its_string_holds() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let document = r#"{"name": "Maria O\u0027Brien", "phone": "\u002B1 (212) 555-0147", "tool": "{\"name\": \"Jos\\u00e9 Alvarez\"}"}"#;
    let result = ask(&mut client, MASK, document, json!({"format": "json"}));
    let tokens: Vec<&str> =
        result["findings"].as_array().unwrap().iter().map(|found| found["token"].as_str().unwrap()).collect();
    assert_eq!(client.value(tokens[0]), "Maria O'Brien");
    assert_eq!(client.value(tokens[1]), "+1 (212) 555-0147");
    let restored = restore(&mut client, result["text"].as_str().unwrap(), json!({"format": "json"}));
    let [before, after] = [document, &restored].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(before, after);
    daemon.stop();
}

#[test]
fn personal_data_in_a_json_number_is_an_error() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for path in [MASK, DETECT] {
        let result = ask(&mut client, path, r#"{"phone": 2125550147}"#, json!({"format": "json"}));
        assert_eq!(error_code(&result), "value.invalid", "{result}");
        let detail = result["error"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("at `/phone` look") && detail.contains("(PHONE)") && !detail.contains("555"),
            "{result}"
        );
        ask(&mut client, path, r#"{"phone": "2125550147", "count": 17, "2125550147": 1}"#, json!({"format": "json"}))["findings"]
            .as_array()
            .unwrap();
    }
    daemon.stop();
}

#[test]
fn a_restored_document_stays_json() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let name = client.token("NAME", "Ann \"Bo\" Lee\\\n");
    let document = json!({"said": format!("by {name}"), name.as_str(): 1}).to_string();
    let result = ask(&mut client, RESTORE, &document, json!({"format": "json"}));
    let restored: Value = serde_json::from_str(result["text"].as_str().unwrap()).unwrap();
    assert_eq!((&restored["said"], &result["restored"]), (&json!("by Ann \"Bo\" Lee\\\n"), &json!(1)));
    assert_eq!(restored[name.as_str()], 1, "keys stay");
    // What was tokenized elsewhere keeps its characters, also where they could be escapes.
    for name in [r"ACME\bob", r"C:\new", "Ann\nLee"] {
        let document = json!({ "at": client.token("NAME", name) }).to_string();
        let restored = restore(&mut client, &document, json!({"format": "json"}));
        assert_eq!(restored, json!({ "at": name }).to_string());
    }
    daemon.stop();
}

#[test]
fn offsets_are_in_the_unit_that_was_asked_for() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "\u{1f600}é€ call (212) 555-0147";
    let at = text.find('(').unwrap();
    let (chars, utf16) = (text[..at].chars().count(), text[..at].encode_utf16().count());
    for (unit, start) in [("bytes", at), ("chars", chars), ("utf16", utf16)] {
        for path in [MASK, DETECT] {
            let result = ask(&mut client, path, text, json!({"offsets": unit}));
            let finding = &result["findings"][0];
            assert_eq!((&finding["start"], &finding["end"]), (&json!(start), &json!(start + 14)), "{unit}");
        }
    }
    daemon.stop();
}

#[test]
fn explanations_say_what_led_to_a_finding_and_repeat_nothing() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "é MRN: 00455-21, card 4111 1111 1111 1111";
    let result = ask(&mut client, MASK, text, json!({"explain": true, "offsets": "chars"}));
    let [mrn, card] = [0, 1].map(|at| &result["findings"][at]);
    assert_eq!((&mrn["kind"], &mrn["why"]["evidence"]), (&json!("MRN"), &json!("labelled")), "{result}");
    assert_eq!(mrn["why"]["label"]["start"], 2, "{mrn}");
    assert_eq!((&card["kind"], &card["why"]["evidence"]), (&json!("CARD"), &json!("validated")), "{card}");
    assert!(card["why"]["check"].is_string() && card["why"]["rewritten"] == false, "{card}");
    let why = format!("{} {}", mrn["why"], card["why"]);
    assert!(!why.contains("00455") && !why.contains("4111"), "{why}");
    daemon.stop();
}

#[test]
fn a_language_of_the_policy_comes_first() {
    let site = notes();
    site.policy(
        "notes.toml",
        &super::NOTES.replace("[entities.NAME]", "[text]\nlanguages = [\"en\", \"de\"]\n[entities.NAME]"),
    );
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "Geburtsdatum: 3. Januar 1961";
    for language in [json!({"language": "de"}), json!({"language": "de-AT"}), json!({})] {
        let result = ask(&mut client, DETECT, text, language);
        assert_eq!(kinds(&result), ["DOB"], "{result}");
    }
    let detail = client.post(DETECT, &json!({"text": text, "language": "es"})).problem(400, "request.invalid");
    assert!(detail.contains("`en` and `de`"), "{detail}");
    daemon.stop();
}

#[test]
fn markup_survives() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for text in [
        "<p>Call <b>Maria Lopez</b> at <a href=\"tel:+12125550147\">(212) 555-0147</a> &amp; wait</p>\r\n",
        "| name | phone |\n|---|---|\n| **Maria Lopez** | `(212) 555-0147` |\n",
    ] {
        let masked = mask(&mut client, text, json!({}));
        assert!(!masked.contains("555-0147") && !masked.contains("Maria"), "{masked}");
        assert_eq!(restore(&mut client, &masked, json!({})), text);
    }
    let texts = ask_all(&mut client, DETECT, &json!({"texts": ["<br>", "# Title"]}), 2);
    assert!(texts.iter().all(|result| result["findings"] == json!([])), "{texts:?}");
    daemon.stop();
}
