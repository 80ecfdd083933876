//! The checks of `masker doctor`, before a daemon starts and while it serves.
//!
//! Each check has a module with `gather`, which collects facts, and `judge`, a pure function from facts to [`Finding`]s.
//! Gathering changes nothing: it opens no file for writing and takes no lock. No finding contains a part of a key. The
//! facts that only a running daemon knows are requested by [`command`] and judged by [`daemon`].

mod access;
mod audit;
mod clock;
pub(crate) mod command;
pub mod daemon;
mod directory;
mod environment;
mod files;
mod finding;
mod free_space;
mod host;
pub mod kernel;
mod keys;
pub(crate) use keys::provided_keys;
mod policies;
mod secret_names;
mod socket;
mod strays;
mod units;
mod vault;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub use self::finding::{Finding, Severity};
use self::{keys::KeyFacts, units::InstalledUnits};
use jiff::Timestamp;
use masker_config::{Config, ConfigErrors, HostEnvironment};

/// What to examine.
#[derive(Clone, Copy)]
pub struct DoctorInput<'a> {
    /// The environment and the user that a daemon would have if it were started here.
    pub host: HostEnvironment<'a>,
    /// The configuration, or its errors.
    pub config: Result<&'a Config, &'a ConfigErrors>,
    /// Whether a daemon responds on the socket.
    pub serving: bool,
    /// The root of the host's files: `/`.
    pub root: &'a Path,
    /// Returns the paths at which the vault in a data directory has its data.
    pub vault_entries: fn(&Path) -> Vec<PathBuf>,
}

/// Runs every check that needs no daemon. Blocks while it reads the newest part of the audit log.
pub fn examine(input: &DoctorInput<'_>) -> Vec<Finding> {
    let installed = InstalledUnits::read(input.root);
    let mut findings = configuration(input.config);
    let keys = KeyFacts::gather(input, &installed);
    findings.extend(keys::judge(&keys));
    findings.extend(environment::judge(&environment::gather(input.root, &keys), &installed));
    if let Ok(config) = input.config {
        // The socket belongs to the daemon that serves on it.
        let daemon_uid = fs::metadata(&config.server.socket).ok().filter(|_| input.serving).map(|socket| socket.uid());
        let runs_as = installed.runs_as(daemon_uid.unwrap_or(input.host.uid));
        let entries = (input.vault_entries)(&config.vault.data_dir);
        let vault = vault::gather(&config.vault.data_dir, entries, &config.audit.path);
        let audit = audit::gather(config, &keys, input.serving);
        findings.extend(policies::judge(&policies::gather(config), &keys, input.serving));
        findings.extend(strays::judge(&strays::gather(config, &keys, &installed)));
        findings.extend(access::judge(&config.access));
        findings.extend(socket::judge(&socket::gather(&config.server), &config.server));
        findings.extend(vault::judge(&config.vault.data_dir, &vault, &runs_as));
        findings.extend(audit::judge(&config.audit, &audit, &runs_as));
        // The time is taken last, so that a daemon's writes meanwhile are not in the future.
        findings.extend(clock::judge(&clock::gather(&vault, &audit), Timestamp::now()));
        findings.push(clock::judge_jump(audit.clock_jump()));
    }
    findings.extend(host::judge(&host::gather(input.root)));
    findings.extend(kernel::judge(&kernel::KernelFeatures::probe(input.root)));
    findings
}

/// `config`: the configuration is valid.
fn configuration(config: Result<&Config, &ConfigErrors>) -> Vec<Finding> {
    match config {
        Ok(Config { file: Some(file), .. }) => vec![Finding::ok("config", format!("{} is valid", file.display()))],
        Ok(_) => vec![Finding::ok("config", "there is no configuration file: every setting has its default")],
        Err(faults) => {
            let remedy = "correct it: the page \"Settings\" of the book explains every setting";
            faults.iter().map(|fault| Finding::error("config", fault.to_string(), remedy)).collect()
        }
    }
}
