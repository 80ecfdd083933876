//! The checks of `masker doctor`, before a daemon starts and while it serves.
//!
//! Each check has a module with `gather`, which collects facts, and `judge`, a pure function from facts to [`Finding`]s.
//! Gathering changes nothing: it opens no file for writing and takes no lock, except that [`start`] opens the vault while no daemon
//! serves. No finding contains a part of a key. The
//! facts that only a running daemon knows are requested by [`command`] and judged by [`daemon`].

mod access;
mod audit;
mod clock;
pub(crate) mod command;
mod daemon;
mod directory;
mod environment;
mod files;
mod finding;
mod finding_id;
mod free_space;
mod host;
pub mod kernel;
mod key_checks;
mod key_identity;
mod keys;
mod last_start;
pub(crate) use keys::{missing_audit_key, provided_keys};
pub(crate) use units::{key_directories, service_uid};
mod open_files;
mod policies;
mod secret_names;
mod socket;
mod start;
mod strays;
mod subject;
mod units;
mod vault;

use std::path::{Path, PathBuf};

use self::{
    finding::look_as,
    key_identity::KeyWitness,
    keys::KeyFacts,
    start::StartInput,
    subject::{ConfigFault, Subject},
    units::InstalledUnits,
};
pub use self::{
    finding::{Finding, Severity},
    finding_id::FindingId,
};
use crate::offline::FindRefusals;
use jiff::Timestamp;
use masker_api::{DaemonConfiguration, KeyList};
use masker_config::{Config, HostEnvironment};

/// What to examine.
struct DoctorInput<'a> {
    /// The environment and the user that a daemon would have if it were started here.
    host: HostEnvironment<'a>,
    subject: &'a Subject,
    installed: &'a InstalledUnits,
    /// Whether a daemon responds on the socket.
    serving: bool,
    /// The daemon that serves this configuration.
    daemon: Option<&'a DaemonConfiguration>,
    /// The keys that it has loaded and that its vault knows.
    loaded: Option<&'a KeyList>,
    /// The root of the host's files: `/`.
    root: &'a Path,
    /// Returns the paths at which the vault in a data directory has its data.
    vault_entries: fn(&Path) -> Vec<PathBuf>,
    /// Finds what a start refuses.
    find_refusals: FindRefusals,
}

/// Runs every check that needs no daemon. Blocks while it reads the newest part of the audit log.
fn examine(input: &DoctorInput<'_>) -> Vec<Finding> {
    let DoctorInput { subject, installed, .. } = input;
    // A unit with another configuration says nothing about this one.
    let none = InstalledUnits::default();
    let unit = if subject.is_of_unit { *installed } else { &none };
    let mut findings = configuration(&subject.config);
    let keys = KeyFacts::gather(subject.keys(input.host.environment), &subject.keys_in_variables, unit);
    match &subject.config {
        Ok(config) => findings.extend(examine_files(input, config, &keys, unit)),
        Err(_) => findings.extend(key_checks::judge(&keys, None)),
    }
    findings.extend(environment::judge(&environment::gather(input.root, &keys), installed));
    findings.extend(host::judge(&host::gather(input.root)));
    findings.extend(kernel::judge(&kernel::KernelFeatures::probe(input.root)));
    findings
}

