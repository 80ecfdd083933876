//! `masker audit verify`: verifies the audit log offline, with only its key and its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    args::VerifyArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
};
use masker_audit::{ChainHead, ExpectedHead, LineError, LogSource, VerifiedLog, VerifyError, verify as verify_log};
use masker_config::Credentials;
use masker_core::crypto::ChainKey;

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct VerifyReport {
    ok: bool,
    #[serde(flatten)]
    found: VerifyResult,
    /// The source of the head that the log was compared with: `argument`, `vault`, or none.
    compared_with: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum VerifyResult {
    Sound {
        events: u64,
        first: String,
        last: String,
        first_hash: String,
        head: String,
        segments: u64,
        removed_before: Option<String>,
    },
    Failing {
        file: Option<PathBuf>,
        line: Option<u64>,
        sequence: Option<u64>,
        why: String,
    },
}

/// A head that the log must contain, and its source.
struct HeadExpectation {
    head: Option<ExpectedHead>,
    from: Option<&'static str>,
}

/// `masker audit verify`.
pub(super) fn verify(args: &VerifyArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let other = |error: &dyn ToString| CommandError::Other(error.to_string());
    let key = Credentials::audit_key(ctx.environment()).map_err(|error| other(&error))?.ok_or_else(|| {
        other(&"the key of the chain is missing: set MASKER_AUDIT_HMAC_KEY, or MASKER_AUDIT_HMAC_KEY_FILE to its file")
    })?;
    let key = ChainKey::new(&key).map_err(|error| other(&error))?;
    let source = source(args, ctx)?;
    let expected = expected(args, &source, ctx)?;
    let verified = verify_log(&source, &key, expected.head.as_ref());
    let (ok, found) = match verified {
        Ok(found) => (true, sound(&found)),
        Err(VerifyError::Io { path, source }) => {
            return Err(other(&format!("failed to read {}: {source}", path.display())));
        }
        Err(error) => (false, failing(error, ctx)),
    };
    let report = VerifyReport { ok, found, compared_with: expected.from };
    show(&report, ctx)?;
    Ok(if ok { Exit::Done } else { Exit::Failure })
}

fn source(args: &VerifyArgs, ctx: &CommandContext<'_>) -> Result<LogSource, CommandError> {
    match &*args.paths {
        [] => Ok(LogSource::Directory(ctx.config()?.audit.path)),
        [directory] if directory.is_dir() => Ok(LogSource::Directory(directory.clone())),
        files if files.iter().any(|file| file.is_dir()) => {
            Err(CommandError::Usage("expected one directory, or consecutive segments".to_owned()))
        }
        files => Ok(LogSource::Files(files.to_vec())),
    }
}

/// Returns the head to compare the log with: the one of `--head`, or the one that the vault has recorded of this log.
fn expected(args: &VerifyArgs, source: &LogSource, ctx: &CommandContext<'_>) -> Result<HeadExpectation, CommandError> {
    if let Some(text) = &args.head {
        let head = text.parse().map_err(|_| {
            CommandError::Usage("--head: expected NUMBER:HASH as in the daemon's log, or the hash".to_owned())
        })?;
        return Ok(HeadExpectation { head: Some(head), from: Some("argument") });
    }
    let nothing = HeadExpectation { head: None, from: None };
    let config = match ctx.config() {
        Ok(config) => config,
        // A copy of a log can be verified on a host without a configuration.
        Err(_) if !args.paths.is_empty() => return Ok(nothing),
        Err(invalid) => return Err(invalid),
    };
    let is_ours = matches!(source, LogSource::Directory(directory) if is_same(directory, &config.audit.path));
    let recorded = if is_ours {
        ctx.recorded_audit_head(&config.vault.data_dir)
    } else {
        Err("this is not the configured log".to_owned())
    };
    match recorded {
        Ok(Some(head)) => Ok(HeadExpectation { head: Some(head.into()), from: Some("vault") }),
        Ok(None) => Ok(nothing),
        Err(why) => {
            ctx.output.note(&format!(
                "not compared with the head that the vault has recorded: {why}. Only a comparison with --head finds events \
                 that were cut off at the end"
            ));
            Ok(nothing)
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn sound(found: &VerifiedLog) -> VerifyResult {
    let first_hash = ChainHead { sequence: 0, hash: found.first_hash }.to_string();
    VerifyResult::Sound {
        events: found.events,
        first: found.first.clone(),
        last: found.last.clone(),
        first_hash: first_hash.trim_start_matches("0:").to_owned(),
        head: found.head.to_string(),
        segments: found.segments,
        removed_before: found.removed_before.map(|head| head.to_string()),
    }
}

fn failing(error: VerifyError, ctx: &CommandContext<'_>) -> VerifyResult {
    let VerifyError::Failing(failing) = error else {
        return VerifyResult::Failing { file: None, line: None, sequence: None, why: error.to_string() };
    };
    if failing.why == LineError::Torn {
        ctx.output.note("the end of a log that is being written can look like this: verify it again");
    }
    VerifyResult::Failing {
        file: Some(failing.file),
        line: Some(failing.line),
        sequence: failing.sequence,
        why: failing.why.to_string(),
    }
}

fn show(report: &VerifyReport, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(report);
    }
    match &report.found {
        VerifyResult::Sound { events, first, last, first_hash, head, segments, removed_before } => {
            let compared = match report.compared_with {
                Some("vault") => "the head that the vault has recorded",
                Some(_) => "--head",
                None => "nothing",
            };
            let mut rows = vec![
                ("events", events.to_string()),
                ("segments", segments.to_string()),
                ("first", first.clone()),
                ("last", last.clone()),
                ("hash of the first", first_hash.clone()),
                ("head", head.clone()),
                ("compared with", compared.to_owned()),
            ];
            rows.extend(removed_before.iter().map(|head| ("continues after", head.clone())));
            let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
            output.table(&["SOUND", ""], rows)?;
        }
        VerifyResult::Failing { file: Some(file), line: Some(line), why, .. } => {
            output.error(&format!("masker: {}, line {line}: {why}", file.display()));
        }
        VerifyResult::Failing { why, .. } => output.error(&format!("masker: {why}")),
    }
    Ok(())
}
