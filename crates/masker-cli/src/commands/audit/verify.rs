//! `masker audit verify`: verifies the audit log with its key, its files, and a head that it must contain.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::time::timeout;

use crate::{
    args::VerifyArgs,
    context::{CommandContext, CommandError},
    doctor,
    exit::Exit,
};
use masker_api::AuditHead;
use masker_audit::{
    AcceptedBreak, ChainHead, ExpectedHead, InvalidLine, LineError, LogSource, VerifiedLog, VerifyError, torn_tail,
    verify as verify_log,
};
use masker_client::ClientError;
use masker_config::{Config, Credentials};
use masker_core::crypto::ChainKey;

/// How long to wait for the daemon, in seconds.
const RESPONSE_SECONDS_MAX: u64 = 5;

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct ChainReport {
    ok: bool,
    #[serde(flatten)]
    found: VerifyResult,
    /// The source of the head that the log was compared with: `argument`, `daemon`, `vault`, or none.
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
        accepted_breaks: Vec<AcceptedBreakReport>,
    },
    Failing {
        file: Option<PathBuf>,
        line: Option<u64>,
        sequence: Option<u64>,
        why: String,
    },
}

/// A break of the chain that the log has recorded and an operator has accepted.
#[derive(Serialize)]
struct AcceptedBreakReport {
    file: PathBuf,
    line: u64,
    why: String,
    recorded: String,
    accepted: String,
    #[serde(skip)]
    text: String,
}

/// A head that the log must contain, and its source.
struct HeadExpectation {
    head: Option<ExpectedHead>,
    from: Option<&'static str>,
}

/// `masker audit verify`.
pub(super) async fn verify(args: &VerifyArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let other = |error: &dyn ToString| CommandError::Other(error.to_string());
    let own = Credentials::audit_key(ctx.environment()).map_err(|error| other(&error))?;
    // Root can read the key that the installed unit provides.
    let of_unit = || doctor::provided_keys(ctx.environment()).ok()?.audit_key;
    let key = own.or_else(of_unit).ok_or_else(|| other(&doctor::missing_audit_key(ctx.environment())))?;
    let key = ChainKey::new(&key).map_err(|error| other(&error))?;
    let source = source(args, ctx)?;
    let expected = expected(args, &source, ctx).await?;
    let verified = verify_log(&source, &key, expected.head.as_ref());
    let (ok, found) = match verified {
        Ok(found) => {
            if expected.head.is_none() {
                ctx.output.note(
                    "the lines verify, but nothing shows whether events at the end are missing: give a head that was \
                     kept elsewhere, with --head",
                );
            }
            (true, sound(&found))
        }
        Err(VerifyError::Io { path, source }) => {
            return Err(other(&format!("failed to read {}: {source}", path.display())));
        }
        Err(error) => {
            if let (VerifyError::Failing(line), LogSource::Directory(directory)) = (&error, &source)
                && let Some(note) = torn_note(line, directory, &key, expected.from)
            {
                ctx.output.note(note);
            }
            (false, failing(error))
        }
    };
    let is_proven = ok && expected.head.is_some();
    let report = ChainReport { ok, found, compared_with: expected.from };
    show(&report, ctx)?;
    Ok(if is_proven { Exit::Done } else { Exit::Failure })
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

/// Returns the head to compare the log with: the one of `--head`, or for the configured log the one that the running daemon
/// has, or else the one that the vault has recorded.
async fn expected(
    args: &VerifyArgs,
    source: &LogSource,
    ctx: &mut CommandContext<'_>,
) -> Result<HeadExpectation, CommandError> {
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
    if !matches!(source, LogSource::Directory(directory) if is_same(directory, &config.audit.path)) {
        return Ok(nothing);
    }
    match known_head(&config, ctx).await {
        Ok((Some(head), from)) => Ok(HeadExpectation { head: Some(head.into()), from: Some(from) }),
        Ok((None, _)) => Ok(nothing),
        Err(why) => {
            ctx.output.note(&format!("the head of the log is not known: {why}"));
            Ok(nothing)
        }
    }
}

/// Returns the head that the daemon or its vault has, and which of the two.
async fn known_head(
    config: &Config,
    ctx: &mut CommandContext<'_>,
) -> Result<(Option<ChainHead>, &'static str), String> {
    let asked = timeout(Duration::from_secs(RESPONSE_SECONDS_MAX), ctx.get("/api/v1/audit/head")).await;
    match asked {
        Ok(Ok(reply)) => {
            let head: AuditHead = reply.json().map_err(|error| error.to_string())?;
            let head = format!("{}:{}", head.sequence, head.hash);
            let head = head.parse().map_err(|_| format!("the daemon has sent an invalid head: {head}"))?;
            Ok((Some(head), "daemon"))
        }
        Ok(Err(CommandError::Client(ClientError::NoSocket(_) | ClientError::Refused(_)))) => {
            let recorded = ctx.recorded_audit_head(&config.vault.data_dir)?;
            Ok((recorded, "vault"))
        }
        Ok(Err(failed)) => Err(format!("the daemon was asked: {failed}")),
        Err(_) => Err(format!("the daemon did not respond within {RESPONSE_SECONDS_MAX} s")),
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
        accepted_breaks: found.accepted_breaks.iter().map(AcceptedBreakReport::of).collect(),
    }
}

impl AcceptedBreakReport {
    fn of(found: &AcceptedBreak) -> Self {
        AcceptedBreakReport {
            file: found.file.clone(),
            line: found.line,
            why: found.why.to_string(),
            recorded: found.recorded.clone(),
            accepted: found.accepted.clone(),
            text: found.to_string(),
        }
    }
}

/// Says what to do about a line that fails because it is the last one, and not complete. `known_by` is the source of the head.
fn torn_note(
    failing: &InvalidLine,
    directory: &Path,
    key: &ChainKey,
    known_by: Option<&'static str>,
) -> Option<&'static str> {
    let is_last = || torn_tail(directory, key).ok().flatten().is_some_and(|torn| torn.line == failing.line);
    match known_by {
        Some("daemon") => (failing.why == LineError::Torn)
            .then_some("the end of a log that is being written can look like this: verify it again"),
        _ if !is_last() => None,
        Some("vault") => Some(
            "a crash has cut the last line, which was never complete. The next start of the daemon removes it and records that; nothing \
             needs to be accepted. Then verify again",
        ),
        _ => Some(
            "the last line is not complete: a crash has cut it, or the log was copied while it was written. The next start of the daemon \
             removes it from its log and records that",
        ),
    }
}

fn failing(error: VerifyError) -> VerifyResult {
    let VerifyError::Failing(failing) = error else {
        return VerifyResult::Failing { file: None, line: None, sequence: None, why: error.to_string() };
    };
    VerifyResult::Failing {
        file: Some(failing.file),
        line: Some(failing.line),
        sequence: failing.sequence,
        why: failing.why.to_string(),
    }
}

fn show(report: &ChainReport, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(report);
    }
    match &report.found {
        VerifyResult::Sound { events, first, last, first_hash, head, segments, removed_before, accepted_breaks } => {
            let compared = match report.compared_with {
                Some("daemon") => "the head that the daemon has",
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
            output.flush()?;
            for accepted in accepted_breaks {
                output.note(&format!("accepted break, from which on the segment proves nothing: {}", accepted.text));
            }
        }
        VerifyResult::Failing { file: Some(file), line: Some(line), why, .. } => {
            output.error(&format!("masker: {}, line {line}: {why}", file.display()));
        }
        VerifyResult::Failing { why, .. } => output.error(&format!("masker: {why}")),
    }
    Ok(())
}
