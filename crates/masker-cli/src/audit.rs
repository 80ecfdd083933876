//! `masker audit verify`: offline, with the key and the files alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    args::VerifyArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
};
use masker_audit::{ChainHead, ExpectedHead, LineError, LogSource, VerifiedLog, VerifyError, verify as verify_log};
use masker_config::Credentials;
use masker_core::crypto::ChainKey;

/// Reads where the audit log stood when the vault of this directory was last told; an error says why that cannot be
/// known.
pub type ReadAuditHead = fn(&Path) -> Result<Option<ChainHead>, String>;

/// What was found, as `--json` gives it.
#[derive(Serialize)]
struct VerifyReport {
    ok: bool,
    #[serde(flatten)]
    found: VerifyResult,
    /// `argument`, `vault`, or none where nothing was at hand to compare with.
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

/// A head that the log must have had, and who says so.
struct HeadExpectation {
    head: Option<ExpectedHead>,
    from: Option<&'static str>,
}

/// `masker audit verify`.
pub(super) fn verify(args: &VerifyArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let other = |failed: &dyn ToString| CommandError::Other(failed.to_string());
    let key = Credentials::audit_key(session.environment()).map_err(|failed| other(&failed))?.ok_or_else(|| {
        other(&"the key of the chain is needed: set MASKER_AUDIT_HMAC_KEY, or MASKER_AUDIT_HMAC_KEY_FILE to its file")
    })?;
    let key = ChainKey::new(&key).map_err(|failed| other(&failed))?;
    let source = source(args, session)?;
    let expected = expected(args, &source, session)?;
    let verified = verify_log(&source, &key, expected.head.as_ref());
    let (ok, found) = match verified {
        Ok(found) => (true, sound(&found)),
        Err(VerifyError::Io { path, source }) => {
            return Err(other(&format!("{} cannot be read: {source}", path.display())));
        }
        Err(failed) => (false, failing(failed, session)),
    };
    let report = VerifyReport { ok, found, compared_with: expected.from };
    show(&report, session)?;
    Ok(if ok { Exit::Done } else { Exit::Failure })
}

fn source(args: &VerifyArgs, session: &CommandContext<'_>) -> Result<LogSource, CommandError> {
    match &*args.paths {
        [] => Ok(LogSource::Directory(session.config()?.audit.path)),
        [directory] if directory.is_dir() => Ok(LogSource::Directory(directory.clone())),
        files if files.iter().any(|file| file.is_dir()) => {
            Err(CommandError::Usage("give one directory, or segments that follow on each other".to_owned()))
        }
        files => Ok(LogSource::Files(files.to_vec())),
    }
}

/// What the log is held against: what the caller kept, else what the vault has noted of this very log.
fn expected(
    args: &VerifyArgs,
    source: &LogSource,
    session: &CommandContext<'_>,
) -> Result<HeadExpectation, CommandError> {
    if let Some(text) = &args.head {
        let head = text.parse().map_err(|_| {
            CommandError::Usage("--head: give NUMBER:HASH as the daemon's log has it, or the hash alone".to_owned())
        })?;
        return Ok(HeadExpectation { head: Some(head), from: Some("argument") });
    }
    let nothing = HeadExpectation { head: None, from: None };
    let config = match session.config() {
        Ok(config) => config,
        // A copy of a log is verified where there is no daemon and nothing of it.
        Err(_) if !args.paths.is_empty() => return Ok(nothing),
        Err(invalid) => return Err(invalid),
    };
    let is_ours = matches!(source, LogSource::Directory(directory) if is_same(directory, &config.audit.path));
    let noted = if is_ours {
        session.recorded_audit_head(&config.vault.data_dir)
    } else {
        Err("this is no log of the configured daemon's".to_owned())
    };
    match noted {
        Ok(Some(head)) => Ok(HeadExpectation { head: Some(head.into()), from: Some("vault") }),
        Ok(None) => Ok(nothing),
        Err(why) => {
            session.output.note(&format!(
                "not compared with the head that the vault has noted: {why}. Events that were cut off at the end are found \
                 with --head alone"
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

fn failing(failed: VerifyError, session: &CommandContext<'_>) -> VerifyResult {
    let VerifyError::Failing(failing) = failed else {
        return VerifyResult::Failing { file: None, line: None, sequence: None, why: failed.to_string() };
    };
    if failing.why == LineError::Torn {
        session.output.note("a log that is being written can end so for a moment: verify it again");
    }
    VerifyResult::Failing {
        file: Some(failing.file),
        line: Some(failing.line),
        sequence: failing.sequence,
        why: failing.why.to_string(),
    }
}

fn show(report: &VerifyReport, session: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut session.output;
    if output.is_json() {
        return Ok(output.json(report)?);
    }
    match &report.found {
        VerifyResult::Sound { events, first, last, first_hash, head, segments, removed_before } => {
            let compared = match report.compared_with {
                Some("vault") => "the head that the vault has noted",
                Some(_) => "the head that was given",
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
            rows.extend(removed_before.iter().map(|head| ("goes on from", head.clone())));
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
