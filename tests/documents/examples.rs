//! Runs the programs in `examples/` against a daemon.

use std::{path::Path, process::Command};

use crate::{root, shipped_site, start_shipped};

/// Runs a program in its directory, if its interpreter or compiler is here. CI must have all of them except Go.
fn runs(directory: &str, words: &[&str], version: &str) {
    if let Err(missing) = Command::new(words[0]).arg(version).output() {
        let may_be_missing = words[0] == "go" || std::env::var_os("CI").is_none();
        assert!(may_be_missing, "{} does not run: {missing}", words[0]);
        eprintln!("skipped: {} does not run here ({missing})", words[0]);
        return;
    }
    let site = shipped_site();
    let daemon = start_shipped(&site);
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(root().join("examples").join(directory))
        .env("MASKER_SOCKET", daemon.socket())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Go builds without a network, and keeps its cache where cargo builds.
        .envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=readonly"), ("GOPROXY", "off")])
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    for expected in [
        "tokenized PHONE: MSKV1.PHONE.K_HEALTHCARE.",
        "tokenized EMAIL: MSKV1.EMAIL.K_HEALTHCARE.",
        "rehydrated PHONE: 415-555-0132\n",
        "rehydrated EMAIL: ann@example.org\n",
        "the same value has the same token: true\n",
        "the other item failed: kind.unknown\n",
    ] {
        // Python writes `True`.
        assert!(stdout.replace("True", "true").contains(expected), "{expected:?} is not in:\n{stdout}");
    }
    daemon.stop();
}

#[test]
fn curl() {
    runs("curl", &["bash", "client.sh"], "--version");
}

#[test]
fn go() {
    runs("go", &["go", "run", "."], "version");
}

#[test]
fn node() {
    runs("node", &["node", "client.mjs"], "--version");
}

#[test]
fn python() {
    runs("python", &["python3", "client.py"], "--version");
}
