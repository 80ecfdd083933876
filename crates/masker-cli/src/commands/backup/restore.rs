//! `masker backup restore`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    AUDIT, EXPORT,
    manifest::BackupManifest,
    placement::RestoredFiles,
    verify::{WrongFile, export_only_advice, wrong_files},
};
use crate::{
    args::RestoreBackupArgs,
    context::{CommandContext, CommandError},
    doctor,
    exit::Exit,
    offline::{RestoreReport, RestoreSource},
};

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct RestoreOutcome {
    #[serde(flatten)]
    report: RestoreReport,
    placed: Vec<PathBuf>,
    differences: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: &RestoreBackupArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let RestoreBackupArgs { directory, skip_missing_keys, export_only } = args;
    let directory = directory.as_path();
    let manifest = BackupManifest::read(directory)?;
    let wrong = wrong_files(directory, &manifest)?;
    let is_export_wrong = wrong.iter().any(WrongFile::is_export);
    if is_export_wrong || !(wrong.is_empty() || *export_only) {
        let advice = match is_export_wrong {
            true => "use another copy of it, or another backup".to_owned(),
            false => format!(
                "put the files back from another copy of it. If there is none, {}",
                export_only_advice(directory)
            ),
        };
        return Err(CommandError::Other(format!(
            "the backup is damaged, and nothing was restored: {}. What to do: {advice}",
            WrongFile::listed(&wrong)
        )));
    }
    let damaged = |what: &str| CommandError::Other(format!("the manifest of the backup is damaged: {what} is invalid"));
    let head = manifest.audit_head.as_deref().map(str::parse).transpose().map_err(|_| damaged("audit_head"))?;
    let began: Timestamp = manifest.began_at.parse().map_err(|_| damaged("began_at"))?;

    let mut placement = RestoredFiles::default();
    let config = match export_only {
        true => ctx.config()?,
        false => {
            let config = placement.configuration(directory, ctx)?;
            placement.policies(directory, &config)?;
            config
        }
    };
    let credentials = doctor::provided_keys(ctx.environment()).map_err(CommandError::Other)?;
    let is_system = config.file.as_deref().and_then(Path::parent) == Some(ctx.host().system_dir);
    let log = directory.join(AUDIT);
    let source = RestoreSource {
        export: &directory.join(EXPORT),
        head,
        log: (!export_only).then_some(&*log),
        began_ms: u64::try_from(began.as_millisecond()).unwrap_or(0),
        skip_missing_keys: *skip_missing_keys,
        service_uid: is_system.then(doctor::service_uid).flatten(),
    };
    let report = (ctx.offline.restore)(&config, credentials, &source).map_err(CommandError::Other)?;
    let RestoredFiles { placed, differences } = placement;
    show(&RestoreOutcome { report, placed, differences }, is_system, ctx)?;
    Ok(Exit::Done)
}

fn show(restored: &RestoreOutcome, is_system: bool, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(restored);
    }
    let report = &restored.report;
    let number = |number: u64| number.to_string();
    let mut rows = vec![
        ("vault", report.vault_id.clone()),
        ("records", number(report.records)),
        ("tombstones", number(report.tombstones)),
        ("API keys", number(report.api_keys)),
        ("honeytokens", number(report.honeytokens)),
        ("sessions", number(report.sessions)),
        ("events of the audit log since", report.events_since.map_or_else(|| "not known".to_owned(), number)),
        ("records erased since, not restored", number(report.erased_since)),
        ("API keys revoked since", number(report.revoked_since)),
        ("API keys suspended", number(report.suspended.len() as u64)),
        ("sessions closed since", number(report.closed_since)),
    ];
    if report.damaged > 0 {
        rows.push(("records that were damaged before the backup, not restored", number(report.damaged)));
    }
    if report.key_missing > 0 {
        rows.push(("records whose key is not provided, not restored", number(report.key_missing)));
    }
    if report.left_out > 0 {
        rows.push(("records of values with too many tokens, not restored", number(report.left_out)));
    }
    rows.extend(restored.placed.iter().map(|path| ("put in place", path.display().to_string())));
    output.table(&["RESTORED", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())?;
    output.flush()?;
    for text in report.notes.iter().chain(&restored.differences) {
        output.note(&format!("note: {text}"));
    }
    if report.key_missing > 0 {
        output.note(&format!(
            "note: {} records were left out because their key is not provided. They stay in the backup: once the key is back, load it \
             and run `masker vault import` with the {EXPORT} of the backup",
            report.key_missing
        ));
    }
    if !report.suspended.is_empty() {
        output.note("\nThese API keys are suspended. Resume those that are still in use:");
        for key in &report.suspended {
            output.note(&format!("  masker api-keys resume {}    # {}, {}", key.id, key.prefix, key.name));
        }
    }
    if report.is_accepted {
        output.note("\nrecover.toml accepts the new vault in the place of the one that the audit log has.");
    }
    output.note(match is_system {
        true => {
            "Next: systemctl reset-failed 'masker.*'; systemctl start masker.socket masker.service; \
             masker vault check"
        }
        false => "Next: start the daemon; masker vault check",
    });
    Ok(())
}
