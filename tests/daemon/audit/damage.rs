//! A log that was tampered with: what is reported, where, and what an operator can do. And directories that cannot
//! hold a log.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::json;

use super::{assert_whole, complaint, events, launch, of, only, segments, site, text_of, verify};
use crate::harness::Site;

/// Returns a site with a log of a dozen events, whose daemon has stopped, and the only segment.
fn written() -> (Site, std::path::PathBuf) {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    for number in 0..10 {
        client.token("PHONE", &number.to_string());
    }
    daemon.stop();
    assert_whole(&site);
    let segment = segments(&site).remove(0);
    (site, segment)
}

fn lines(segment: &Path) -> Vec<String> {
    text_of(segment).lines().map(str::to_owned).collect()
}

fn write(segment: &Path, lines: &[String]) {
    fs::write(segment, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// A change of the lines of a log, the line that is reported, and the reason.
type Tampering = (&'static str, fn(&mut Vec<String>), u64, &'static str);

const TAMPERINGS: &[Tampering] = &[
    ("a fact", |lines| lines[4] = lines[4].replacen("\"time\":\"2", "\"time\":\"3", 1), 5, "changed"),
    (
        "a hash",
        |lines| {
            let at = lines[4].len() - 3;
            let other = if lines[4][at..].starts_with('0') { "1" } else { "0" };
            lines[4].replace_range(at..=at, other);
        },
        5,
        "changed",
    ),
    ("a line taken out", |lines| drop(lines.remove(4)), 5, "missing"),
    ("a line twice", |lines| lines.insert(4, lines[4].clone()), 6, "reordered"),
    ("two lines in each other's place", |lines| lines.swap(4, 5), 5, "reordered"),
    ("a line that is none", |lines| lines[4] = "{}".to_owned(), 5, "changed"),
    ("the first line taken out", |lines| drop(lines.remove(0)), 1, "missing"),
];

#[test]
fn reports_and_keeps_damage_to_the_log() {
    for (what, tamper, line, why) in TAMPERINGS {
        let (site, segment) = written();
        let mut tampered = lines(&segment);
        tamper(&mut tampered);
        write(&segment, &tampered);
        let (report, code) = verify(&site, &[]);
        assert_eq!((code, &report["line"]), (Some(2), &json!(line)), "{what}: {report}");
        assert!(report["why"].as_str().unwrap().starts_with(why), "{what}: {report}");
        assert!(segment.ends_with(Path::new(report["file"].as_str().unwrap()).file_name().unwrap()));

        let daemon = launch(&site).start();
        assert!(complaint(&daemon).is_some_and(|why| why.contains("chain is broken")), "{what}");
        let log = daemon.log().text();
        assert!(log.contains(&format!("line {line}: ")), "{what}: {log}");
        // It serves: a broken log must not be a way to stop a host.
        daemon.client().token("PHONE", "1");
        daemon.stop();
        assert!(complaint(&launch(&site).start()).is_some(), "{what}: another start repairs nothing");

        let daemon = launch(&site).accept("audit-break").start();
        assert_eq!(complaint(&daemon), None, "{what}");
        daemon.stop();
        let daemon = launch(&site).start();
        assert_eq!(complaint(&daemon), None, "{what}: the accepted break stays recorded");
        daemon.stop();
        assert_eq!(lines(&segment), tampered, "{what}: the log is kept as evidence");
        let (report, code) = verify(&site, &[]);
        assert_eq!((code, &report["ok"]), (Some(0), &json!(true)), "{what}: {report}");
        let accepted = &report["accepted_breaks"][0];
        assert_eq!(accepted["line"], json!(line), "{what}: {report}");
        // It may have been compressed since.
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(accepted["file"].as_str().unwrap().contains(name.trim_end_matches(".zst")), "{report}");
        let after: String = segments(&site)[1..].iter().map(|path| text_of(path)).collect();
        assert!(after.contains("\"op\":\"chain.broken\"") && after.contains("\"op\":\"break.accepted\""), "{what}");
    }
}

#[test]
fn reports_a_log_whose_end_is_cut_off() {
    let (site, segment) = written();
    let whole = lines(&segment);
    let cut = &whole[..whole.len() - 3];
    write(&segment, cut);
    // The chain itself is valid: without a head from elsewhere the loss cannot be detected.
    let copy = site.path("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(&segment, copy.join(segment.file_name().unwrap())).unwrap();
    let (report, code) = verify(&site, &[copy.to_str().unwrap()]);
    assert_eq!((code, &report["ok"], &report["compared_with"]), (Some(2), &json!(true), &json!(null)), "{report}");
    let (report, code) = verify(&site, &[]);
    assert_eq!(
        (code, &report["line"], &report["compared_with"]),
        (Some(2), &json!(cut.len()), &json!("vault")),
        "{report}"
    );
    assert!(report["why"].as_str().unwrap().starts_with("cut"), "{report}");

    let daemon = launch(&site).start();
    assert!(complaint(&daemon).is_some());
    assert!(daemon.log().text().contains("cut: the log ends here, but it once continued"), "{}", daemon.log().text());
    daemon.stop();
}

#[test]
fn reports_a_log_that_is_gone() {
    let (site, segment) = written();
    fs::remove_file(segment).unwrap();
    let (report, code) = verify(&site, &[]);
    assert_eq!((code, &report["ok"]), (Some(2), &json!(false)), "{report}");
    let daemon = launch(&site).start();
    assert!(complaint(&daemon).is_some());
    let (code, shown) = launch(&site).recover(&[]);
    assert!(code == Some(2) && shown.contains("the audit log has begun anew"), "{shown}");
    assert!(daemon.stop().log.text().contains("the vault has noted one of an earlier log"));
}

#[test]
fn removes_and_records_a_torn_last_line() {
    let (site, segment) = written();
    let mut text = fs::read(&segment).unwrap();
    text.extend_from_slice(b"{\"event\":{\"caller\"");
    fs::write(&segment, &text).unwrap();
    // Until then nothing looks like damage, and nothing is changed.
    let (code, shown) = launch(&site).recover(&[]);
    for part in
        ["a crash has cut the last line", "(18 bytes of", "nothing needs to be accepted", "nothing prevents a start"]
    {
        assert!(code == Some(0) && shown.contains(part) && !shown.contains("--accept"), "{part}: {shown}");
    }
    let (code, shown) = launch(&site).recover(&["--accept", "audit-break"]);
    assert!(code == Some(1) && shown.contains("nothing was accepted"), "{shown}");
    let (report, code) = verify(&site, &[]);
    assert_eq!((code, &report["why"]), (Some(2), &json!("cut: the line has no end")), "{report}");
    assert_eq!(fs::read(&segment).unwrap(), text);
    let daemon = launch(&site).start();
    assert_eq!(complaint(&daemon), None);
    let (_, shown) = launch(&site).recover(&[]);
    assert!(!shown.contains("crash"), "{shown}");
    daemon.stop();
    assert_whole(&site);
    let (_, shown) = launch(&site).recover(&[]);
    assert!(!shown.contains("crash"), "{shown}");
    assert_eq!(only(&events(&site), "line.cut")["detail"]["bytes"], 18);
}

#[test]
fn rejects_unusable_audit_directories_with_the_reason() {
    let site = site();
    let daemon = launch(&site).start();
    let mut other = super::site();
    other.set("audit", "path", format!("{:?}", site.path("audit")));
    let log = launch(&other).refused().code(1);
    assert!(log.contains("is in use"), "{log}");
    daemon.stop();
    let before = of(&events(&site), "start").len();

    fs::write(site.path("audit/notes.txt"), b"").unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains("notes.txt") && log.contains("which does not belong to an audit log"), "{log}");
    fs::remove_file(site.path("audit/notes.txt")).unwrap();

    fs::set_permissions(site.path("audit"), fs::Permissions::from_mode(0o777)).unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains("777"), "{log}");
    fs::set_permissions(site.path("audit"), fs::Permissions::from_mode(0o700)).unwrap();
    launch(&site).start().stop();
    assert_eq!(of(&events(&site), "start").len(), before + 1);
}

#[test]
fn verifies_the_log_while_a_daemon_has_the_vault() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "1");
    let (report, code) = verify(&site, &[]);
    assert_eq!((code, &report["compared_with"]), (Some(0), &json!("daemon")), "{report}");
    let head = report["head"].as_str().unwrap().to_owned();
    daemon.client().token("PHONE", "2");
    // A caller without the scope learns no head.
    let site_config = site.path("masker.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(["audit", "verify", "--config", site_config.to_str().unwrap()]).current_dir("/").env_clear();
    let output = command.env(super::KEY, super::key().base64()).env("MASKER_API_KEY", "mk_unknown").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the daemon was asked: ") && error.contains("--head"), "{error}");

    let [segment] = &segments(&site)[..] else { panic!("one segment") };
    let whole = text_of(segment);
    fs::write(segment, &whole[..whole.trim_end().rfind('\n').unwrap() + 1]).unwrap();
    let (report, code) = verify(&site, &[]);
    assert_eq!((code, &report["compared_with"]), (Some(2), &json!("daemon")), "{report}");
    assert!(report["why"].as_str().unwrap().starts_with("cut"), "{report}");
    fs::write(segment, whole).unwrap();
    daemon.stop();
    let (report, code) = verify(&site, &["--head", &head]);
    assert_eq!(code, Some(0), "{report}");
    let elsewhere = format!("{}{}", &head[..head.len() - 1], if head.ends_with('0') { '1' } else { '0' });
    assert_eq!(verify(&site, &["--head", &elsewhere]).1, Some(2));
    assert_eq!(super::audit(&site, &["verify", "--head", "7"]).status.code(), Some(64));
}