/// Runs the checks of the files that a configuration names.
fn examine_files(input: &DoctorInput<'_>, config: &Config, keys: &KeyFacts, unit: &InstalledUnits) -> Vec<Finding> {
    let installed = input.installed;
    let serving = input.serving && input.subject.is_served;
    let runs_as = match input.daemon {
        Some(daemon) => unit.runs_as_user(daemon.uid),
        None => unit.runs_as(input.host.uid),
    };
    let entries = (input.vault_entries)(&config.vault.data_dir);
    let mut vault = vault::gather(&config.vault.data_dir, entries, &config.audit.path);
    vault.unit_mode = unit.mode_of(&config.vault.data_dir);
    let mut audit = audit::gather(config, keys, serving);
    audit.unit_mode = unit.mode_of(&config.audit.path);
    let witness = match (input.loaded, audit.verified().map(|log| &*log.keys).filter(|keys| !keys.is_empty())) {
        (Some(list), _) => KeyWitness::Daemon(list),
        (None, _) if serving => KeyWitness::Nobody("the daemon did not say which keys it has loaded"),
        (None, Some(recorded)) => KeyWitness::Log(recorded),
        (None, None) if audit.is_unverified() => {
            KeyWitness::Nobody("no daemon answers, and the audit log was not verified")
        }
        (None, None) if vault.exists => KeyWitness::Nobody("no daemon answers, and no audit log names its keys"),
        (None, None) => KeyWitness::NoVault,
    };
    let mut findings = key_checks::judge(keys, audit.exists());
    findings.extend((!keys.has_place && !keys.any()).then(|| no_keys(config)));
    findings.extend(key_identity::judge(keys, &witness, audit.other_key()));
    if let Some(reported) = input.daemon {
        findings.extend(subject::judge_next(input.subject, reported));
    }
    findings.extend(policies::judge(&policies::gather(config), keys, input.loaded));
    if matches!(witness, KeyWitness::NoVault) {
        findings.iter_mut().for_each(of_new_host);
    }
    findings.extend(strays::judge(&strays::gather(config, keys, installed)));
    findings.extend(open_files::judge(&open_files::gather(config)));
    findings.extend(access::judge(&config.access, runs_as.uid));
    let socket = socket::gather(&config.server, unit.socket().as_deref());
    findings.extend(socket::judge(&socket, &config.server, &runs_as));
    findings.extend(vault::judge(&config.vault.data_dir, &vault, &runs_as, audit.names_vault()));
    findings.extend(audit::judge(&config.audit, &audit, keys, &runs_as, vault.exists, serving));
    // The time is taken last, so that a daemon's writes meanwhile are not in the future.
    let now = Timestamp::now();
    findings.push(clock::judge(&clock::gather(&vault, &audit), now));
    findings.push(clock::judge_jump(&audit, now));
    // A daemon on the socket that does not use this configuration says nothing about the next start with it.
    if !input.serving || serving {
        let next = input.subject.next.as_ref().and_then(|next| next.as_ref().ok());
        let start = StartInput {
            host: input.host,
            config: next.unwrap_or(config),
            keys,
            key_place: input.subject.keys(input.host.environment),
            keys_in_variables: !input.subject.keys_in_variables.is_empty(),
            unit,
            runs_as: &runs_as,
            vault: &vault,
            serving,
            find_refusals: input.find_refusals,
        };
        findings.extend(start::judge(start::gather(&start, &findings), serving));
    }
    findings
}

/// Adds to the finding of a key that is not there that it may be the first one: there is neither a vault nor an audit log.
fn of_new_host(finding: &mut Finding) {
    let (Some(FindingId::KeyMissing | FindingId::AuditKeyMissing), Some(remedy)) =
        (finding.finding, &mut finding.remedy)
    else {
        return;
    };
    *remedy = format!(
        "if this is a new installation, `masker init` makes the first keys: there is neither a vault nor an audit log. If not, {remedy}"
    );
}

/// `keys.read`, if nothing says where the keys are.
fn no_keys(config: &Config) -> Finding {
    let beside = config.file.as_deref().and_then(|file| Some(file.parent()?.join("keys"))).filter(|keys| keys.is_dir());
    let remedy = match beside {
        Some(keys) => format!(
            "run doctor as the daemon is started. If it takes its keys from there: `CREDENTIALS_DIRECTORY={} masker doctor`, with the \
             same arguments",
            crate::key_files::quoted(&keys)
        ),
        None => {
            "run doctor with the variables that the daemon is started with: CREDENTIALS_DIRECTORY or MASKER_KEY_…_FILE"
                .to_owned()
        }
    };
    Finding::not_checked("keys.read", "nothing says where the daemon's keys are", remedy)
}

/// `config`: the configuration is valid.
fn configuration(config: &Result<Config, ConfigFault>) -> Vec<Finding> {
    match config {
        Ok(Config { file: Some(file), .. }) => vec![Finding::ok("config", format!("{} is valid", file.display()))],
        Ok(_) => vec![Finding::ok("config", "there is no configuration file: every setting has its default")],
        Err(ConfigFault::Unreadable(file, _)) if file.try_exists().is_ok_and(|exists| !exists) => {
            let found = format!(
                "{}, which the running daemon uses, is not there any more: its next start has other settings",
                file.display()
            );
            let remedy = "put it back from a backup before the daemon is restarted; it has no secret";
            vec![Finding::error("config", FindingId::ConfigInvalid, found, remedy)]
        }
        Err(ConfigFault::Unreadable(file, why)) => {
            let found = format!("{}, which the daemon uses, cannot be read here: {why}", file.display());
            vec![Finding::not_checked("config", found, look_as())]
        }
        Err(ConfigFault::Invalid(faults)) => {
            let remedy = "correct it: the page \"Settings\" of the book explains every setting";
            let error = |fault: &masker_config::ConfigError| {
                Finding::error("config", FindingId::ConfigInvalid, fault.to_string(), remedy)
            };
            faults.iter().map(error).collect()
        }
    }
}
