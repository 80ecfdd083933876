//! JSON lines: which values are found, and what fails.

use std::fs::{self, File};

use serde_json::{Value, json};

use super::{command, ended, masker, start};
use crate::harness::Site;

#[test]
fn tokenizes_fields_of_json_lines_and_keeps_all_other_bytes() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let tokens = client.tokens("PHONE", &["415-555-0001", "415-555-0002", "415-555-0003"]);
    let [one, two, three] = [&tokens[0], &tokens[1], &tokens[2]];
    let input = "\u{feff}{ \"z\":1.50, \"patient\" : {\"phone\":\"415-555-\\u0030001\" ,\"age\":1e2}, \"a\":\"\\u00e9\"}\r\n\
        \n\
        {\"patient\": [{\"phone\": [\"415-555-0002\", null, \"\"]}, {\"phone\": \"415-555-0003\"}]}\n\
        {\"patient\": null, \"phone\": \"kept\"}\n\
        {\"patient\": {\"phone\": \"415-555-0001\", \"phone\": \"415-555-0002\"}}";
    let expected = input
        .replace("415-555-\\u0030001", one)
        .replace("415-555-0001", one)
        .replace("415-555-0002", two)
        .replace("415-555-0003", three);
    let swapped = masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE", input).whole();
    assert_eq!(String::from_utf8_lossy(&swapped), expected);
    let back = masker(&daemon, "rehydrate --jsonl --field patient.phone", &swapped).whole();
    assert_eq!(String::from_utf8_lossy(&back), input.replace("\\u00300", "00"));

    let input = "{\"phone\": 4155550001, \"a\": 1}\n{\"phone\": \"415-555-0001\"\n{\"phone\": {\"x\": \"415-555-0001\"}}\n\
        {\"phone\": \"\\ud800\"}\n{\"phone\": \"415-555-0001\"}\n";
    let go_on = "tokenize --jsonl --on-error keep-others --field phone=PHONE";
    let ended = masker(&daemon, go_on, input);
    let expected = format!(
        "{{\"phone\": null, \"a\": 1}}\nnull\n{{\"phone\": null}}\n{{\"phone\": null}}\n{{\"phone\": \"{one}\"}}\n"
    );
    assert_eq!((ended.code, ended.text()), (Some(2), expected.as_str()));
    let places: Vec<&str> = ended.stderr.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places[..4], ["row 1, phone", "row 2", "row 3, phone", "row 4, phone"]);
    assert!(!ended.stderr.contains("4155550001") && !ended.stderr.contains("415-555"), "{}", ended.stderr);

    // Deeply nested lists.
    let nested = "[".repeat(100_000) + &"]".repeat(100_000) + "\n{\"phone\": null}\n";
    let ended = masker(&daemon, go_on, nested);
    assert_eq!((ended.code, ended.text()), (Some(2), "null\n{\"phone\": null}\n"));

    // More values in one row than a request can have.
    let many: Vec<String> = (0..12_000).map(|number| format!("415{number:07}")).collect();
    let input = json!({"phone": many}).to_string() + "\n";
    let swapped = masker(&daemon, "tokenize --jsonl --field phone=PHONE --batch 10000", &input).whole();
    let row: Value = serde_json::from_slice(&swapped).unwrap();
    assert_eq!(row["phone"].as_array().unwrap().len(), 12_000);
    assert_eq!(row["phone"][11_999], client.token("PHONE", &many[11_999]));
    daemon.stop();
}

