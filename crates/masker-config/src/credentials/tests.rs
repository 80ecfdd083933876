use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
};

use tempfile::TempDir;

use super::*;

/// Two keys of 32 different bytes.
const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TWO: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn collect(variables: &[(&str, &str)]) -> Result<Credentials, CredentialProblems> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Credentials::collect(&variables.collect())
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    let problems = collect(variables).err().expect("there are problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| !text.contains(ONE.trim_end_matches('='))), "a message contains a key: {texts:?}");
    texts
}

/// Returns the names of the keys, and whether each is [`ONE`] or [`TWO`].
fn names(keys: &[LoadedKey]) -> Vec<(String, u8)> {
    let reference = |text: &str| SecretKey::parse_base64(text.as_bytes()).unwrap();
    let which = |key: &SecretKey| if key.ct_eq(&reference(ONE)) { 1 } else { 2 };
    let name = |key: &LoadedKey| (format!("{} {}", key.kid, key.role.as_str()), which(&key.key));
    keys.iter().map(name).collect()
}

fn file(dir: &TempDir, name: &str, text: &str, mode: u32) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn reads_keys_from_variables() {
    let credentials = collect(&[
        ("MASKER_KEY_K", ONE),
        ("MASKER_KEY_K_OLD", TWO),
        ("MASKER_KEY_OLD", TWO),
        ("MASKER_KEY_FILE", ONE),
        ("MASKER_KEY_ROTATION_GRACE_DAYS", "30"),
        ("MASKER_AUDIT_HMAC_KEY", TWO),
        ("MASKER_KEYS", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    let expected = [("FILE active", 1), ("K active", 1), ("K old", 2), ("OLD active", 2)];
    assert_eq!(names(&credentials.keys), expected.map(|(name, which)| (name.to_owned(), which)));
    assert!(credentials.audit_key.is_some() && credentials.warnings.is_empty());
}

#[test]
fn accepts_an_environment_without_secrets() {
    let credentials = collect(&[("HOME", "/")]).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(credentials.keys.is_empty() && credentials.audit_key.is_none() && credentials.warnings.is_empty());
}

#[test]
fn reads_keys_from_files_that_variables_name() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (file(&dir, "one", &format!("\n {ONE}\n"), 0o400), file(&dir, "two", TWO, 0o640));
    let credentials =
        collect(&[("MASKER_KEY_K_FILE", &one), ("MASKER_KEY_K_OLD_FILE", &two), ("MASKER_AUDIT_HMAC_KEY_FILE", &one)])
            .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(names(&credentials.keys), [("K active".to_owned(), 1), ("K old".to_owned(), 2)]);
    assert!(credentials.audit_key.is_some());
    assert!(
        matches!(&credentials.warnings[..], [one] if one.contains("MASKER_KEY_K_OLD_FILE") && one.contains("chmod")),
        "{:?}",
        credentials.warnings
    );
}

#[test]
fn reads_keys_without_variables_from_the_credentials_directory() {
    let dir = TempDir::new().unwrap();
    for (name, text) in [
        ("MASKER_KEY_A", ONE),
        ("MASKER_KEY_B", ONE),
        ("MASKER_KEY_B_OLD", TWO),
        ("MASKER_KEY_C", ONE),
        ("MASKER_AUDIT_HMAC_KEY", ONE),
        ("tls.pem", "not ours"),
        ("MASKER_KEY_ROTATION_GRACE_DAYS", "30"),
    ] {
        file(&dir, name, text, 0o440);
    }
    let path = file(&dir, "elsewhere", TWO, 0o400);
    let credentials = collect(&[
        ("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap()),
        ("MASKER_KEY_A", TWO),
        ("MASKER_KEY_C_FILE", &path),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    let expected = [("A active", 2), ("B active", 1), ("B old", 2), ("C active", 2)];
    assert_eq!(names(&credentials.keys), expected.map(|(name, which)| (name.to_owned(), which)));
    assert!(credentials.audit_key.is_some());
    assert!(matches!(&credentials.warnings[..], [one] if one.contains("GRACE_DAYS is not read")));
}

#[test]
fn reports_every_problem_and_no_value() {
    let dir = TempDir::new().unwrap();
    let long = file(&dir, "long", &"A".repeat(4_097), 0o400);
    let empty = file(&dir, "empty", " \n", 0o400);
    let absent = dir.path().join("absent").to_str().unwrap().to_owned();
    let texts = problems(&[
        ("MASKER_KEY_A", "hunter2!"),
        ("MASKER_KEY_B", "c2hvcnQ="),
        ("MASKER_KEY_C", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="),
        ("MASKER_KEY_D", ""),
        ("MASKER_KEY_E", ONE),
        ("MASKER_KEY_E_FILE", &long),
        ("MASKER_KEY_F_FILE", &long),
        ("MASKER_KEY_G_FILE", &empty),
        ("MASKER_KEY_H_FILE", &absent),
        ("MASKER_KEY_I_FILE", ONE),
        ("MASKER_KEY_J_FILE", ""),
        ("MASKER_KEY_K", ONE),
        ("MASKER_KEY_K_OLD", ONE),
        ("MASKER_KEY_L_OLD", ONE),
        ("MASKER_KEY_M", "broken"),
        ("MASKER_KEY_M_OLD", ONE),
        ("MASKER_KEY_N_FILE", dir.path().to_str().unwrap()),
        ("MASKER_KEY_", ONE),
        ("MASKER_KEY_lower", ONE),
        ("MASKER_KEY_X_OLD_OLD", ONE),
        ("MASKER_KEY_X_FILE_OLD", ONE),
        ("MASKER_KEY_ROTATION_GRACE_DAYS_OLD", ONE),
        ("MASKER_AUDIT_HMAC_KEY", "c2hvcnQ="),
    ]);
    let expected = [
        ("MASKER_KEY_ ", "names no key"),
        ("MASKER_KEY_E ", "and MASKER_KEY_E_FILE are both set"),
        ("MASKER_KEY_I_FILE ", "leave `_FILE` out"),
        ("MASKER_KEY_J_FILE ", "is empty"),
        ("MASKER_KEY_ROTATION_GRACE_DAYS_OLD ", "names no key"),
        ("MASKER_KEY_X_FILE_OLD ", "names no key"),
        ("MASKER_KEY_X_OLD_OLD ", "names no key"),
        ("MASKER_KEY_lower ", "names no key"),
        ("MASKER_KEY_A ", "base64"),
        ("MASKER_KEY_B ", "5 bytes"),
        ("MASKER_KEY_C ", "equal"),
        ("MASKER_KEY_D ", "is empty"),
        ("MASKER_KEY_F_FILE (", "over 4096 bytes"),
        ("MASKER_KEY_G_FILE (", "is empty"),
        ("MASKER_KEY_H_FILE (", "cannot be read"),
        ("MASKER_KEY_M ", "base64"),
        ("MASKER_KEY_N_FILE (", "not a regular file"),
        ("MASKER_AUDIT_HMAC_KEY ", "5 bytes"),
        ("MASKER_KEY_K_OLD ", "is the same key as MASKER_KEY_K:"),
        ("MASKER_KEY_L_OLD ", "is set and MASKER_KEY_L is not"),
    ];
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, (source, part)) in texts.iter().zip(expected) {
        assert!(text.starts_with(source) && text.contains(part), "{text:?} is not {source:?} {part:?}");
        assert!(!text.contains("hunter2") && !text.contains("c2hvcnQ"), "{text}");
    }
}

#[test]
fn a_problem_of_one_key_hides_none_of_another_whose_name_begins_alike() {
    let texts = problems(&[("MASKER_KEY_CARE_OLD", ONE), ("MASKER_KEY_CARE_HOME", "broken")]);
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(texts[1].starts_with("MASKER_KEY_CARE_OLD is set and MASKER_KEY_CARE is not"), "{texts:#?}");
}

#[test]
fn the_audit_key_alone_fails_for_its_own_problems_and_those_of_the_directory() {
    let audit_key = |variables: &[(&str, &str)]| {
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Credentials::audit_key(&environment).map(|key| key.is_some()).map_err(|problems| problems.to_string())
    };
    assert_eq!(audit_key(&[("MASKER_KEY_K", "broken"), ("MASKER_KEY_lower", ONE)]), Ok(false));
    let broken = audit_key(&[("MASKER_AUDIT_HMAC_KEY", "broken")]);
    assert!(broken.is_err_and(|text| text.starts_with("MASKER_AUDIT_HMAC_KEY ")));
    let listed = audit_key(&[("CREDENTIALS_DIRECTORY", "/nonexistent")]);
    assert!(listed.is_err_and(|text| text.starts_with("CREDENTIALS_DIRECTORY (/nonexistent) cannot be listed")));
}

fn set(path: &str, text: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, text).unwrap();
}

fn named(kid: &str, role: Role) -> (Kid, Role) {
    (Kid::parse(kid).unwrap(), role)
}

#[test]
fn reload_reads_files_and_keeps_keys_of_variables() {
    let (dir, credentials_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (care, old) = (file(&dir, "care", ONE, 0o400), dir.path().join("care-old").to_str().unwrap().to_owned());
    let pay = file(&credentials_dir, "MASKER_KEY_PAY", ONE, 0o400);
    file(&credentials_dir, "MASKER_KEY_GIVEN", TWO, 0o400);
    let credentials = collect(&[
        ("CREDENTIALS_DIRECTORY", credentials_dir.path().to_str().unwrap()),
        ("MASKER_KEY_CARE_FILE", &care),
        ("MASKER_KEY_CARE_OLD_FILE", &old),
        ("MASKER_KEY_GIVEN", ONE),
        ("MASKER_KEY_GIVEN_OLD", TWO),
        ("MASKER_AUDIT_HMAC_KEY_FILE", &care),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    let expected = [("CARE active", 1), ("GIVEN active", 1), ("GIVEN old", 2), ("PAY active", 1)];
    assert_eq!(names(&credentials.keys), expected.map(|(name, which)| (name.to_owned(), which)));
    assert!(
        matches!(&credentials.warnings[..], [one] if one.contains("MASKER_KEY_CARE_OLD_FILE") && one.contains("does not exist")),
        "an old key's file may come later: {:?}",
        credentials.warnings
    );

    let again = |sources: &KeySources| {
        let read = sources.reload().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(read.kept, BTreeSet::from([named("GIVEN", Role::Active), named("GIVEN", Role::Old)]));
        names(&read.keys)
    };
    assert_eq!(again(&credentials.sources), [("CARE active".to_owned(), 1), ("PAY active".to_owned(), 1)]);

    // A rotation of both, and a new key id.
    set(&care, TWO);
    file(&dir, "care-old", ONE, 0o400);
    set(&pay, TWO);
    file(&credentials_dir, "MASKER_KEY_PAY_OLD", ONE, 0o400);
    file(&credentials_dir, "MASKER_KEY_NEW", ONE, 0o400);
    let expected = [("CARE active", 2), ("CARE old", 1), ("NEW active", 1), ("PAY active", 2), ("PAY old", 1)];
    assert_eq!(again(&credentials.sources), expected.map(|(name, which)| (name.to_owned(), which)));

    // Removed files are no longer loaded.
    fs::remove_file(&old).unwrap();
    fs::remove_file(credentials_dir.path().join("MASKER_KEY_PAY_OLD")).unwrap();
    fs::remove_file(credentials_dir.path().join("MASKER_KEY_NEW")).unwrap();
    assert_eq!(again(&credentials.sources), [("CARE active".to_owned(), 2), ("PAY active".to_owned(), 2)]);
}

#[test]
fn reload_reports_every_problem_and_no_value() {
    let [dir, credentials_dir] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [care, old, other] = ["care", "old", "other"].map(|name| file(&dir, name, ONE, 0o400));
    set(&old, TWO);
    let credential = file(&credentials_dir, "MASKER_KEY_PAY", ONE, 0o400);
    let credentials = collect(&[
        ("CREDENTIALS_DIRECTORY", credentials_dir.path().to_str().unwrap()),
        ("MASKER_KEY_CARE_FILE", &care),
        ("MASKER_KEY_CARE_OLD_FILE", &old),
        ("MASKER_KEY_OTHER_FILE", &other),
        ("MASKER_KEY_GIVEN", ONE),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    set(&old, ONE);
    fs::remove_file(&other).unwrap();
    set(&credential, "hunter2!");
    file(&credentials_dir, "MASKER_KEY_LONE_OLD", TWO, 0o400);
    file(&credentials_dir, "MASKER_KEY_GIVEN_OLD", ONE, 0o400);
    let problems = credentials.sources.reload().err().expect("there are problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        ("MASKER_KEY_OTHER_FILE (", "no such file"),
        ("the credential ", "base64"),
        ("MASKER_KEY_CARE_OLD ", "is the same key as MASKER_KEY_CARE:"),
        ("MASKER_KEY_LONE_OLD ", "MASKER_KEY_LONE is not"),
    ];
    assert_eq!(texts.len(), expected.len(), "the keyring compares the keys of GIVEN: {texts:#?}");
    for (text, (source, part)) in texts.iter().zip(expected) {
        assert!(text.starts_with(source) && text.contains(part), "{text:?} is not {source:?} {part:?}");
        assert!(!text.contains("hunter2") && !text.contains(ONE.trim_end_matches('=')), "{text}");
    }
    drop(credentials_dir);
    let problems = credentials.sources.reload().err().expect("the directory is gone");
    assert!(problems.to_string().contains("cannot be listed"), "{problems}");
}

#[test]
fn sources_contain_no_secret() {
    let path = TempDir::new().unwrap();
    let key = file(&path, "key", TWO, 0o400);
    let credentials = collect(&[("MASKER_KEY_K", ONE), ("MASKER_KEY_L_FILE", &key)]).unwrap_or_else(|p| panic!("{p}"));
    let shown = format!("{:?}", credentials.sources);
    assert!(shown.contains(&key) && !shown.contains(ONE.trim_end_matches('=')), "{shown}");
}

#[test]
fn rejects_names_and_values_that_are_not_utf_8() {
    let name = OsString::from_vec(b"MASKER_KEY_\xFF".to_vec());
    let value = OsString::from_vec(b"\xFF\xFE".to_vec());
    let environment =
        [(name, OsString::from(ONE)), (OsString::from("MASKER_KEY_K"), value), (OsString::from("X"), "y".into())];
    let problems = Credentials::collect(&environment.into_iter().collect()).err().expect("there are problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("not named in UTF-8") && texts[1].contains("MASKER_KEY_K is not standard base64"));
    assert_eq!(texts.len(), 2);
}

#[test]
fn rejects_credentials_with_invalid_names() {
    let dir = TempDir::new().unwrap();
    file(&dir, "MASKER_KEY_K_FILE", ONE, 0o400);
    file(&dir, "MASKER_KEY_k", ONE, 0o400);
    let texts = problems(&[("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap())]);
    assert!(texts[0].contains("is a file already") && texts[0].contains("with the name MASKER_KEY_K"), "{texts:?}");
    assert!(texts[1].contains("names no key") && texts.len() == 2, "{texts:?}");
    let texts = problems(&[("CREDENTIALS_DIRECTORY", dir.path().join("absent").to_str().unwrap())]);
    assert!(texts[0].contains("cannot be listed"), "{texts:?}");
}

#[test]
fn rejects_a_pipe_without_blocking() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let texts = problems(&[("MASKER_KEY_K_FILE", path.to_str().unwrap())]);
    assert!(texts[0].contains("not a regular file"), "{texts:?}");
}

#[test]
fn recognizes_the_names_of_secrets() {
    for name in ["MASKER_KEY_K", "MASKER_KEY_K_OLD", "MASKER_KEY_k", "MASKER_KEY_", "MASKER_KEY_K_FILE"] {
        assert!(is_secret_name(name.as_bytes()), "{name}");
    }
    for name in ["MASKER_AUDIT_HMAC_KEY", "MASKER_API_KEY", "MASKER_APP_SESSION", "MASKER_SESSION"] {
        assert!(is_secret_name(name.as_bytes()), "{name}");
    }
    for name in ["MASKER_KEY_ROTATION_GRACE_DAYS", "MASKER_SOCKET", "PATH", "MASKER_AUDIT_HMAC_KEY_FILE"] {
        assert!(!is_secret_name(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_change_of_keys_takes_effect_by_the_source_that_they_have() {
    let kid = Kid::parse("K").expect("a kid");
    let apply = |variables: &[(&str, &str)]| {
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        KeySources::of(&environment, &mut ProblemCollector::default()).changes_of(kid).to_string()
    };
    let systemd = ("CREDENTIALS_DIRECTORY", "/run/credentials/masker.service");
    let (reload, restart) = ("run `masker keys reload`", "run `systemctl restart masker.service`");
    assert_eq!(apply(&[systemd]), restart);
    assert_eq!(apply(&[systemd, ("MASKER_KEY_K", ONE)]), restart);
    assert_eq!(apply(&[systemd, ("MASKER_KEY_OTHER_FILE", "/k")]), restart);
    // A file that the daemon reads itself.
    assert_eq!(apply(&[systemd, ("MASKER_KEY_K_FILE", "/k")]), reload);
    assert_eq!(apply(&[("CREDENTIALS_DIRECTORY", "/home/ann/keys")]), reload);
    assert_eq!(
        apply(&[("CREDENTIALS_DIRECTORY", "/home/ann/keys"), ("MASKER_KEY_K_OLD", ONE)]),
        "restart the daemon with the changed variables"
    );
    let user = ("CREDENTIALS_DIRECTORY", "/run/user/1000/credentials/masker.service");
    assert_eq!(apply(&[user]), "run `systemctl --user restart masker.service`");
}
