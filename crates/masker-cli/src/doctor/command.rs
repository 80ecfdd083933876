//! `masker doctor`: examines this host's installation, asks the daemon, and prints the findings.

use std::{path::Path, time::Duration};

use masker_api::{Health, KeyList};
use masker_client::{Client, ClientError};
use masker_config::CommandLineOptions;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    DoctorInput, Finding, FindingId, Severity,
    daemon::{self, SEE_LOG, scope_remedy},
    examine,
    finding::look_as,
    subject::{self, DaemonReply, Subject},
    units::InstalledUnits,
};
use crate::{
    context::{CommandContext, CommandError},
    exit::Exit,
    scrape::Scrape,
};

/// How long to wait for the daemon, in seconds.
const RESPONSE_SECONDS_MAX: u64 = 5;

/// The width of the column of statuses on a terminal.
const STATUS_WIDTH: usize = 13;

/// All findings, as `--json` prints them.
#[derive(Serialize)]
struct DoctorReport<'a> {
    errors: usize,
    warnings: usize,
    not_checked: usize,
    checks: &'a [Finding],
}

/// What a daemon has answered.
struct DaemonAnswers {
    serving: bool,
    reply: DaemonReply,
    loaded: Option<KeyList>,
    findings: Vec<Finding>,
}

/// `masker doctor`.
pub(crate) async fn run(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let root = Path::new("/");
    let answers = ask_daemon(ctx).await;
    let installed = InstalledUnits::read(root);
    let (socket, flag) = (ctx.socket().ok(), ctx.socket_flag()?);
    let options = CommandLineOptions { config: ctx.config_flag(), socket: flag.as_deref() };
    let subject = Subject::choose(options, ctx.host(), &installed, &answers.reply);
    let reported = answers.reply.configuration().filter(|_| subject.is_served);
    let input = DoctorInput {
        host: ctx.host(),
        subject: &subject,
        installed: &installed,
        serving: answers.serving,
        daemon: reported,
        loaded: answers.loaded.as_ref().filter(|_| subject.is_served),
        root,
        vault_entries: ctx.offline.vault_entries,
        find_refusals: ctx.offline.find_refusals,
    };
    let mut findings = Vec::new();
    // The check `config` reports a configuration that names no socket.
    findings.extend(socket.map(|socket| subject::judge(&subject, &answers.reply, &socket, root)));
    findings.extend(examine(&input));
    findings.extend(answers.findings);
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let report = DoctorReport {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        not_checked: count(Severity::NotChecked),
        checks: &findings,
    };
    show(&report, ctx)?;
    Ok(if report.errors > 0 { Exit::Error } else { Exit::Done })
}

/// Asks the daemon on the socket.
async fn ask_daemon(ctx: &mut CommandContext<'_>) -> DaemonAnswers {
    let limit = Duration::from_secs(RESPONSE_SECONDS_MAX);
    let unreported = |why: String, findings| DaemonAnswers {
        serving: true,
        reply: DaemonReply::Unreported(why),
        loaded: None,
        findings,
    };
    let none = DaemonAnswers { serving: false, reply: DaemonReply::None, loaded: None, findings: Vec::new() };
    match timeout(limit, query(ctx)).await {
        Ok(Ok(answers)) => answers,
        // `daemon.configuration` says so.
        Ok(Err(CommandError::Client(ClientError::NoSocket(_) | ClientError::Refused(_)))) => none,
        Ok(Err(CommandError::Client(denied @ ClientError::Forbidden(_)))) => {
            let finding = Finding::not_checked("daemon.health", denied.to_string(), look_as());
            unreported("this user may not connect".to_owned(), vec![finding])
        }
        // The check `config` reports errors of the configuration.
        Ok(Err(CommandError::Invalid(_))) => none,
        Ok(Err(failed)) => {
            let found = failed.to_string();
            unreported(found.clone(), vec![Finding::error("daemon.health", FindingId::DaemonSilent, found, SEE_LOG)])
        }
        Err(_) => {
            let found = format!("the daemon did not respond within {RESPONSE_SECONDS_MAX} s");
            unreported(found.clone(), vec![Finding::error("daemon.health", FindingId::DaemonSilent, found, SEE_LOG)])
        }
    }
}

async fn query(ctx: &mut CommandContext<'_>) -> Result<DaemonAnswers, CommandError> {
    let client = ctx.client().await?;
    let mut health: Health = client.get("/health").await?.json()?;
    let mut findings = daemon::health(&health, env!("CARGO_PKG_VERSION"));
    let reply = match health.configuration.take() {
        Some(configuration) => DaemonReply::Reported(Box::new(configuration)),
        None if health.version.is_some() => DaemonReply::Unreported("it is another version".to_owned()),
        None => DaemonReply::Unreported("it reports this to callers with the scope `keys:read`".to_owned()),
    };
    let mut loaded = None;
    match client.get("/api/v1/keys").await {
        Ok(reply) => {
            let list: KeyList = reply.json()?;
            findings.extend(daemon::keys(&list));
            loaded = Some(list);
        }
        Err(refused) => findings.extend(skip_if_refused("daemon.keys", Err(refused))?),
    }
    let metrics = metrics(client).await;
    findings.extend(skip_if_refused("daemon.counters", metrics)?);
    Ok(DaemonAnswers { serving: true, reply, loaded, findings })
}

async fn metrics(client: &mut Client) -> Result<Vec<Finding>, ClientError> {
    let text = client.text("/metrics").await?;
    let scrape = Scrape::parse(&text);
    Ok([daemon::counters(&scrape), daemon::sandbox(&scrape)].concat())
}

/// Replaces a refusal for a missing scope with the finding that this was not checked.
fn skip_if_refused(id: &'static str, findings: Result<Vec<Finding>, ClientError>) -> Result<Vec<Finding>, ClientError> {
    match findings {
        Err(ClientError::Problem(problem)) if problem.status == 403 => {
            Ok(vec![Finding::not_checked(id, problem.detail, scope_remedy())])
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
            let page = finding.page.unwrap_or_default().to_owned();
            vec![finding.status.as_str().to_owned(), finding.id.to_owned(), finding.found.clone(), remedy, page]
        };
        return output.table(&[], shown.map(row).collect());
    }
    let width = report.checks.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in shown {
        let color = match finding.status {
            _ if !colored => "",
            Severity::Ok => "\x1b[32m",
            Severity::NotChecked => "\x1b[36m",
            Severity::Warning => "\x1b[33m",
            Severity::Error => "\x1b[1;31m",
        };
        let end = if colored { "\x1b[0m" } else { "" };
        output.bytes(
            format!("{color}{:<STATUS_WIDTH$}{end}{:<width$}  ", finding.status.as_str(), finding.id).as_bytes(),
        )?;
        output.line(&finding.found)?;
        if let Some(remedy) = &finding.remedy {
            output.line(&format!("{:<STATUS_WIDTH$}{:<width$}  → {remedy}", "", ""))?;
        }
        if let Some(page) = finding.page {
            output.line(&format!("{:<STATUS_WIDTH$}{:<width$}    page {page}", "", ""))?;
        }
    }
    output.line("")?;
    output.line(&format!(
        "errors: {}, warnings: {}, not checked: {}",
        report.errors, report.warnings, report.not_checked
    ))?;
    output.line("The pages are in the book, and of the package in /usr/share/doc/masker/docs/src")
}
