//! `masker vault purge`: counted first, erased after a yes.

use std::io::{self, BufRead, IsTerminal, Write};

use super::{
    args::PurgeArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
};
use masker_api::{PurgeReport, PurgeRequest};

/// Asks how many records are meant, and erases them if it is wanted.
pub(super) async fn run(args: &PurgeArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let counted = purge(args, true, session).await?;
    if counted.records == 0 || !(args.yes || confirmed(&counted, session)?) {
        show(&counted, session)?;
        return Ok(if counted.records == 0 { Exit::Done } else { Exit::Failure });
    }
    let erased = purge(args, false, session).await?;
    show(&erased, session)?;
    Ok(Exit::Done)
}

async fn purge(args: &PurgeArgs, dry_run: bool, session: &mut CommandContext<'_>) -> Result<PurgeReport, CommandError> {
    let request = PurgeRequest {
        before: args.before.as_deref().map(Into::into),
        key: args.key.as_deref().map(Into::into),
        dry_run,
    };
    Ok(session.post("/api/v1/vault/purge", &request).await?.json()?)
}

/// Asks whoever sits there. Without a terminal nobody does.
fn confirmed(counted: &PurgeReport, session: &CommandContext<'_>) -> Result<bool, CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        session.output.note("nothing was erased; --yes erases them");
        return Ok(false);
    }
    let mut stderr = io::stderr();
    write!(stderr, "{} records would be erased, for good. Type `yes` to erase them: ", counted.records)
        .and_then(|()| stderr.flush())
        .map_err(CommandError::Output)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(CommandError::Input)?;
    Ok(answer.trim() == "yes")
}

fn show(report: &PurgeReport, session: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut session.output;
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
        output.note(&format!("{} rows do not decode and stay; see `masker vault check`", report.damaged));
    }
    if !report.dry_run {
        output.note("their bytes leave the files with the next `masker vault compact`");
    }
    Ok(())
}
