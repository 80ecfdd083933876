//! Tables: which cells are swapped, which bytes are kept, and what is an error.

use std::fs;

use serde_json::json;

use super::{masker, start};
use crate::harness::Site;

#[test]
fn tokenizes_columns_and_copies_the_others() {
    let site = Site::new();
    let daemon = start(&site);
    let mut table = "\u{feff}note,phone,\"a, b\",name\r\n".as_bytes().to_vec();
    table.extend_from_slice("\"said \"\"no\"\"\r\nand left\",415-555-0001,x,Zoë\r\n".as_bytes());
    table.extend_from_slice(b"caf\xE9,,,\"two\nlines, and \"\"quotes\"\"\"\r\n");
    table.extend_from_slice("\" \",415-555-0002,,\r\n".as_bytes());
    let swapped = masker(&daemon, "tokenize --csv --column phone=PHONE --column name=NAME", &table).whole();

    let mut client = daemon.client();
    let phones = client.tokens("PHONE", &["415-555-0001", "415-555-0002"]);
    let names = client.tokens("NAME", &["Zoë", "two\nlines, and \"quotes\""]);
    let mut expected = "\u{feff}note,phone,\"a, b\",name\r\n".as_bytes().to_vec();
    expected.extend(format!("\"said \"\"no\"\"\r\nand left\",{},x,{}\r\n", phones[0], names[0]).into_bytes());
    expected.extend_from_slice(b"caf\xE9,,,");
    // A cell that was quoted stays quoted.
    expected.extend(format!("\"{}\"\r\n\" \",{},,\r\n", names[1], phones[1]).into_bytes());
    assert_eq!(String::from_utf8_lossy(&swapped), String::from_utf8_lossy(&expected));
    assert!(swapped == expected, "what is copied need not be UTF-8");
    let back = masker(&daemon, "rehydrate --csv --column phone --column name", &swapped).whole();
    assert!(back == table);
    daemon.stop();
}

