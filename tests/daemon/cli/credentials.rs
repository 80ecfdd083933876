//! API keys on the command line: how they are sent and administered.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
};

use super::{Place, daemon::FakeDaemon, read, run, spawn};

/// A well-formed key that no daemon knows.
const API_KEY: &str = "masker_live_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz4CzFke";

#[test]
fn shows_credentials_to_the_daemon_only() {
    let place = Place::new();
    let daemon = FakeDaemon::start(&place.path("s"));
    let mut command = place.masker(&["tokenize", "--socket", "s", "--kind", "A", "-vv"]);
    let mut child = spawn(command.env("MASKER_API_KEY", API_KEY));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    writeln!(stdin, "one").unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let environ = fs::read(format!("/proc/{}/environ", child.id())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(environ.contains("HOME=") && !environ.contains(API_KEY), "{environ}");
    drop(stdin);
    let (code, _, stderr) = read(child.wait_with_output().unwrap());
    assert!(
        code == Some(0) && stderr.contains("POST /api/v1/tokenize") && !stderr.contains(&API_KEY[16..]),
        "{stderr}"
    );
    run(place.masker(&["whoami", "--socket", "s"]).env("MASKER_API_KEY", API_KEY));
    run(&mut place.masker(&["health", "--socket", "s"]));
    let bearer = Some(format!("Bearer {API_KEY}"));
    let credentials = daemon.credentials();
    assert_eq!(credentials.first(), Some(&bearer));
    assert!(credentials.len() > 2 && credentials[1..credentials.len() - 1].iter().all(|shown| *shown == bearer));
    assert_eq!(credentials.last(), Some(&None));
}

#[test]
fn does_not_send_malformed_api_keys() {
    let place = Place::new();
    let daemon = FakeDaemon::start(&place.path("s"));
    for (key, reason) in
        [(&API_KEY[..54], "not a whole API key"), ("hunter2-hunter2", "a key begins with `masker_live_`")]
    {
        for words in [&["health"][..], &["tokenize", "--kind", "A", "x"], &["api-keys", "list"]] {
            let (code, stdout, stderr) =
                run(place.masker(words).env("MASKER_SOCKET", place.path("s")).env("MASKER_API_KEY", key));
            assert_eq!((code, stdout.as_str()), (Some(4), ""), "{words:?}: {stderr}");
            assert!(
                stderr.contains("MASKER_API_KEY is") && stderr.contains(reason) && !stderr.contains(key),
                "{stderr}"
            );
        }
    }
    assert!(daemon.paths().is_empty());
}

#[test]
fn rejects_invalid_arguments_of_api_keys() {
    let place = Place::new();
    let daemon = FakeDaemon::start(&place.path("s"));
    let create = ["api-keys", "create", "--socket", "s", "--name", "n"];
    for words in [
        &[&create[..], &["--scope", "tokenize", "--expires", "soon"]].concat()[..],
        &[&create[..], &["--scope", "tokenize", "--limits", "values_burst=7"]].concat()[..],
        &create[..],
        &["api-keys", "rotate", "--socket", "s", "--grace", "long", &"0".repeat(32)][..],
        &["api-keys", "revoke", "--socket", "s", API_KEY][..],
        &["api-keys", "revoke", "--socket", "s", "../policies"][..],
    ] {
        let (code, stdout, stderr) = run(&mut place.masker(words));
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{words:?}: {stderr}");
        assert!(!stderr.contains(&API_KEY[16..]), "{stderr}");
    }
    assert!(daemon.paths().is_empty());
}
