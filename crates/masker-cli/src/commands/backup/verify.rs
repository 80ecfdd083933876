//! `masker backup verify`.

use std::{collections::BTreeSet, io, path::Path};

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
    key_files::quoted,
    offline::{ExportContents, ExportReading, MissingKey},
    output::printable,
};
use masker_audit::{ChainHead, LineError, LogSource, VerifyError, verify as verify_log};
use masker_config::{
    CommandLineOptions, Config, ConfigErrors, Credentials, Environment, HostEnvironment, load_policies,
};
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
    /// What to do about what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// Runs the command.
pub(super) fn run(directory: &Path, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let manifest = BackupManifest::read(directory)?;
    let wrong = wrong_files(directory, &manifest)?;
    let mut parts = Vec::new();
    let mut add = |what, (finding, detail)| parts.push(BackupPart { what, finding, detail });
    add(
        "files",
        match wrong.is_empty() {
            true => {
                let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
                let text = format!("{} files of {bytes} bytes are as the manifest has them", manifest.files.len());
                (PartFinding::Verified, text)
            }
            false => (PartFinding::Wrong, WrongFile::listed(&wrong)),
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
            Err(errors) => (PartFinding::Wrong, on_one_line(&errors)),
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
    let log_is_as_made = !wrong.iter().any(WrongFile::is_of_log);
    add("audit log", audit_log(directory, &manifest, audit_key.as_ref(), log_is_as_made, ctx.environment()));
    let export_is_wrong = parts.iter().any(|part| part.what == "export" && part.finding == PartFinding::Wrong);

    let has = |finding| parts.iter().any(|part| part.finding == finding);
    let exit = match (has(PartFinding::Wrong), has(PartFinding::NotCompared)) {
        (true, _) => Exit::Error,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Done,
    };
    let remedy = (exit == Exit::Error).then(|| remedy(directory, &wrong, export_is_wrong));
    show(&BackupReport { ok: exit == Exit::Done, parts, remedy }, &manifest, ctx)?;
    Ok(exit)
}

/// Returns what to do about a backup in which something is wrong.
fn remedy(directory: &Path, wrong: &[WrongFile], export_is_wrong: bool) -> String {
    if export_is_wrong || wrong.iter().any(WrongFile::is_export) {
        return format!(
            "{EXPORT} is not what was written, and a restore needs it: use another copy of this backup, or another backup, and make a \
             new one while the daemon serves"
        );
    }
    let again = "make a new backup while the daemon serves, or put the files back from another copy of this one";
    match wrong.is_empty() {
        true => format!(
            "the files are as they were made, so that they were wrong before: correct them on the host, and {again}"
        ),
        false => format!("{again}. If there is neither, {}", export_only_advice(directory)),
    }
}

/// Returns how to restore a backup of which only other files than the export are wrong.
pub(super) fn export_only_advice(directory: &Path) -> String {
    format!(
        "`masker backup restore --export-only {}` restores {EXPORT}, which is as it was made, and uses no other file of the backup: \
         the host needs its own configuration and policies, and all API keys are suspended",
        quoted(directory)
    )
}

/// Returns the problems of files on one line.
fn on_one_line(errors: &ConfigErrors) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A file of a backup that is not as the manifest has it.
pub(super) struct WrongFile {
    path: String,
    what: String,
}

impl WrongFile {
    /// Returns whether it is the export.
    pub(super) fn is_export(&self) -> bool {
        self.path == EXPORT
    }

    fn is_of_log(&self) -> bool {
        Path::new(&self.path).starts_with(AUDIT)
    }

    /// Returns a message with all of them.
    pub(super) fn listed(wrong: &[WrongFile]) -> String {
        // The maker of a backup has chosen the names.
        let text = |wrong: &WrongFile| format!("{} {}", printable(&wrong.path, ""), wrong.what);
        wrong.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

/// Compares the files of a backup with its manifest. Returns what is wrong.
pub(super) fn wrong_files(directory: &Path, manifest: &BackupManifest) -> Result<Vec<WrongFile>, CommandError> {
    let found = files(directory).map_err(|error| failed("list", directory, &error))?;
    let mut unknown: BTreeSet<&str> = found.iter().map(String::as_str).filter(|path| *path != MANIFEST).collect();
    let mut wrong = Vec::new();
    for expected in &manifest.files {
        let what = match unknown.remove(expected.path.as_str()) {
            false => Some("is missing".to_owned()),
            true => changed(directory, expected)?,
        };
        wrong.extend(what.map(|what| WrongFile { path: expected.path.clone(), what }));
    }
    let unknown = unknown.into_iter();
    wrong.extend(unknown.map(|path| WrongFile { path: path.to_owned(), what: "is not in the manifest".to_owned() }));
    Ok(wrong)
}

/// Returns how a file differs from the manifest.
fn changed(directory: &Path, expected: &ManifestFile) -> Result<Option<String>, CommandError> {
    let path = directory.join(&expected.path);
    let found = match ManifestFile::of(directory, expected.path.clone()) {
        Ok(found) => found,
        // Another user may be able to read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(failed("read", &path, &error)),
        Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
    };
    Ok(if found.bytes != expected.bytes {
        Some(format!("has {} bytes, not {}", found.bytes, expected.bytes))
    } else {
        (found != *expected).then(|| "was changed".to_owned())
    })
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
    loaded.map(Some).map_err(|errors| on_one_line(&errors))
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

/// Verifies the copy of the audit log. `is_as_made` says whether its files are as the manifest has them.
fn audit_log(
    directory: &Path,
    manifest: &BackupManifest,
    key: Option<&SecretKey>,
    is_as_made: bool,
    environment: &Environment,
) -> (PartFinding, String) {
    let Some(head) = &manifest.audit_head else { return (PartFinding::Verified, "there was none".to_owned()) };
    let Ok(head) = head.parse::<ChainHead>() else {
        return (PartFinding::Wrong, "the head in the manifest is invalid".to_owned());
    };
    let Some(key) = key else {
        return (PartFinding::NotCompared, doctor::missing_audit_key(environment));
    };
    let key = match ChainKey::new(key) {
        Ok(key) => key,
        Err(error) => return (PartFinding::NotCompared, error.to_string()),
    };
    match verify_log(&LogSource::Directory(directory.join(AUDIT)), &key, Some(&head.into())) {
        Ok(log) => {
            let mut detail = format!("{} events verify, and the head is among them", log.events);
            for accepted in &log.accepted_breaks {
                detail += &format!("; accepted break: {accepted}");
            }
            (PartFinding::Verified, detail)
        }
        Err(VerifyError::Failing(failing)) if failing.why == LineError::OtherKey && is_as_made => {
            let why = "its files are as the manifest has them, and cannot be checked with this key: no line matches it. Provide the key that \
                       the log was written with";
            (PartFinding::NotCompared, why.to_owned())
        }
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
    if let Some(remedy) = &report.remedy {
        output.error(&format!("\nWhat to do: {remedy}."));
    }
    output.note(&format!("\nmade at {} of the vault {}. It does not have:", manifest.began_at, manifest.vault_id));
    for left_out in &manifest.not_included {
        output.note(&format!("  {}: {}", left_out.what, left_out.place));
    }
    Ok(())
}
