//! `masker backup verify`.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use super::{
    AUDIT, CONFIG, EXPORT, POLICIES, failed,
    manifest::{BackupManifest, MANIFEST, ManifestFile, files},
};
use crate::{
    commands::vault::ExportDescription,
    context::{CommandContext, CommandError},
    doctor,
    exit::Exit,
    offline::{ExportContents, ExportReading, MissingKey},
    output::printable,
};
use masker_audit::{ChainHead, LogSource, verify as verify_log};
use masker_config::{CommandLineOptions, Config, Credentials, Environment, HostEnvironment, load_policies};
use masker_core::crypto::{ChainKey, SecretKey};

/// What was found of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PartFinding {
    Verified,
    NotCompared,
    Wrong,
}

impl PartFinding {
    fn as_str(self) -> &'static str {
        match self {
            PartFinding::Verified => "verified",
            PartFinding::NotCompared => "NOT COMPARED",
            PartFinding::Wrong => "WRONG",
        }
    }
}

/// A part of a backup that was verified, or was not.
#[derive(Debug, Serialize)]
struct BackupPart {
    what: &'static str,
    finding: PartFinding,
    detail: String,
}

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct BackupReport {
    ok: bool,
    parts: Vec<BackupPart>,
}

/// Runs the command.
pub(super) fn run(directory: &Path, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let manifest = BackupManifest::read(directory)?;
    let mut parts = Vec::new();
    let mut add = |what, (finding, detail)| parts.push(BackupPart { what, finding, detail });
    add(
        "files",
        match wrong_files(directory, &manifest)? {
            wrong if wrong.is_empty() => {
                let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
                let text = format!("{} files of {bytes} bytes are as the manifest has them", manifest.files.len());
                (PartFinding::Verified, text)
            }
            wrong => (PartFinding::Wrong, wrong.join("; ")),
        },
    );
    let host = ctx.host();
    let configuration = configuration(directory, host);
    let default = configuration.as_ref().ok().and_then(|config| config.as_ref()?.policy.default.clone());
    add(
        "configuration",
        match configuration {
            Ok(Some(_)) => (PartFinding::Verified, "it is valid".to_owned()),
            Ok(None) => (PartFinding::Verified, "there was none".to_owned()),
            Err(error) => (PartFinding::Wrong, error),
        },
    );
    add(
        "policies",
        match load_policies(&directory.join(POLICIES), default.as_deref()) {
            Ok(policies) => (PartFinding::Verified, format!("{} are valid", policies.len())),
            Err(errors) => (PartFinding::Wrong, errors.to_string()),
        },
    );
    let (keys, audit_key) = match doctor::provided_keys(ctx.environment()) {
        Ok(mut credentials) => {
            let audit_key = credentials.audit_key.take();
            (Ok(credentials), audit_key)
        }
        Err(why) => (Err(why), None),
    };
    add("export", export(directory, &manifest, keys, ctx));
    add("audit log", audit_log(directory, &manifest, audit_key.as_ref()));

    let has = |finding| parts.iter().any(|part| part.finding == finding);
    let exit = match (has(PartFinding::Wrong), has(PartFinding::NotCompared)) {
        (true, _) => Exit::Error,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Done,
    };
    show(&BackupReport { ok: exit == Exit::Done, parts }, &manifest, ctx)?;
    Ok(exit)
}

/// Compares the files of a backup with its manifest. Returns what is wrong.
pub(super) fn wrong_files(directory: &Path, manifest: &BackupManifest) -> Result<Vec<String>, CommandError> {
    let found = files(directory).map_err(|error| failed("list", directory, &error))?;
    let mut unknown: BTreeSet<&str> = found.iter().map(String::as_str).filter(|path| *path != MANIFEST).collect();
    let mut wrong = Vec::new();
    for expected in &manifest.files {
        if !unknown.remove(expected.path.as_str()) {
            wrong.push(format!("{} is missing", shown(&expected.path)));
            continue;
        }
        let path = directory.join(&expected.path);
        let found =
            ManifestFile::of(directory, expected.path.clone()).map_err(|error| failed("read", &path, &error))?;
        if found.bytes != expected.bytes {
            wrong.push(format!("{} has {} bytes, not {}", shown(&expected.path), found.bytes, expected.bytes));
        } else if found != *expected {
            wrong.push(format!("{} was changed", shown(&expected.path)));
        }
    }
    wrong.extend(unknown.into_iter().map(|path| format!("{} is not in the manifest", shown(path))));
    Ok(wrong)
}

