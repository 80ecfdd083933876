//! The command line.

use std::{
    fs,
    process::{Command, Output},
};

use crate::harness::masker_gateway as masker_gateway_program;

fn masker_gateway(arguments: &[&str]) -> Output {
    Command::new(masker_gateway_program()).args(arguments).env_clear().output().expect("it can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn the_help_and_the_version_are_shown() {
    let help = masker_gateway(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("SIGHUP"));
    let version = masker_gateway(&["--version"]);
    assert_eq!(text(&version.stdout), format!("masker-gateway {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(masker_gateway(&["--unknown"]).status.code(), Some(64));
}

#[test]
fn every_error_of_the_configuration_is_shown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "[gateway]\nlisten = \"8443\"\npublic_url = \"http://x\"\ncertificate = \"c\"\nkey = \"k\"\n")
        .unwrap();
    let refused = masker_gateway(&["--config", path, "--check"]);
    let shown = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{shown}");
    for expected in ["2: `listen` cannot be", "3: `public_url` must begin"] {
        assert!(shown.contains(&format!("masker-gateway: {path}:{expected}")), "{shown}");
    }
    fs::write(
        &file,
        "[gateway]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://x\"\ncertificate = \"c\"\nkey = \"k\"\n",
    )
    .unwrap();
    let refused = masker_gateway(&["--config", path, "--check"]);
    let shown = text(&refused.stderr);
    assert_eq!((refused.status.code(), shown.lines().count()), (Some(3), 2), "{shown}");
    assert!(shown.contains(&format!("{path}:4: ")) && shown.contains(&format!("{path}:5: ")), "{shown}");
    let missing = masker_gateway(&["--config", folder.path().join("none.toml").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing.stderr));
}
