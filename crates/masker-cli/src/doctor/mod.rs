//! What `masker doctor` looks at, before a daemon starts and while it serves.
//!
//! Each check is a function from facts to [`Finding`]s; the facts are gathered beside it, by looking alone: nothing is
//! opened for writing, no lock is taken, and nothing of a key is told. What only a running daemon knows is asked by
//! the command line, and judged in [`daemon`].

mod audit;
mod clock;
pub(crate) mod command;
pub mod daemon;
mod environment;
mod files;
mod host;
pub mod kernel;
mod keys;
mod policies;
mod free_space;
mod socket;
mod units;
mod vault;

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

pub use self::files::bytes;
use self::{files::PathStatus, keys::KeyFacts, units::InstalledUnits};
use masker_config::{Config, ConfigErrors, HostEnvironment};

/// How weighty a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// It should be mended, and keeps nothing from working.
    Warning,
    /// Something does not work, is about to fail, or is open to those whom it is no business of.
    Error,
}

impl Severity {
    /// Its name, as `--json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: a name that stays. One check can find several things.
    pub id: &'static str,
    /// How weighty it is.
    pub status: Severity,
    /// What was found.
    pub found: String,
    /// What to do, with a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Finding { id, status: Severity::Ok, found: found.into(), remedy: None }
    }

    /// Something should be mended.
    pub fn warning(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { id, status: Severity::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Something must be mended.
    pub fn error(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { id, status: Severity::Error, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What is looked at.
#[derive(Clone, Copy)]
pub struct DoctorInput<'a> {
    /// The environment and the user that a daemon would be started with here.
    pub host: HostEnvironment<'a>,
    /// The configuration, or what is wrong with it.
    pub config: Result<&'a Config, &'a ConfigErrors>,
    /// Whether a daemon answers at the socket.
    pub serving: bool,
    /// Where the host's files begin: `/`.
    pub root: &'a Path,
}

/// Looks at everything that can be looked at without a daemon. Blocks, for as long as it takes to read the newest part of
/// the audit log.
pub fn examine(subject: &DoctorInput<'_>) -> Vec<Finding> {
    let installed = InstalledUnits::read(subject.root);
    let mut findings = configuration(subject.config);
    let secrets = KeyFacts::gather(subject, &installed);
    findings.extend(keys::judge(&secrets));
    findings.extend(environment::judge(&environment::gather(subject.root, &secrets), &installed));
    if let Ok(config) = subject.config {
        let runs_as = installed.runs_as(subject.host.uid);
        let vault = vault::gather(&config.vault.data_dir, &config.audit.path);
        let audit = audit::gather(config, &secrets, subject.serving);
        findings.extend(policies::judge(&policies::gather(config), &secrets, subject.serving));
        findings.extend(socket::judge(&socket::gather(&config.server), &config.server));
        findings.extend(vault::judge(&config.vault.data_dir, &vault, &runs_as));
        findings.extend(audit::judge(&config.audit, &audit, &runs_as));
        // The time is taken last: what a daemon writes meanwhile is not of the future.
        findings.extend(clock::judge(&clock::gather(&vault, &audit), Timestamp::now()));
    }
    findings.extend(host::judge(&host::gather(subject.root)));
    findings.extend(kernel::judge(&kernel::KernelFeatures::probe(subject.root)));
    findings
}

/// `config`: what is wrong with the configuration.
fn configuration(config: Result<&Config, &ConfigErrors>) -> Vec<Finding> {
    match config {
        Ok(Config { file: Some(file), .. }) => vec![Finding::ok("config", format!("{} is sound", file.display()))],
        Ok(_) => vec![Finding::ok("config", "there is no configuration file: every setting has its default")],
        Err(faults) => {
            let remedy = "mend it: README.md, \"Configuration\", explains every setting";
            faults.iter().map(|fault| Finding::error("config", fault.to_string(), remedy)).collect()
        }
    }
}

/// What becomes of a path that cannot be looked at: no fault of the path's.
fn hidden(id: &'static str, path: &Path, why: &str) -> Finding {
    Finding::warning(
        id,
        format!("{} cannot be looked at: {why}", path.display()),
        "run this as root, or as the user that runs the daemon",
    )
}

/// A directory that belongs to the daemon alone: its owner and its mode.
fn own_directory(id: &'static str, path: &Path, look: &PathStatus, runs_as: &units::ServiceUser) -> Finding {
    let shown = path.display();
    let facts = match look {
        PathStatus::Missing => return Finding::ok(id, format!("{shown} is not there yet: the first start makes it")),
        PathStatus::Hidden(why) => return hidden(id, path, why),
        PathStatus::There(facts) => facts,
    };
    if !facts.is_directory() {
        return Finding::error(id, format!("{shown} is no directory"), "move it away, or configure another path");
    }
    if let Err((found, remedy)) = runs_as.owns(path, facts) {
        // No unit says as whom it runs, and root can start it as anybody.
        return if runs_as.is_default_user {
            Finding::warning(id, found, remedy)
        } else {
            Finding::error(id, found, remedy)
        };
    }
    let mode = facts.mode;
    if mode & 0o022 != 0 {
        let found = format!("{shown} has mode {mode:04o}: others can write to it, and the daemon will not start");
        return Finding::error(id, found, format!("chmod 0700 {shown}"));
    }
    if mode & 0o055 != 0 {
        let found = format!("{shown} has mode {mode:04o}: others can see what is in it");
        return Finding::warning(id, found, format!("chmod 0700 {shown}"));
    }
    Finding::ok(id, format!("{shown} is {}'s alone", files::user_name(facts.uid)))
}