#[test]
fn a_field_that_is_in_no_row_fails_and_nothing_is_written() {
    let site = Site::new();
    let daemon = start(&site);
    let rows = "{\"patient\": {\"phone\": \"415-555-0001\"}}\n".repeat(3_000);
    let run = masker(&daemon, "tokenize --jsonl --field patient.fone=PHONE", &rows);
    assert!(run.refused(1).contains("no row has the field patient.fone; did you mean \"phone\"?"), "{}", run.stderr);
    let run = masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE --field fax=PHONE", &rows);
    assert!(run.refused(1).contains("no row has the field fax; "), "{}", run.stderr);
    // Also in more rows than output waits for, and after rows that are skipped.
    let long = rows.repeat(40);
    let mut from_file = command(&daemon, "tokenize --jsonl --field patient.fone=PHONE");
    let file = site.path("long.jsonl");
    fs::write(&file, &long).unwrap();
    from_file.stdin(File::open(&file).unwrap());
    assert!(ended(from_file).refused(1).contains("no row has the field patient.fone; did you mean \"phone\"?"));
    let run = masker(&daemon, "tokenize --jsonl --field patient.fone=PHONE", &long);
    assert!(run.refused(1).contains(" rows has the field patient.fone; did you mean \"phone\"?"), "{}", run.stderr);
    let run = masker(&daemon, "tokenize --jsonl --field patient.fone=PHONE --skip-rows 10", &rows);
    assert!(run.refused(1).contains("no row has the field patient.fone; "), "{}", run.stderr);
    masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE --skip-rows 3000", &rows).whole();
    // Fields that can be missing, and files without rows.
    let run = masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE --field fax?=PHONE", &rows);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), "no row has the field fax?\n"));
    assert_eq!(masker(&daemon, "tokenize --jsonl --field fax=PHONE", "").whole(), b"");
    // A field can be in a late row only.
    let late = rows + "{\"fax\": \"415-555-0002\"}\n";
    let swapped = masker(&daemon, "tokenize --jsonl --field patient.phone=PHONE --field fax=PHONE", &late).whole();
    let back = masker(&daemon, "rehydrate --jsonl --field patient.phone --field fax", swapped).whole();
    assert!(back == late.as_bytes());
    daemon.stop();
}

#[test]
fn a_value_in_place_of_an_object_fails() {
    let site = Site::new();
    let daemon = start(&site);
    let input = "{\"patient\": {\"phone\": \"1\"}}\n{\"patient\": \"415-555-0132\"}\n{\"patient\": [\"415-555-0132\"]}\n\
        {\"patient\": 4155550132}\n\"415-555-0132\"\n{\"patient\": null}\n";
    let line = "tokenize --jsonl --field patient.phone=PHONE";
    let ended = masker(&daemon, line, input);
    assert_eq!(ended.code, Some(2));
    assert!(ended.text().lines().count() == 1 && ended.text().starts_with("{\"patient\": {\"phone\": \"MSKV1."));
    assert!(
        ended.stderr.contains("row 2, patient.phone: value.invalid: a value is in place of an object"),
        "{}",
        ended.stderr
    );
    let ended = masker(&daemon, &format!("{line} --on-error keep-others"), input);
    let kept: Vec<&str> = ended.text().lines().skip(1).collect();
    assert_eq!(
        kept,
        ["{\"patient\": null}", "{\"patient\": [null]}", "{\"patient\": null}", "null", "{\"patient\": null}"]
    );
    let ended = masker(&daemon, &format!("{line} --on-error keep-row-empty"), input);
    let kept: Vec<&str> = ended.text().lines().skip(1).collect();
    assert_eq!(kept, ["null", "null", "null", "null", "{\"patient\": null}"]);
    daemon.stop();
}

