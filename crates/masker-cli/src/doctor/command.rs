//! `masker doctor`: examines this host's installation, asks the daemon, and prints the findings.

use std::{path::Path, time::Duration};

use masker_client::{Client, ClientError};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    context::{CommandContext, CommandError},
    doctor::{self, DoctorInput, Finding, Severity},
    exit::Exit,
    scrape::Scrape,
};

/// How long to wait for the daemon, in seconds.
const RESPONSE_SECONDS_MAX: u64 = 5;

/// All findings, as `--json` prints them.
#[derive(Serialize)]
struct DoctorReport<'a> {
    errors: usize,
    warnings: usize,
    checks: &'a [Finding],
}

/// `masker doctor`.
pub(crate) async fn run(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let (serving, daemon_findings) = ask_daemon(ctx).await;
    let config = match ctx.config() {
        Ok(config) => Ok(config),
        Err(CommandError::Invalid(faults)) => Err(faults),
        Err(failed) => return Err(failed),
    };
    let (root, vault_entries) = (Path::new("/"), ctx.offline.vault_entries);
    let input = DoctorInput { host: ctx.host(), config: config.as_ref(), serving, root, vault_entries };
    let mut findings = doctor::examine(&input);
    findings.extend(daemon_findings);
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let report = DoctorReport { errors: count(Severity::Error), warnings: count(Severity::Warning), checks: &findings };
    show(&report, ctx)?;
    Ok(if report.errors > 0 { Exit::Error } else { Exit::Done })
}

/// Returns whether a daemon responds, and the findings about it.
async fn ask_daemon(ctx: &mut CommandContext<'_>) -> (bool, Vec<Finding>) {
    let limit = Duration::from_secs(RESPONSE_SECONDS_MAX);
    let see_log = "see the daemon's log: `journalctl --unit masker`";
    match timeout(limit, query(ctx)).await {
        Ok(Ok(findings)) => (true, findings),
        // Expected before the first start and after a stop.
        Ok(Err(CommandError::Client(ClientError::NoSocket(_) | ClientError::Refused(_)))) => {
            (false, vec![Finding::ok("daemon.health", "no daemon is running: the checks that need one were skipped")])
        }
        Ok(Err(CommandError::Client(denied @ ClientError::Forbidden(_)))) => {
            (true, vec![Finding::warning("daemon.health", denied.to_string(), "run doctor as root")])
        }
        // The check `config` reports errors of the configuration.
        Ok(Err(CommandError::Invalid(_))) => (false, Vec::new()),
        Ok(Err(failed)) => (true, vec![Finding::error("daemon.health", failed.to_string(), see_log)]),
        Err(_) => {
            let found = format!("the daemon did not respond within {RESPONSE_SECONDS_MAX} s");
            (true, vec![Finding::error("daemon.health", found, see_log)])
        }
    }
}

async fn query(ctx: &mut CommandContext<'_>) -> Result<Vec<Finding>, CommandError> {
    let client = ctx.client().await?;
    let health = client.get("/health").await?;
    let mut findings = doctor::daemon::health(&health.json()?, env!("CARGO_PKG_VERSION"));
    let keys = match client.get("/api/v1/keys").await {
        Ok(reply) => Ok(doctor::daemon::keys(&reply.json()?)),
        Err(refused) => Err(refused),
    };
    findings.extend(skip_if_refused("daemon.keys", keys)?);
    let metrics = metrics(client).await;
    findings.extend(skip_if_refused("daemon.counters", metrics)?);
    Ok(findings)
}

async fn metrics(client: &mut Client) -> Result<Vec<Finding>, ClientError> {
    let text = client.text("/metrics").await?;
    let scrape = Scrape::parse(&text);
    Ok([doctor::daemon::counters(&scrape), doctor::daemon::sandbox(&scrape)].concat())
}

/// Replaces a refusal for a missing scope with a warning.
fn skip_if_refused(id: &'static str, findings: Result<Vec<Finding>, ClientError>) -> Result<Vec<Finding>, ClientError> {
    match findings {
        Err(ClientError::Problem(problem)) if problem.status == 403 => {
            let found = format!("skipped: {}", problem.detail);
            Ok(vec![Finding::warning(id, found, "run doctor as root, or as a client with the scope")])
        }
        findings => findings,
    }
}

fn show(report: &DoctorReport<'_>, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let colored = ctx.environment().setting("NO_COLOR").is_none();
    let quiet = ctx.output.is_quiet();
    let output = &mut ctx.output;
    if output.is_json() {
        return output.json(report);
    }
    let shown = report.checks.iter().filter(|finding| !quiet || finding.status != Severity::Ok);
    if !output.is_terminal() {
        let row = |finding: &Finding| {
            let remedy = finding.remedy.clone().unwrap_or_default();
            vec![finding.status.as_str().to_owned(), finding.id.to_owned(), finding.found.clone(), remedy]
        };
        return output.table(&[], shown.map(row).collect());
    }
    let width = report.checks.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in shown {
        let color = match finding.status {
            _ if !colored => "",
            Severity::Ok => "\x1b[32m",
            Severity::Warning => "\x1b[33m",
            Severity::Error => "\x1b[1;31m",
        };
        let end = if colored { "\x1b[0m" } else { "" };
        output.bytes(format!("{color}{:<8}{end}{:<width$}  ", finding.status.as_str(), finding.id).as_bytes())?;
        output.line(&finding.found)?;
        if let Some(remedy) = &finding.remedy {
            output.line(&format!("{:<8}{:<width$}  → {remedy}", "", ""))?;
        }
    }
    output.line("")?;
    output.line(&format!("errors: {}, warnings: {}", report.errors, report.warnings))
}
