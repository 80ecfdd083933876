//! What policies say about texts.

use serde_json::json;

use super::{DETECT, MASK, NOTES, ask, kinds, launch, notes, restore};
use crate::{bulk::masker, harness::Site};

/// Returns a site whose policy has these lines before its first kind.
fn with(lines: &str) -> Site {
    let site = notes();
    site.policy("notes.toml", &NOTES.replace("[entities.NAME]", &format!("{lines}\n[entities.NAME]")));
    site
}

#[test]
fn a_policy_sets_confidence_parts_to_keep_and_lists() {
    let site = with(
        "[text]\nmin_confidence = 0.3\nkeep = [\"year\"]\nallow = [\"Maria Lopez\"]\n[entities.AGE]\n\
         [entities.PROJECT]\nmin_confidence = 1\ndeny = [\"Blue Heron\"]",
    );
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = "Maria Lopez, 45 years old, seen on 03/04/2019 for project blue heron";
    let result = ask(&mut client, MASK, text, json!({}));
    assert_eq!(kinds(&result), ["AGE", "DATE", "PROJECT"], "{result}");
    let masked = result["text"].as_str().unwrap();
    assert!(
        masked.starts_with("Maria Lopez, MSKV1.AGE.") && masked.contains("/2019 for project MSKV1.PROJECT."),
        "{masked}"
    );
    assert_eq!(result["findings"][2]["rule"], "deny-list");
    assert_eq!(restore(&mut client, masked, json!({})), text);
    daemon.stop();

    let site = with("[entities.PHONE2]\naction = \"redact\"\n[text]\nmin_confidence = 1.0");
    let daemon = launch(&site).start();
    let result = ask(&mut daemon.client(), DETECT, "Maria Lopez called", json!({}));
    assert_eq!(kinds(&result), Vec::<&str>::new());
    daemon.stop();
}

#[test]
fn a_recognizer_has_a_validator_and_context_words() {
    let site = with(
        "[entities.MEMBER]\n[[recognizer]]\nname = \"member\"\nkind = \"MEMBER\"\nregex = 'M([0-9]{6})'\nvalidator = \"luhn\"\n\
         [entities.SHELF]\nmin_confidence = 0.8\n[[recognizer]]\nname = \"shelf\"\nkind = \"SHELF\"\nregex = 'S-[0-9]{3}'\n\
         context = [\"shelf\"]\nconfidence = 0.2\nconfidence_with_context = 0.9",
    );
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let result = ask(&mut client, DETECT, "M123455 and M123456, shelf S-124", json!({}));
    let found: Vec<(&str, u64, &str)> = result["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["start"].as_u64().unwrap(), one["rule"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds(&ask(&mut client, DETECT, "see S-123", json!({}))), Vec::<&str>::new());
    assert_eq!(found, [("MEMBER", 1, "member"), ("SHELF", 27, "shelf")], "{result}");
    daemon.stop();
}

#[test]
fn problems_are_reported_with_file_and_line() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let recognizer = |lines: &str| format!("{NOTES}[[recognizer]]\nname = \"r\"\nkind = \"MRN\"\n{lines}\n");
    let last = NOTES.lines().count();
    let cases = [
        (recognizer("regex = '('"), last + 4, "does not compile"),
        (recognizer("regex = '(?=a)b'"), last + 4, "look-around"),
        (recognizer("regex = 'a*'"), last + 4, "matches the empty text"),
        (recognizer("regex = '(([a-z]{500}){500}){500}'"), last + 4, "too large"),
        (recognizer(""), last + 1, "`regex` is missing"),
        (recognizer("regex = 'a'\nvalidator = \"lun\""), last + 5, "did you mean `luhn`?"),
        (recognizer("regex = 'a'\nconfidence = 2"), last + 5, "a number from 0 to 1"),
        (recognizer("regex = 'a'\nconfidence_with_context = 0.9"), last + 5, "has no effect"),
        (
            recognizer("regex = 'a'\n[[recognizer]]\nname = \"ticket\"\nkind = \"MRN\"\nregex = 'b'"),
            last + 5,
            "two recognizers",
        ),
        (format!("{NOTES}[text]\nlanguages = [\"fr\"]\n"), last + 2, "there is `en`, `de` and `es`"),
        (format!("{NOTES}[text]\nlanguages = []\n"), last + 1, "`languages` is empty"),
        (format!("{NOTES}[text]\nkeep = [\"day\"]\n"), last + 2, "`keep` cannot have `day`"),
        (format!("{NOTES}[text]\nregions = [\"us\"]\n"), last + 2, "did you mean `US`?"),
        (format!("{NOTES}[text]\nmin_confidence = 50\n"), last + 2, "a number from 0 to 1"),
        (format!("{NOTES}[text]\nallow = [\"\"]\n"), last + 2, "a value of `allow` is empty"),
        (format!("{NOTES}[text]\nmore = 1\n"), last + 2, "unknown field `more`"),
        (format!("{NOTES}[entities.WHAT]\nmin_confidence = 0.5\n"), last + 2, "texts are not searched for `WHAT`"),
    ];
    for (policy, line, problem) in cases {
        site.policy("notes.toml", &policy);
        let detail = client.post("/api/v1/policies/reload", &json!({})).problem(422, "policy.invalid");
        let place = format!("notes.toml, line {line}: ");
        assert!(
            detail.contains(&place) || detail.contains(&format!("notes.toml:{line}")),
            "{place} {problem}: {detail}"
        );
        assert!(detail.contains(problem), "{problem}: {detail}");
    }
    // The policy before is still in force.
    assert_eq!(kinds(&ask(&mut client, DETECT, "TCK-123456", json!({}))), ["TICKET"]);
    site.policy("notes.toml", &NOTES.replace("TCK", "TKT"));
    client.post("/api/v1/policies/reload", &json!({})).ok();
    assert_eq!(kinds(&ask(&mut client, DETECT, "TCK-123456 TKT-654321", json!({}))), ["TICKET"]);
    daemon.stop();
}

