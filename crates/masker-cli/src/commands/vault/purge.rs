//! `masker vault purge`: counts the records, asks for confirmation, and erases them.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{
    args::PurgeArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    times::parse_time,
};
use masker_api::{PurgeReport, PurgeRequest};

/// Counts the records, and erases them if that is confirmed.
pub(super) async fn run(args: &PurgeArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let counted = purge(args, true, ctx).await?;
    if counted.records == 0 || !(args.yes || confirmed(&counted, ctx)?) {
        show(&counted, ctx)?;
        return Ok(if counted.records == 0 { exit(&counted) } else { Exit::Failure });
    }
    let erased = purge(args, false, ctx).await?;
    show(&erased, ctx)?;
    Ok(exit(&erased))
}

/// Returns the exit code of a purge: it is not complete if rows that may match cannot be decoded.
fn exit(report: &PurgeReport) -> Exit {
    if report.damaged == 0 { Exit::Done } else { Exit::Failure }
}

async fn purge(args: &PurgeArgs, dry_run: bool, ctx: &mut CommandContext<'_>) -> Result<PurgeReport, CommandError> {
    if args.before.as_deref().is_some_and(|before| parse_time(before).is_none()) {
        let forms = "a date such as 2025-01-31, or a time such as 2025-01-31T12:00:00Z";
        return Err(CommandError::Usage(format!("--before: expected {forms}")));
    }
    let request = PurgeRequest {
        before: args.before.as_deref().map(Into::into),
        key: args.key.as_deref().map(Into::into),
        dry_run,
    };
    Ok(ctx.post("/api/v1/vault/purge", &request).await?.json()?)
}

/// Asks for confirmation on a terminal. Returns false without one.
fn confirmed(counted: &PurgeReport, ctx: &CommandContext<'_>) -> Result<bool, CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        ctx.output.note("nothing was erased: use --yes to erase them");
        return Ok(false);
    }
    let mut stderr = io::stderr();
    write!(stderr, "{} records will be erased permanently. Type `yes` to continue: ", counted.records)
        .and_then(|()| stderr.flush())
        .map_err(CommandError::Output)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(CommandError::Input)?;
    Ok(answer.trim() == "yes")
}

fn show(report: &PurgeReport, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(report)?;
        return Ok(());
    }
    let what = if report.dry_run { "records that would be erased" } else { "records erased" };
    let mut rows = vec![vec![what.to_owned(), report.records.to_string()]];
    for kid in &report.by_kid {
        rows.push(vec![format!("of these, under {} {}", kid.kid, kid.fingerprint), kid.records.to_string()]);
    }
    output.table(&["PURGE", ""], rows)?;
    output.flush()?;
    if report.damaged > 0 {
        let rows = if report.damaged == 1 { "1 row".to_owned() } else { format!("{} rows", report.damaged) };
        output.error(&format!(
            "the purge is not complete: {rows} that may match cannot be decoded, and were kept. `masker vault check` names them; restore \
             a backup to have them again, then repeat this"
        ));
    }
    if !report.dry_run && report.records > 0 {
        output.note("the bytes of the records leave the files with the next `masker vault compact`");
    }
    Ok(())
}