#[test]
fn json_arrays_fail() {
    let site = Site::new();
    let daemon = start(&site);
    let file = site.path("array.json");
    let long = "ann@example.org".repeat(400_000);
    for input in [
        "[\n  {\n    \"a\": \"ann@example.org\",\n    \"b\": 1\n  },\n  \"bob@example.org\"\n]\n",
        "[{\"a\": \"ann@example.org\"}, {\"a\": null}]\n",
        " [{\"b\": \"ann@example.org\"}]",
        &format!("[{{\"a\": \"{long}\"}}]\n"),
    ] {
        fs::write(&file, input).unwrap();
        for on_error in ["stop", "keep-others", "keep-row-empty"] {
            let line = format!("tokenize --jsonl --field a=NAME --on-error {on_error}");
            let mut from_file = command(&daemon, &line);
            from_file.stdin(File::open(&file).unwrap());
            for ended in [masker(&daemon, &line, input), super::ended(from_file)] {
                assert!(matches!(ended.code, Some(1 | 2)) && !ended.text().contains("example.org"), "{}", ended.text());
                assert!(ended.stderr.contains("a JSON array is in place of a row"), "{}", ended.stderr);
            }
        }
    }
    // A line that is an array, after one that is none, is a row.
    let ended = masker(&daemon, "tokenize --jsonl --field a=NAME", "{\"a\": null}\n[{\"a\": \"ann@example.org\"}]\n");
    assert!(ended.code == Some(0) && ended.text().lines().nth(1).unwrap().starts_with("[{\"a\": \"MSKV1.NAME."));
    let ended = masker(&daemon, "tokenize --jsonl --field a=NAME", "{\n  \"a\": \"ann@example.org\"\n}\n");
    assert!(ended.refused(2).contains("`jq -c .`"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn a_row_that_is_not_json_fails_before_a_field_is_missed() {
    let site = Site::new();
    let daemon = start(&site);
    let file = site.path("rows.jsonl");
    for input in [
        &b"{\n  \"a\": \"ann@example.org\"\n}\n"[..],
        b"{\"a\": NaN}\n",
        b"{\"a\": \"1\"} {\"a\": \"2\"}\n",
        b"{\"a\": \"1\"}\r{\"a\": \"2\"}\r",
        b"{\"a\": \"\xFF\"}\n",
        b"\n{\"b\": \"1\"}\n{\n",
    ] {
        fs::write(&file, input).unwrap();
        let line = "tokenize --jsonl --field a=NAME";
        let mut from_file = command(&daemon, line);
        from_file.stdin(File::open(&file).unwrap());
        let (piped, from_file) = (masker(&daemon, line, input), ended(from_file));
        assert!(piped.refused(2).contains(": value.invalid: the line is not "), "{}", piped.stderr);
        assert_eq!(from_file.refused(2), piped.stderr);
        let line = format!("{line} --on-error keep-others");
        let mut from_file = command(&daemon, &line);
        from_file.stdin(File::open(&file).unwrap());
        let stderr = ended(from_file).stderr;
        assert!(!stderr.contains("no row has"), "{stderr}");
    }
    daemon.stop();
}

#[test]
fn a_field_that_can_be_missing_and_is_in_no_row_is_noted() {
    let site = Site::new();
    let daemon = start(&site);
    let rows = "{\"phone\": \"1\", \"home.fax\": \"2\"}\n";
    for (field, note) in [
        ("fone?", "no row has the field fone?; did you mean \"phone\"?\n"),
        ("home.fax?", "no row has the field home.fax?; a name contains dots: quote it, as in --field '\"home.fax\"'\n"),
        ("mail?", "no row has the field mail?\n"),
        ("phone?", ""),
    ] {
        let ended = masker(&daemon, &format!("tokenize --jsonl --field {field}=PHONE"), rows);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), note));
        let ended = masker(&daemon, &format!("tokenize --jsonl --dry-run --field {field}=PHONE"), rows);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), note));
    }
    let ended = masker(&daemon, "tokenize --jsonl --field home.fax=PHONE", rows);
    assert!(ended.refused(1).contains("quote it, as in --field '\"home.fax\"'"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn names_with_dots_are_quoted() {
    let site = Site::new();
    let daemon = start(&site);
    let input = "{\"home.phone\": {\"a=b\": \"415-555-0001\"}, \"home\": {\"phone\": \"kept\"}}\n";
    let swapped = masker(&daemon, r#"tokenize --jsonl --field "home.phone"."a=b"=PHONE"#, input).whole();
    let token = daemon.client().token("PHONE", "415-555-0001");
    assert_eq!(String::from_utf8_lossy(&swapped), input.replace("415-555-0001", &token));
    daemon.stop();
}

#[test]
fn values_that_never_were_tokens_are_copied() {
    let site = Site::new();
    let daemon = start(&site);
    let input = "{\"p\": \"415-555-0001\", \"c\": \"Bonn\"}\n{\"p\": null, \"c\": 7}\n";
    let swapped = masker(&daemon, "tokenize --jsonl --field p=PHONE --field c=CITY --on-error keep-others", input);
    let swapped = swapped.text().replace("\"c\": null", "\"c\": 7");
    let ended = masker(&daemon, "rehydrate --jsonl --field p --field c", &swapped);
    assert_eq!((ended.code, ended.text()), (Some(2), input));
    let back = masker(&daemon, "rehydrate --jsonl --passthrough --field p --field c", &swapped).whole();
    assert_eq!(back, input.as_bytes());
    daemon.stop();
}