#[test]
fn commands_show_and_compare_the_settings_about_texts() {
    let site =
        with("[text]\nallow = [\"Maria Lopez\"]\n[entities.PROJECT]\nmin_confidence = 0.75\ndeny = [\"Blue Heron\"]");
    let daemon = launch(&site).start();
    let shown = masker(&daemon, "policy show notes", "").stdout;
    let shown = String::from_utf8(shown).unwrap();
    for line in [
        "text.languages\ten",
        "text.regions\tUS",
        "text.min_confidence\t0.5",
        "text.keep\tage_under_90",
        "text.allow\t1 value",
        "entities.PROJECT.min_confidence\t0.75",
        "entities.PROJECT.deny\t1 value",
        "recognizer.ticket.kind\tTICKET",
        "recognizer.ticket.regex\tTCK-[0-9]{6}",
        "recognizer.ticket.confidence\t0.6",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in\n{shown}");
    }
    let described = daemon.client().get("/api/v1/policies/notes").ok().to_string();
    assert!(described.contains("\"recognizer.ticket.regex\":\"TCK-[0-9]{6}\""), "{described}");
    for hidden in [&shown, &described] {
        assert!(!hidden.contains("Maria") && !hidden.contains("Heron"), "{hidden}");
    }

    let file = site.path("policies").join("notes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let write = |name: &str, text: &str| {
        let path = site.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (same, other) =
        (write("same.toml", &text), write("other.toml", &text.replace("{6}", "{7}").replace("0.75", "0.8")));
    let names = write("names.toml", &text.replace("Blue Heron", "Grey Heron"));
    let diff = |before: &str, after: &str| masker(&daemon, &format!("policy diff {before} {after}"), "");
    let equal = diff("notes", &same);
    assert_eq!((equal.code, equal.text()), (Some(0), ""));
    assert!(equal.stderr.contains("whether the values of `allow` and `deny` differ is not known"), "{}", equal.stderr);
    assert!(!diff(&same, file.to_str().unwrap()).stderr.contains("not known"));
    for before in ["notes", &same] {
        let changed = diff(before, &other);
        let effect = "texts are searched differently";
        for line in [
            format!("entities.PROJECT.min_confidence\t0.75\t0.8\t{effect}"),
            format!("recognizer.ticket.regex\tTCK-[0-9]{{6}}\tTCK-[0-9]{{7}}\t{effect}"),
        ] {
            assert!(changed.text().lines().any(|shown| shown == line), "{line}:\n{}", changed.text());
        }
        assert_eq!(changed.text().lines().count(), 3, "{}", changed.text());
    }
    let listed = diff(&same, &names);
    assert!(listed.text().contains("values of `allow` or `deny`\t-\t-\t"), "{}", listed.text());
    assert!(!listed.text().contains("Heron"), "{}", listed.text());
    let json = masker(&daemon, &format!("policy diff --json {same} {other}"), "").whole();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json[0]["setting"], &json[0]["after"]), (&json!("entities.PROJECT.min_confidence"), &json!("0.8")));
    assert!(json[0].get("kind").is_none() && json[0]["new_tokens"] == false, "{json}");
    daemon.stop();
}
