//! `masker backup create`.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    AUDIT, CONFIG, EXPORT, POLICIES,
    directory::{PendingBackup, parent},
    failed,
    manifest::{BackupManifest, MANIFEST, ManifestFile, NotIncluded, files},
    retention::{self, Retained},
};
use crate::{
    args::CreateBackupArgs,
    commands::vault::{ExportDescription, download, missing_keys},
    context::{CommandContext, CommandError},
    destination,
    exit::Exit,
    key_files::quoted,
    offline::MissingKey,
};
use masker_api::{AuditHead, DaemonConfiguration};
use masker_audit::{ChainHead, CopyError};
use masker_client::ClientError;
use masker_config::{Config, policy_files};
use masker_types::error_code::Code;

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct CreateReport<'r> {
    directory: PathBuf,
    bytes: u64,
    records: u64,
    #[serde(flatten)]
    manifest: &'r BackupManifest,
    removed: Vec<String>,
    missing_keys: Vec<MissingKey>,
    /// The credentials directory that the next command needs in its environment.
    #[serde(skip)]
    keys_from: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(args: &CreateBackupArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let config = ctx.config()?;
    let began = Timestamp::now();
    let name = args.into.is_some().then(|| retention::name_of(began));
    let target = match (&args.directory, &args.into, &name) {
        (Some(directory), _, _) => directory.clone(),
        (None, Some(parent), Some(name)) => parent.join(name),
        _ => return Err(CommandError::Usage("name the directory, or its parent with --into".to_owned())),
    };
    let serving = destination::check_with_daemon(&target, ctx).await?;
    let parent = parent(&target).to_owned();
    if !parent.is_dir() {
        return Err(CommandError::Other(format!("there is no directory {}: create it first", parent.display())));
    }
    if args.into.is_some() {
        retention::remove_remnants(&parent)?;
    }
    let pending = PendingBackup::create(&target)?;
    let mut manifest = BackupManifest::new(name, format!("{began:.3}"));

    // Before the export, so that everything that the export may lack is after it.
    let head = audit_head(ctx).await?;
    if head.is_some() {
        // What cannot be read is better known before the vault is exported.
        fs::read_dir(&config.audit.path).map_err(|error| unreadable_log(&config.audit.path, &error))?;
    }
    let export = export(&pending, ctx).await?;
    let records = export.records();
    (manifest.vault_id, manifest.keys) = (export.vault_id, export.keys);
    if let Some(head) = &head {
        copy_log(&config.audit.path, &pending, head)?;
    }
    copy_configuration(&config, &pending)?;

    manifest.audit_head = head.map(|head| head.to_string());
    manifest.not_included = not_included(&config, &manifest);
    let listed = |error: io::Error| failed("read", pending.path(), &error);
    for path in files(pending.path()).map_err(listed)? {
        manifest.files.push(ManifestFile::of(pending.path(), path).map_err(listed)?);
    }
    manifest.ended_at = format!("{:.3}", Timestamp::now());
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| CommandError::Other(error.to_string()))?;
    pending.write(MANIFEST, &text)?;
    pending.complete()?;
    // Only now, when there is a later one.
    let Retained { removed, later } = match (args.keep, manifest.name.as_deref()) {
        (Some(count), Some(newest)) => retention::keep(&parent, newest, count as usize)?,
        _ => Retained::default(),
    };
    if !later.is_empty() {
        ctx.output.note(&format!(
            "a clock was wrong: {} seem to be later than this backup. They are kept, and not counted by --keep; remove them once you \
             need none of them",
            later.join(", ")
        ));
    }
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let missing_keys = missing_keys("backup", "A restore", ctx).await;
    let keys_from = credentials_directory(serving.as_ref(), ctx);
    show(
        &CreateReport { directory: target, bytes, records, manifest: &manifest, removed, missing_keys, keys_from },
        ctx,
    )?;
    Ok(Exit::Done)
}

/// Returns the credentials directory that `masker backup verify` needs. Without one it takes the keys of the installed unit.
fn credentials_directory(serving: Option<&DaemonConfiguration>, ctx: &CommandContext<'_>) -> Option<PathBuf> {
    let own = ctx.environment().setting("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let of_daemon = || serving?.key_files.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    own.or_else(of_daemon).filter(|directory| !directory.starts_with("/run/credentials"))
}

/// Returns the head of the daemon's audit log; `None` if it has no log.
async fn audit_head(ctx: &mut CommandContext<'_>) -> Result<Option<ChainHead>, CommandError> {
    let reply = match ctx.get("/api/v1/audit/head").await {
        Err(CommandError::Client(ClientError::Problem(problem))) if problem.code == Code::AuditUnavailable.as_str() => {
            ctx.output.note("the daemon keeps no audit log: a restore cannot tell what happened after this backup");
            return Ok(None);
        }
        reply => reply?,
    };
    let AuditHead { sequence, hash } = reply.json()?;
    let head = format!("{sequence}:{hash}").parse();
    Ok(Some(head.map_err(|_| CommandError::Other("the daemon has sent an invalid head of its audit log".to_owned()))?))
}

async fn export(pending: &PendingBackup, ctx: &mut CommandContext<'_>) -> Result<ExportDescription, CommandError> {
    let mut file = pending.file(EXPORT)?;
    let path = pending.path().join(EXPORT);
    let write = |piece: &[u8], _: &mut CommandContext<'_>| {
        file.write_all(piece).map_err(|error| failed("write", &path, &error))
    };
    let (description, _) = download(ctx, "/api/v1/vault/export?control=true", write).await?;
    file.sync_all().map_err(|error| failed("write", &path, &error))?;
    Ok(description)
}