#[test]
fn reports_failed_cells_and_writes_them_empty() {
    let site = Site::new();
    let daemon = start(&site);
    let failures = site.path("failures.csv");
    let long = "4".repeat(5_000);
    let huge = "7".repeat(300_000);
    let mut table = format!("id,phone,text\n1,415-555-0001,{huge}\n2,{long},b\n3,{huge},c\n").into_bytes();
    // Invalid UTF-8; one cell too many, after which columns are uncertain; one too few; valid text again.
    table.extend_from_slice(b"4,555\xE9,d\n5,x,415-555-0005,e\n6,415-555-0006\n7,415-555-0007,g\n");
    let line = format!("tokenize --csv --on-error keep-others --column phone=PHONE --failures {}", failures.display());
    let ended = masker(&daemon, &line, &table);
    let tokens = daemon.client().tokens("PHONE", &["415-555-0001", "415-555-0007"]);
    let expected = format!("id,phone,text\n1,{},{huge}\n2,,b\n3,,c\n4,,d\n,,\n,,\n7,{},g\n", tokens[0], tokens[1]);
    assert_eq!((ended.code, ended.text()), (Some(2), expected.as_str()));

    let reported: Vec<&str> = ended.stderr.lines().collect();
    for (line, start) in reported.iter().zip([
        "row 2 (line 3), phone: value.invalid: ",
        "row 3 (line 4), phone: value.invalid: ",
        "row 4 (line 5), phone: value.invalid: ",
        "row 5 (line 6): value.invalid: ",
        "row 6 (line 7): value.invalid: ",
        "5 failed: value.invalid 5; all are in ",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(reported.len(), 6);
    let listed = fs::read_to_string(&failures).unwrap();
    let begins: Vec<String> =
        listed.lines().map(|line| line.splitn(4, ',').take(3).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(
        begins,
        [
            "row,column,code",
            "2,phone,value.invalid",
            "3,phone,value.invalid",
            "4,phone,value.invalid",
            "5,,value.invalid",
            "6,,value.invalid"
        ]
    );
    for raw in ["415-555", "4444", "7777"] {
        assert!(!ended.stderr.contains(raw) && !listed.contains(raw), "{raw}");
    }

    let unknown = tokens[0].replace("MSKV1.PHONE.K_CARE.", "MSKV1.PHONE.K_CARE.A");
    let ended = masker(
        &daemon,
        "rehydrate --csv --on-error keep-others --column t",
        format!("t\n{unknown}\nnonsense\n{}\n", tokens[0]),
    );
    assert_eq!((ended.code, ended.text()), (Some(2), "t\n\"\"\nnonsense\n415-555-0001\n"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn reads_and_writes_other_forms_of_tables() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-0001");
    let table = "a;415-555-0001;b,c\nd;;\n";
    let swapped = masker(&daemon, "tokenize --csv --no-header --delimiter ; --column 2=PHONE", table).whole();
    assert_eq!(swapped, format!("a;{token};b,c\nd;;\n").into_bytes());
    assert_eq!(masker(&daemon, "tokenize --csv --no-header --column 2=PHONE", "").whole(), b"");
    // A name of other columns can occur twice; one kind and context for all; kinds that a policy redacts or passes through.
    let table = "p,n,c,x,q,x\n415-555-0001,secret,Bonn,1,415-555-0001,2\n";
    let line =
        "tokenize --csv --policy care --context x --kind PHONE --column p --column q --column n=NOTE --column c=CITY";
    let swapped = masker(&daemon, line, table).whole();
    let bound = client
        .post("/api/v1/tokenize", &json!({"context": "x", "items": [{"kind": "PHONE", "value": "415-555-0001"}]}));
    let bound = bound.results(1)[0]["token"].as_str().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(&swapped), format!("p,n,c,x,q,x\n{bound},[REDACTED:NOTE],Bonn,1,{bound},2\n"));
    let ended = masker(&daemon, "rehydrate --csv --context x --column p", format!("p\n{bound}\n"));
    assert_eq!(ended.whole(), b"p\n415-555-0001\n");
    daemon.stop();
}

#[test]
fn cells_that_are_not_swapped_keep_their_bytes() {
    let site = Site::new();
    let daemon = start(&site);
    let wide = (0..11_000).map(|column| format!("c{column:05},")).collect::<String>() + "phone\r\n";
    let wide = wide + &",".repeat(11_000) + "415-555-0001\r\n";
    for table in [
        "id,note,phone\n1,\"\",\"415-555-0001\"\n2,\"\\N\",\"\"\n3,\"x\",\n",
        "id,phone\r1,415-555-0001\r2,\r",
        "id,phone\n1,415-555-0001\r\n2,\"415-555-0002\"\r3,\"\"",
        "\u{feff}\"phone\",\"id\"\r\n\"415-555-0001\",\"1\"\r\n",
        "id,phone\n\n1,415-555-0001\n\r\n\n2,415-555-0002\n\n",
        "phone\n\n415-555-0001\n\"\"\n",
        &wide,
    ] {
        let swapped = masker(&daemon, "tokenize --csv --column phone=PHONE", table).whole();
        assert!(!String::from_utf8_lossy(&swapped).contains("415-555"), "{table}");
        let back = masker(&daemon, "rehydrate --csv --column phone", swapped).whole();
        assert_eq!(String::from_utf8_lossy(&back), table);
    }
    let table = "id,size 5\"10,phone\r\n1,4\"9,415-555-0001\r\n";
    let swapped = masker(&daemon, "tokenize --csv --lenient-quotes --column phone=PHONE", table).whole();
    let back = masker(&daemon, "rehydrate --csv --lenient-quotes --column phone", swapped).whole();
    assert_eq!(String::from_utf8_lossy(&back), table);
    daemon.stop();
}

#[test]
fn values_that_come_back_as_they_were_keep_their_bytes() {
    let site = Site::new();
    let daemon = start(&site);
    for (options, table) in [
        ("--encoding utf-8", "id,city\n1,\"Bonn\"\n2,\"Halle \"\"Saale\"\"\"\n3,Ulm\n"),
        ("--escape \\", "id,city\n1,a\\,b\n2,\"\\\"A\\\"\"\n3,\\x\\0\n4,\"a\"\"b\"\n"),
        ("--escape \\ --no-quotes", "id,city\n1,a\\nb\n2,\\B\n"),
        ("--lenient-quotes", "id,city\n1,5\"10\n"),
        ("--null NULL", "id,city\n1,\"NULL\"\n2,NULL\n"),
    ] {
        let swapped = masker(&daemon, &format!("tokenize --csv {options} --column city=CITY"), table).whole();
        assert_eq!(String::from_utf8_lossy(&swapped), table, "{options}");
    }
    let latin = b"id,city\n1,K\xF6ln\n2,\"K\xF6ln\"\n";
    assert_eq!(masker(&daemon, "tokenize --csv --encoding latin1 --column city=CITY", latin).whole(), latin);
    // Also the text that is written for a value of a redacted kind.
    let table = "id,note\n1,\"[REDACTED:NOTE]\"\n2,fell\n";
    let swapped = masker(&daemon, "tokenize --csv --column note=NOTE", table).whole();
    assert_eq!(String::from_utf8_lossy(&swapped), table.replace("fell", "[REDACTED:NOTE]"));
    let rows = "{\"city\": \"K\\u00f6ln \\/ Rhein\"}\n";
    let swapped = masker(&daemon, "tokenize --jsonl --field city=CITY", rows).whole();
    assert_eq!(String::from_utf8_lossy(&swapped), rows);
    daemon.stop();
}

#[test]
fn what_could_be_split_differently_is_an_error() {
    let site = Site::new();
    let daemon = start(&site);
    for (row, reason) in [
        // The next quote closes it.
        ("2,\"x,078-05-1120", "text follows a closing quote"),
        ("2,\"x\"y,078-05-1120", "text follows a closing quote"),
        ("2,x\"y,078-05-1120", "a quote is inside a cell"),
        ("2,\"foo \\\" bar\",078-05-1120", "text follows a closing quote"),
        ("2,x", "the row has 2 cells, and the first line 3"),
        ("2,x,078-05-1120,", "the row has 4 cells, and the first line 3"),
    ] {
        for (delimiter, spelled) in [(",", ","), ("\t", "tab")] {
            let table = format!("id,note,ssn\n1,\"a\nb\",078-05-1121\n{row}\n3,\"z\",078-05-1122\n");
            let table = table.replace(',', delimiter);
            let line = format!("tokenize --csv --context c --delimiter {spelled} --column ssn=SSN");
            // From a pipe, and from a file.
            for ended in [masker(&daemon, &line, &table), {
                let file = site.path("table.csv");
                fs::write(&file, &table).unwrap();
                let mut command = super::command(&daemon, &line);
                command.stdin(fs::File::open(file).unwrap());
                super::ended(command)
            }] {
                let stderr = ended.refused(2);
                assert!(stderr.contains(reason) && stderr.contains("row 2 (line 4)"), "{stderr}");
                assert!(!stderr.contains("078-05"), "{stderr}");
            }
        }
    }
    daemon.stop();
}

#[test]
fn dialects_of_other_programs_come_back_byte_for_byte() {
    let site = Site::new();
    let daemon = start(&site);
    for (options, table) in [
        ("--delimiter tab --no-quotes", "id\tnote\tphone\n1\t\"5 ft\"\"\t\"415\" x\n2\tit's 5\"\t\n"),
        (
            "--escape \\",
            "id,note,phone\n1,\"foo \\\" bar\",\"415\\\"x\"\n2,\"\\\"A\\\"\",\\N\n3,a\\,b,\"\\\\\"\n4,\\N,\"\"\n5,x,\"\\N\"\n",
        ),
        ("--delimiter tab --no-quotes --escape \\", "phone\tid\na\\\tb\\\nc\t1\n\\N\t\\N\n"),
        ("--null NULL --null NA", "id,phone\n1,NULL\n2,NA\n3,\"NULL\"\n4,415-555-0001\n"),
    ] {
        let swapped = masker(&daemon, &format!("tokenize --csv {options} --column phone=CARD"), table).whole();
        let back = masker(&daemon, &format!("rehydrate --csv {options} --column phone"), &swapped).whole();
        assert_eq!(String::from_utf8_lossy(&back), table, "{options}");
        assert!(swapped != table.as_bytes());
    }
    let nulls = masker(&daemon, "tokenize --csv --null NULL --column p=PHONE", "id,p\n1,NULL\n2,x\n").whole();
    assert!(nulls.starts_with(b"id,p\n1,NULL\n2,MSKV1."));
    // A value with a line break cannot be written without quotes, and is not a NULL because it reads like one.
    let tokens = daemon.client().tokens("NAME", &["two\nlines", "NULL"]);
    let table = format!("id\tn\n1\t{}\n", tokens[0]);
    let ended = masker(&daemon, "rehydrate --csv --delimiter tab --no-quotes --column n", table);
    assert!(ended.code == Some(2) && ended.stderr.contains("cannot contain"), "{}", ended.stderr);
    let table = format!("id,n\n1,{}\n", tokens[1]);
    assert_eq!(masker(&daemon, "rehydrate --csv --null NULL --column n", &table).whole(), b"id,n\n1,\"NULL\"\n");
    let ended = masker(&daemon, "rehydrate --csv --no-quotes --null NULL --column n", table);
    assert!(ended.code == Some(2) && ended.stderr.contains("the text of --null"), "{}", ended.stderr);
    let tokens = daemon.client().tokens("NAME", &["a\0b", "two\nlines"]);
    let table = format!("id\tn\n1\t{}\n2\t\"{}\"\n", tokens[0], tokens[1]);
    for (options, written) in
        [("", "id\tn\n1\t\"a\\0b\"\n2\t\"two\\\nlines\"\n"), (" --no-quotes", "id\tn\n1\ta\\0b\n2\ttwo\\\nlines\n")]
    {
        let table = if options.is_empty() { table.clone() } else { table.replace('"', "") };
        let options = format!("--delimiter tab --escape \\{options} --column n");
        let values = masker(&daemon, &format!("rehydrate --csv {options}"), &table).whole();
        assert_eq!(String::from_utf8_lossy(&values), written);
        let back = masker(&daemon, &format!("tokenize --csv {options}=NAME"), &values).whole();
        assert!(String::from_utf8_lossy(&back).replace('"', "") == table.replace('"', ""), "{options}");
    }
    let swapped = masker(&daemon, "tokenize --csv --escape \\ --column n=NAME", "n\n\"\\N\"\nx\n").whole();
    assert!(swapped.starts_with(b"n\n\"\\N\"\nMSKV1."), "a NULL in quotes");
    daemon.stop();
}

#[test]
fn encodings_come_back_byte_for_byte() {
    let site = Site::new();
    let daemon = start(&site);
    let utf16 = |text: &str, mark: bool| {
        let mark = if mark { "\u{feff}" } else { "" };
        format!("{mark}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
    };
    let wide = "id\tName\n1\tZoë\n2\t渚 😀\n";
    for (options, table) in [
        ("--encoding windows-1252 --column Gr\u{f6}\u{df}e", b"Gr\xF6\xDFe,x\r\nZo\xEB \x80,\xFF\r\n".to_vec()),
        ("--encoding latin-1 --column Gr\u{f6}\u{df}e", b"Gr\xF6\xDFe,x\r\nZo\xEB \x80,\xFF\r\n".to_vec()),
        ("--encoding shift_jis --column n", b"n,x\n\x95\x5C,\x95\x5C\n".to_vec()),
        ("--encoding utf-16 --delimiter tab --column Name", utf16(wide, true)),
        ("--encoding utf-16le --delimiter tab --column Name", utf16(wide, false)),
    ] {
        let swapped = masker(&daemon, &format!("tokenize --csv --kind NAME {options}"), &table).whole();
        let back = masker(&daemon, &format!("rehydrate --csv {options}"), &swapped).whole();
        assert!(back == table, "{options}: {}", String::from_utf8_lossy(&back));
        assert!(swapped.windows(3).all(|bytes| bytes != b"Zo\xEB"));
    }
    let token = daemon.client().token("NAME", "Zoë 渚");
    let ended = masker(&daemon, "rehydrate --csv --encoding latin-1 --column n", format!("n,m\n{token},\n"));
    assert!(ended.code == Some(2) && ended.stderr.contains("the encoding of the file lacks"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn a_failure_ends_the_run_unless_the_plan_says_otherwise() {
    let site = Site::new();
    let daemon = start(&site);
    let long = "4".repeat(5_000);
    let table = format!("id,phone,note\r\n1,415-555-0001,a\r\n2,{long},b\r\n3\r\n4,415-555-0004,d\r\n");
    let tokens = daemon.client().tokens("PHONE", &["415-555-0001", "415-555-0004"]);
    let line = "tokenize --csv --column phone=PHONE";
    let [first, last] = [&tokens[0], &tokens[1]];
    for (on_error, rest) in [
        ("stop", String::new()),
        ("keep-others", format!("2,,b\r\n,,\r\n4,{last},d\r\n")),
        ("keep-row-empty", format!(",,\r\n,,\r\n4,{last},d\r\n")),
    ] {
        let ended = masker(&daemon, &format!("{line} --on-error {on_error}"), &table);
        assert_eq!((ended.code, ended.text()), (Some(2), format!("id,phone,note\r\n1,{first},a\r\n{rest}").as_str()));
        assert!(ended.stderr.starts_with("row 2 (line 3), phone: value.invalid: "), "{}", ended.stderr);
    }
    let ended = masker(&daemon, line, &table);
    assert!(ended.stderr.ends_with("continue with --skip-rows 1\n"), "{}", ended.stderr);
    // Without the two rows that fail.
    let rest = masker(&daemon, &format!("{line} --skip-rows 3"), &table).whole();
    assert_eq!(rest, format!("4,{last},d\r\n").into_bytes());
    daemon.stop();
}

#[test]
fn a_dry_run_reports_and_swaps_nothing() {
    let site = Site::new();
    let daemon = start(&site);
    let line = "tokenize --csv --dry-run --column phone=PHONE --column name=NAME";
    let ended = masker(&daemon, line, "id,phone,name\n1,415-555-0001,Ann\n2,,Bob\n");
    assert_eq!(ended.whole(), b"rows\t2\nvalues of phone\t1\nvalues of name\t2\n");
    let found = daemon.client().post("/api/v1/lookup", &json!({"items": [{"kind": "PHONE", "value": "415-555-0001"}]}));
    assert_eq!(found.results(1)[0]["tokens"], json!([]));
    let ended = masker(&daemon, line, "id,phone,name\n1,415-555-0001,Ann\n2,Bob\n");
    assert_eq!((ended.code, ended.text()), (Some(2), "rows\t2\nvalues of phone\t1\nvalues of name\t1\n"));
    assert!(ended.stderr.contains("row 2 (line 3)"), "{}", ended.stderr);
    // What the daemon refuses by every policy that tokenizes the kind.
    let token = daemon.client().token("PHONE", "415-555-0001");
    let table = format!("id,phone,name\n1,{token},\"a\nb\"\n2,{},Bob\n3,x,y\n", "4".repeat(4_097));
    let ended = masker(&daemon, line, &table);
    assert_eq!((ended.code, ended.text()), (Some(2), "rows\t3\nvalues of phone\t1\nvalues of name\t3\n"));
    let places: Vec<String> = ended.stderr.lines().take(2).map(|line| line.splitn(4, ": ").take(2).collect()).collect();
    assert_eq!(places, ["row 1 (line 2), phonevalue.is_token", "row 2 (line 4), phonevalue.invalid"]);
    let table = format!("id,t\n1,{token}\n2,{}\n", &token[..50]);
    let ended = masker(&daemon, "rehydrate --csv --dry-run --column t", &table);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("row 2 (line 3), t: token.malformed: "), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn what_never_was_a_token_comes_back_and_what_was_one_fails() {
    let site = Site::new();
    let daemon = start(&site);
    let table = "id,phone,city,note\n1,415-555-0001,Bonn,fell\n2,,\"Köln, am Rhein\",\n";
    let columns = "--column phone --column city --column note";
    let swap = "tokenize --csv --column phone=PHONE --column city=CITY --column note=NOTE";
    let swapped = masker(&daemon, swap, table).whole();
    let back = table.replace("fell", "[REDACTED:NOTE]");
    let ended = masker(&daemon, &format!("rehydrate --csv {columns}"), &swapped);
    assert_eq!((ended.code, ended.text()), (Some(2), back.as_str()));
    assert!(
        ended.stderr.starts_with("values that never were tokens were copied: 3, the first in row 1, city. "),
        "{}",
        ended.stderr
    );
    let whole = masker(&daemon, &format!("rehydrate --csv --passthrough {columns}"), &swapped).whole();
    assert_eq!(String::from_utf8_lossy(&whole), back);
    let bytes = masker(&daemon, "rehydrate --csv --passthrough --column c", b"id,c\n1,caf\xE9\n").whole();
    assert_eq!(bytes, b"id,c\n1,caf\xE9\n", "what never was a token need not be text");
    let token = daemon.client().token("PHONE", "415-555-0001");
    let whole = masker(&daemon, "rehydrate --csv --passthrough --column c", "id,c\n1,www.msk1.com\n").whole();
    assert_eq!(whole, b"id,c\n1,www.msk1.com\n");
    for damaged in [&token[..token.len() - 1], &token.to_lowercase(), &format!("call {token}"), "MSK1.x"] {
        let ended = masker(&daemon, "rehydrate --csv --passthrough --column t", format!("id,t\n1,{damaged}\n"));
        assert!(ended.refused(2).contains("row 1 (line 2), t: token."), "{damaged}: {}", ended.stderr);
    }
    daemon.stop();
}

#[test]
fn the_header_of_a_joined_file_is_no_row() {
    let site = Site::new();
    let daemon = start(&site);
    let line = "tokenize --csv --column name=NAME";
    for second in ["id,name\n2,Bob\n", "name,id\nBob,2\n", "\u{feff}id,name\n2,Bob\n"] {
        let table = format!("id,name\n1,Ann\n{second}");
        let ended = masker(&daemon, line, &table);
        assert!(
            ended.refused(2).contains("row 2 (line 3)") && ended.stderr.contains("were files joined?"),
            "{}",
            ended.stderr
        );
    }
    daemon.stop();
}

/// Such as notes in a column that is redacted.
#[test]
fn a_long_cell_is_as_long_as_the_policy_allows() {
    let site = Site::new();
    let daemon = start(&site);
    let long = "x".repeat(300_000);
    let table = format!("id,note\n1,{long}\n");
    let ended = masker(&daemon, "tokenize --csv --column note=NOTE", &table);
    assert_eq!(ended.text(), "id,note\n1,[REDACTED:NOTE]\n", "{}", ended.stderr);
    let ended = masker(&daemon, "tokenize --csv --column note=NAME", &table);
    assert!(ended.refused(2).contains("value.invalid"), "{}", ended.stderr);
    daemon.stop();
}
