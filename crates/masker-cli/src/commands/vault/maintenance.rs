//! `masker vault stats`, `check`, `compact`, `new-control-key` and `migrate`.

use serde::Serialize;

use crate::{
    context::{CommandContext, CommandError},
    exit::Exit,
    offline::MigrationSizes,
    output::yes_or_no,
    progress::Progress,
};
use masker_api::{CheckReport, CompactReport, ControlKeyHolder, ControlKeyReport, VaultStats};
use masker_types::engine::EngineKind;

/// The result of `masker vault migrate`, as `--json` prints it.
#[derive(Serialize)]
struct MigrateReport {
    engine: &'static str,
    moved: Option<MigrationSizes>,
}

/// `masker vault stats`.
pub(super) async fn stats(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.get("/api/v1/vault/stats").await?;
    let stats: VaultStats = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&stats)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        vec!["records".to_owned(), stats.records.to_string()],
        vec!["index rows".to_owned(), stats.index_rows.to_string()],
        vec!["bytes on disk".to_owned(), stats.bytes_on_disk.to_string()],
    ];
    for (name, time) in [("oldest", stats.oldest), ("newest", stats.newest)] {
        rows.extend(time.map(|time| vec![name.to_owned(), time]));
    }
    for key in stats.by_kid {
        let name = format!("records under {} {} ({})", key.kid, key.fingerprint, key.generation);
        rows.push(vec![name, key.records.to_string()]);
    }
    output.table(&["VAULT", ""], rows)?;
    Ok(Exit::Done)
}

/// `masker vault compact`.
pub(super) async fn compact(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.post("/api/v1/vault/compact", &serde_json::json!({})).await?;
    let report: CompactReport = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(Exit::Done);
    }
    let rows = [("bytes before", report.bytes_before), ("bytes now", report.bytes_after)];
    output.table(&["COMPACTED", ""], rows.map(|(name, bytes)| vec![name.to_owned(), bytes.to_string()]).to_vec())?;
    Ok(Exit::Done)
}

/// `masker vault new-control-key`.
pub(super) async fn new_control_key(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.post("/api/v1/vault/control-key", &serde_json::json!({})).await?;
    let report: ControlKeyReport = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(Exit::Done);
    }
    output.note(&format!("the vault has control key {}; these keys open it:", report.epoch));
    let rows = report.holders.into_iter().map(|ControlKeyHolder { kid, fingerprint }| vec![kid, fingerprint]);
    output.table(&["KEY", "FINGERPRINT"], rows.collect())?;
    Ok(Exit::Done)
}

/// `masker vault migrate`.
pub(super) fn migrate(to: EngineKind, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let config = ctx.config()?;
    let progress = Progress::rows(&ctx.output);
    let report = |done, total| progress.set(done, total, "copied".to_owned());
    let moved = (ctx.offline.migrate)(&config.vault.data_dir, to, config.vault.cache_bytes(), &report);
    progress.finish();
    let moved = moved.map_err(CommandError::Other)?;
    let output = &mut ctx.output;
    match moved {
        _ if output.is_json() => output.json(&MigrateReport { engine: to.name(), moved })?,
        None => output.note(&format!("the vault in {} uses {to} already", config.vault.data_dir.display())),
        Some(moved) => {
            let rows = [
                ("from", moved.from.to_string()),
                ("to", to.to_string()),
                ("rows", moved.rows.to_string()),
                ("bytes before", moved.bytes_before.to_string()),
                ("bytes now", moved.bytes_after.to_string()),
            ];
            output.table(&["MOVED", ""], rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec())?;
        }
    }
    if let Some(engine) = config.vault.engine
        && engine != to
    {
        output.note(&format!(
            "`[vault] engine` is {engine}: set it to {:?} before the daemon starts, because it refuses another engine",
            to.name()
        ));
    }
    Ok(Exit::Done)
}

/// `masker vault check`.
pub(super) async fn check(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.post("/api/v1/vault/check", &serde_json::json!({})).await?;
    let report: CheckReport = reply.json()?;
    let exit = if report.ok { Exit::Done } else { Exit::Failure };
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(exit);
    }
    let sound = match report.key_not_loaded {
        0 => yes_or_no(report.ok),
        unopened if report.ok => format!("yes, except {unopened} records whose key is not loaded"),
        _ => yes_or_no(false),
    };
    let rows = [
        ("sound", sound),
        ("records read", report.records.to_string()),
        ("records opened", report.opened.to_string()),
        ("records whose key is not loaded", report.key_not_loaded.to_string()),
        ("records damaged", report.damaged_records.to_string()),
        ("index rows read", report.index_rows.to_string()),
        ("index rows damaged", report.damaged_index_rows.to_string()),
        ("tombstones read", report.tombstones.to_string()),
        ("counts agree", yes_or_no(report.counts_agree)),
    ];
    output.table(&["CHECK", ""], rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec())?;
    output.flush()?;
    for problem in &report.problems {
        output.error(problem);
    }
    if report.key_not_loaded > 0 {
        output.note("records whose key is not loaded were not opened: load the key and check again");
    }
    Ok(exit)
}
