//! `masker doctor`: examines this host's installation, asks the daemon, and prints the findings.

use std::{path::Path, time::Duration};

use masker_api::{Health, KeyList};
use masker_client::ClientError;
use masker_config::CommandLineOptions;
use masker_types::error_code::Code;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    DoctorInput, Finding, FindingId, Severity,
    daemon::{self, SEE_LOG, scope_remedy},
    examine,
    finding::look_as,
    last_start::{self, UnitState},
    subject::{self, DaemonReply, Subject},
    units::{self, InstalledUnits},
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

impl DaemonAnswers {
    fn none() -> Self {
        DaemonAnswers { serving: false, reply: DaemonReply::None, loaded: None, findings: Vec::new() }
    }
}

/// `masker doctor`.
pub(crate) async fn run(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let root = Path::new("/");
    let installed = InstalledUnits::read(root);
    let (socket, flag) = (ctx.socket().ok(), ctx.socket_flag()?);
    // The state of the unit is about this socket only if it is the unit's.
    let is_units = socket.is_some() && installed.socket() == socket;
    let state = if is_units { last_start::gather(root, units::SERVICE) } else { None };
    let mut answers = match &state {
        // A connection would ask systemd for one more start.
        Some(UnitState::Failed(failure)) => DaemonAnswers {
            reply: DaemonReply::FailedStart,
            findings: vec![last_start::judge(failure, units::SERVICE)],
            ..DaemonAnswers::none()
        },
        _ => ask_daemon(state.as_ref(), root, ctx).await,
    };
    let options = CommandLineOptions { config: ctx.config_flag(), socket: flag.as_deref() };
    let subject = Subject::choose(options, ctx.host(), &installed, &answers.reply, root);
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
    if matches!(answers.reply, DaemonReply::FailedStart) {
        findings.append(&mut answers.findings);
    }
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

/// Asks the daemon on the socket. `state` is that of its unit, if it has one.
async fn ask_daemon(state: Option<&UnitState>, root: &Path, ctx: &mut CommandContext<'_>) -> DaemonAnswers {
    let limit = Duration::from_secs(RESPONSE_SECONDS_MAX);
    let unreported = |why: String, remedy: &str, findings| DaemonAnswers {
        serving: true,
        reply: DaemonReply::Unreported { why, remedy: remedy.to_owned() },
        loaded: None,
        findings,
    };
    let failed = match timeout(limit, query(ctx)).await {
        Ok(Ok(answers)) => return answers,
        Ok(Err(failed)) => failed,
        Err(_) => CommandError::Other(format!("the daemon did not respond within {RESPONSE_SECONDS_MAX} s")),
    };
    match failed {
        // `daemon.configuration` says so, and the check `config` reports errors of the configuration.
        CommandError::Client(ClientError::NoSocket(_) | ClientError::Refused(_)) | CommandError::Invalid(_) => {
            DaemonAnswers::none()
        }
        CommandError::Client(denied @ ClientError::Forbidden(_)) => {
            let finding = Finding::not_checked("daemon.health", denied.to_string(), look_as());
            unreported("this user may not connect".to_owned(), look_as(), vec![finding])
        }
        CommandError::Credential(wrong) => {
            let remedy = "correct the credential in the environment, or run doctor without it";
            let finding = Finding::not_checked("daemon.health", wrong.to_string(), remedy);
            unreported("the daemon was not asked".to_owned(), remedy, vec![finding])
        }
        CommandError::Client(answered @ (ClientError::Problem(_) | ClientError::Busy { .. })) => {
            let finding = of_failure("daemon.health", &answered);
            let remedy = finding.remedy.clone().unwrap_or_default();
            unreported(answered.to_string(), &remedy, vec![finding])
        }
        silent => {
            let found = silent.to_string();
            let finding = Finding::error("daemon.health", FindingId::DaemonSilent, found.clone(), SEE_LOG);
            let serving = match state {
                Some(state) => *state == UnitState::Running,
                // Something else than a daemon may listen.
                None => subject::any_daemon_runs(root),
            };
            DaemonAnswers { serving, ..unreported(found, SEE_LOG, vec![finding]) }
        }
    }
}

async fn query(ctx: &mut CommandContext<'_>) -> Result<DaemonAnswers, CommandError> {
    let client = ctx.client().await?;
    let mut health: Health = client.get("/health").await?.json()?;
    let mut findings = daemon::health(&health, env!("CARGO_PKG_VERSION"));
    let reply = match health.configuration.take() {
        Some(configuration) => DaemonReply::Reported(Box::new(configuration)),
        None => DaemonReply::Unreported {
            why: match health.version.is_some() {
                true => "it is another version".to_owned(),
                false => "it reports this to callers with the scope `keys:read`".to_owned(),
            },
            remedy: match health.version.is_some() {
                true => "restart the daemon with this version".to_owned(),
                false => scope_remedy().to_owned(),
            },
        },
    };
    let loaded = match client.get("/api/v1/keys").await.and_then(|reply| reply.json::<KeyList>()) {
        Ok(list) => {
            findings.extend(daemon::keys(&list));
            Some(list)
        }
        Err(failed) => {
            findings.push(of_failure("daemon.keys", &failed));
            None
        }
    };
    match client.text("/metrics").await {
        Ok(text) => {
            let scrape = Scrape::parse(&text);
            findings.extend([daemon::counters(&scrape), daemon::sandbox(&scrape)].concat());
        }
        Err(failed) => findings.push(of_failure("daemon.counters", &failed)),
    }
    Ok(DaemonAnswers { serving: true, reply, loaded, findings })
}

/// Returns the finding of a check whose request to the daemon has failed, by what has failed.
fn of_failure(id: &'static str, failed: &ClientError) -> Finding {
    let problem = match failed {
        ClientError::Problem(problem) | ClientError::Busy { problem, .. } => problem,
        _ => return Finding::error(id, FindingId::DaemonSilent, failed.to_string(), SEE_LOG),
    };
    let detail = problem.detail.clone();
    let is = |code: Code| problem.code == code.as_str();
    match problem.status {
        403 => Finding::not_checked(id, detail, scope_remedy()),
        401 => {
            let remedy = "the credential in the environment is not accepted: run doctor without MASKER_API_KEY";
            Finding::not_checked(id, detail, remedy)
        }
        _ if is(Code::AuditUnavailable) => {
            let found = format!("the daemon answers no request while it cannot write its audit log: {detail}");
            Finding::not_checked(id, found, "put the audit log right first: see `daemon.health` and `audit.chain`")
        }
        _ if is(Code::VaultUnavailable) => {
            Finding::not_checked(id, detail, "put the vault right first: see `daemon.health`")
        }
        _ if matches!(failed, ClientError::Busy { .. }) => {
            Finding::not_checked(id, failed.to_string(), "run doctor again when the daemon has less to do")
        }
        _ => Finding::error(id, FindingId::DaemonSilent, failed.to_string(), SEE_LOG),
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