/// Returns a name that the maker of a backup has chosen, on one line.
fn shown(path: &str) -> String {
    printable(path, "")
}

/// Parses the configuration of a backup, without the environment of this host.
fn configuration(directory: &Path, host: HostEnvironment<'_>) -> Result<Option<Config>, String> {
    let file = directory.join(CONFIG);
    if !file.exists() {
        return Ok(None);
    }
    let environment: Environment = [("HOME".into(), "/".into())].into_iter().collect();
    let host = HostEnvironment { environment: &environment, ..host };
    let loaded = Config::load(CommandLineOptions { config: Some(&file), socket: None }, host);
    loaded.map(Some).map_err(|errors| errors.to_string())
}

fn export(
    directory: &Path,
    manifest: &BackupManifest,
    keys: Result<Credentials, String>,
    ctx: &CommandContext<'_>,
) -> (PartFinding, String) {
    let path = directory.join(EXPORT);
    let header = masker_files::read_regular(&path).map_err(|error| failed("read", &path, &error));
    let header = match header.and_then(|file| ExportDescription::read(file, &path)) {
        Ok(header) => header,
        Err(error) => return (PartFinding::Wrong, error.to_string()),
    };
    if header.vault_id != manifest.vault_id || header.keys != manifest.keys {
        return (PartFinding::Wrong, format!("{EXPORT} is of another vault or time than the manifest"));
    }
    let keys = match keys {
        Ok(keys) => keys,
        Err(why) => return (PartFinding::NotCompared, why),
    };
    match (ctx.offline.read_export)(&path, keys) {
        ExportReading::Sound(found) => sound_export(&found),
        ExportReading::KeysMissing(why) => (PartFinding::NotCompared, why),
        ExportReading::Wrong(why) => (PartFinding::Wrong, why),
    }
}

/// Returns what an export is that was read to its end.
fn sound_export(found: &ExportContents) -> (PartFinding, String) {
    let mut finding = PartFinding::Verified;
    let mut detail = format!(
        "{} records, {} tombstones, {} API keys, {} honeytokens, {} sessions",
        found.records, found.tombstones, found.api_keys, found.honeytokens, found.sessions
    );
    if !found.missing_keys.is_empty() {
        finding = PartFinding::NotCompared;
        detail += &format!(
            "; records need keys that are not provided: {}. A restore needs each as MASKER_KEY_<KID>_OLD (or as \
             MASKER_KEY_<KID>), or leaves these records out with --skip-missing-keys",
            MissingKey::counted(&found.missing_keys)
        );
    }
    if found.damaged > 0 {
        finding = PartFinding::Wrong;
        detail += &format!("; {} records do not open: the vault was damaged when it was backed up", found.damaged);
    }
    (finding, detail)
}

fn audit_log(directory: &Path, manifest: &BackupManifest, key: Option<&SecretKey>) -> (PartFinding, String) {
    let Some(head) = &manifest.audit_head else { return (PartFinding::Verified, "there was none".to_owned()) };
    let Ok(head) = head.parse::<ChainHead>() else {
        return (PartFinding::Wrong, "the head in the manifest is invalid".to_owned());
    };
    let Some(key) = key else {
        let why = "the key of the chain is missing: MASKER_AUDIT_HMAC_KEY, or its file with MASKER_AUDIT_HMAC_KEY_FILE";
        return (PartFinding::NotCompared, why.to_owned());
    };
    let key = match ChainKey::new(key) {
        Ok(key) => key,
        Err(error) => return (PartFinding::NotCompared, error.to_string()),
    };
    match verify_log(&LogSource::Directory(directory.join(AUDIT)), &key, Some(&head.into())) {
        Ok(log) => (PartFinding::Verified, format!("{} events verify, and the head is among them", log.events)),
        Err(error) => (PartFinding::Wrong, error.to_string()),
    }
}

fn show(report: &BackupReport, manifest: &BackupManifest, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(report);
    }
    let row = |part: &BackupPart| vec![part.what.to_owned(), part.finding.as_str().to_owned(), part.detail.clone()];
    output.table(&["PART", "RESULT", "DETAIL"], report.parts.iter().map(row).collect())?;
    output.flush()?;
    output.note(&format!("\nmade at {} of the vault {}. It does not have:", manifest.began_at, manifest.vault_id));
    for left_out in &manifest.not_included {
        output.note(&format!("  {}: {}", left_out.what, left_out.place));
    }
    Ok(())
}