fn unreadable_log(path: &Path, error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => CommandError::Other(format!(
            "this user may not read the audit log in {}: run this as root, or as the user of the daemon",
            path.display()
        )),
        _ => failed("read the audit log in", path, error),
    }
}

fn copy_log(log: &Path, pending: &PendingBackup, head: &ChainHead) -> Result<(), CommandError> {
    let copy = pending.directory(AUDIT)?;
    masker_audit::copy(log, &copy).map_err(|error| match error {
        CopyError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            unreadable_log(log, &source)
        }
        CopyError::Read { path, source } => failed("read", &path, &source),
        CopyError::Write { path, source } => failed("write", &path, &source),
    })?;
    if masker_audit::states_head(&copy, head).map_err(|error| failed("read", &copy, &error))? {
        return Ok(());
    }
    Err(CommandError::Other(format!(
        "the audit log in {} does not have the head {head} that the daemon has: --config names the daemon's own configuration",
        log.display()
    )))
}

fn copy_configuration(config: &Config, pending: &PendingBackup) -> Result<(), CommandError> {
    let read = |path: &Path| fs::read(path).map_err(|error| failed("read", path, &error));
    if let Some(file) = &config.file {
        pending.write(CONFIG, &read(file)?)?;
    }
    pending.directory(POLICIES)?;
    for file in policy_files(&config.policy.path)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        pending.write(&format!("{POLICIES}/{name}"), &read(&file)?)?;
    }
    Ok(())
}

/// Returns what a backup does not have, and where that is.
fn not_included(config: &Config, manifest: &BackupManifest) -> Vec<NotIncluded> {
    let needed: Vec<String> = manifest.keys.iter().map(|key| format!("{} {}", key.kid, key.fingerprint)).collect();
    let keys = format!(
        "where the daemon gets its keys: with the package /etc/masker/keys, or the credential store. This backup needs {}",
        needed.join(", ")
    );
    let mut left_out = vec![
        ("keys", keys.as_str()),
        ("key of the audit log", "with the package /etc/masker/audit.key, or the credential store"),
        ("drop-ins of the units", "/etc/systemd/system/masker.service.d and masker.socket.d"),
        (
            "rotations, and proofs that a key is unneeded",
            "nowhere: begin a rotation again; `masker vault check` proves again",
        ),
        ("placeholders of texts", "nowhere: a copy of the data directory has them"),
    ];
    if manifest.audit_head.is_none() {
        left_out.push(("audit log", "nowhere: the daemon keeps none"));
    }
    if config.file.is_none() {
        left_out.push(("configuration file", "nowhere: the daemon runs with its defaults and its environment"));
    }
    let entry = |(what, place): (&str, &str)| NotIncluded { what: what.to_owned(), place: place.to_owned() };
    left_out.into_iter().map(entry).collect()
}

fn show(report: &CreateReport<'_>, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(report);
    }
    let manifest = report.manifest;
    let mut rows = vec![
        ("directory", report.directory.display().to_string()),
        ("bytes", report.bytes.to_string()),
        ("files", manifest.files.len().to_string()),
        ("vault", manifest.vault_id.clone()),
        ("records when it began", report.records.to_string()),
        ("head of the audit log", manifest.audit_head.clone().unwrap_or_else(|| "-".to_owned())),
    ];
    rows.extend(report.removed.iter().map(|name| ("removed", name.clone())));
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    output.table(&["BACKUP", ""], rows)?;
    output.flush()?;
    let keys: Vec<String> = manifest.keys.iter().map(|key| format!("{} {}", key.kid, key.fingerprint)).collect();
    output.note(&format!(
        "\nThe keys are not in it: keep copies of them elsewhere. It needs {}. Next: {}masker backup verify {}",
        keys.join(", "),
        report.keys_from.as_deref().map(|keys| format!("CREDENTIALS_DIRECTORY={} ", quoted(keys))).unwrap_or_default(),
        quoted(&report.directory)
    ));
    Ok(())
}
