//! `masker doctor`: what is wrong with this host's masker, or is about to be.

use masker_client::{Client, ClientError};
use std::{io, path::Path, time::Duration};

use serde::Serialize;
use tokio::time::timeout;

use crate::{
    context::{CommandContext, CommandError},
    exit::Exit,
};
use crate::{
    doctor::{self, DoctorInput, Finding, Severity},
    scrape::Scrape,
};

/// How long a daemon is waited for, in seconds.
const ANSWER_SECONDS_MAX: u64 = 5;

/// All of it, as `--json` gives it.
#[derive(Serialize)]
struct DoctorReport<'a> {
    errors: usize,
    warnings: usize,
    checks: &'a [Finding],
}

/// `masker doctor`.
pub(crate) async fn run(session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let (serving, of_daemon) = ask(session).await;
    let config = match session.config() {
        Ok(config) => Ok(config),
        Err(CommandError::Invalid(faults)) => Err(faults),
        Err(failed) => return Err(failed),
    };
    let subject = DoctorInput { host: session.host(), config: config.as_ref(), serving, root: Path::new("/") };
    let mut findings = doctor::examine(&subject);
    findings.extend(of_daemon);
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let report = DoctorReport { errors: count(Severity::Error), warnings: count(Severity::Warning), checks: &findings };
    show(&report, session)?;
    Ok(if report.errors > 0 { Exit::Error } else { Exit::Done })
}

/// What the daemon says, and whether one answers at all.
async fn ask(session: &mut CommandContext<'_>) -> (bool, Vec<Finding>) {
    let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
    let silent = "the daemon's log may have the cause: `journalctl --unit masker`";
    match timeout(limit, answers(session)).await {
        Ok(Ok(findings)) => (true, findings),
        // Before the first start, and after a stop, this is as it should be.
        Ok(Err(CommandError::Client(ClientError::NoSocket(_) | ClientError::Refused(_)))) => {
            (false, vec![Finding::ok("daemon.health", "no daemon serves: what it alone knows was not asked")])
        }
        Ok(Err(CommandError::Client(denied @ ClientError::Forbidden(_)))) => {
            (true, vec![Finding::warning("daemon.health", denied.to_string(), "run this as root")])
        }
        // What is wrong with the configuration is said with the rest of it.
        Ok(Err(CommandError::Invalid(_))) => (false, Vec::new()),
        Ok(Err(failed)) => (true, vec![Finding::error("daemon.health", failed.to_string(), silent)]),
        Err(_) => {
            let found = format!("the daemon did not answer within {ANSWER_SECONDS_MAX} s");
            (true, vec![Finding::error("daemon.health", found, silent)])
        }
    }
}

async fn answers(session: &mut CommandContext<'_>) -> Result<Vec<Finding>, CommandError> {
    let client = session.client().await?;
    let health = client.get("/health").await?;
    let mut findings = doctor::daemon::health(&health.json()?, env!("CARGO_PKG_VERSION"));
    let keys = match client.get("/api/v1/keys").await {
        Ok(reply) => Ok(doctor::daemon::keys(&reply.json()?)),
        Err(refused) => Err(refused),
    };
    findings.extend(skip_if_refused("daemon.keys", keys)?);
    let measured = measured(client).await;
    findings.extend(skip_if_refused("daemon.counters", measured)?);
    Ok(findings)
}

async fn measured(client: &mut Client) -> Result<Vec<Finding>, ClientError> {
    let text = client.text("/metrics").await?;
    let scrape = Scrape::parse(&text);
    Ok([doctor::daemon::counters(&scrape), doctor::daemon::sandbox(&scrape)].concat())
}

/// What a caller may not ask for is left out, with a word.
fn skip_if_refused(id: &'static str, asked: Result<Vec<Finding>, ClientError>) -> Result<Vec<Finding>, ClientError> {
    match asked {
        Err(ClientError::Problem(problem)) if problem.status == 403 => {
            let found = format!("not asked: {}", problem.detail);
            Ok(vec![Finding::warning(id, found, "run this as root, or as a client that has the scope")])
        }
        asked => asked,
    }
}

fn show(report: &DoctorReport<'_>, session: &mut CommandContext<'_>) -> io::Result<()> {
    let colored = session.environment().setting("NO_COLOR").is_none();
    let quiet = session.output.is_quiet();
    let output = &mut session.output;
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
