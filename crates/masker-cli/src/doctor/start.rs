//! What a start refuses, found by the same steps as `masker recover`; while a daemon serves, what the next one refuses.
//!
//! This is the only check that opens the vault, while no daemon serves. It takes the vault's lock meanwhile, and commits nothing.

use masker_config::{AcceptableState, AcceptedKind, AcceptedStates, Config, HostEnvironment};
use nix::unistd::geteuid;

use super::{
    finding::{Finding, Severity, look_as},
    finding_id::FindingId,
    keys::{KeyFacts, KeyPlace, has_keys, provided_keys},
    units::{InstalledUnits, ServiceUser},
    vault::VaultFacts,
};
use crate::offline::{FindRefusals, Refusals};

const CHECK: &str = "daemon.start";

/// The checks that find what stops a start before it opens anything.
const EARLIER: [&str; 5] = ["config", "keys.read", "keys.audit", "policies.read", "policies.keys"];

/// What the examination found.
pub(super) enum StartFacts {
    /// It was not possible, for this reason; with a remedy.
    NotExamined(String, String),
    /// What a start refuses, with what `recover.toml` accepts, or why that file is not used.
    Examined(Box<Refusals>, Result<AcceptedStates, String>),
}

/// What to examine.
pub(super) struct StartInput<'a> {
    pub(super) host: HostEnvironment<'a>,
    pub(super) config: &'a Config,
    pub(super) keys: &'a KeyFacts,
    /// Where the keys are.
    pub(super) key_place: KeyPlace<'a>,
    /// Whether a running daemon had keys in variables.
    pub(super) keys_in_variables: bool,
    pub(super) unit: &'a InstalledUnits,
    pub(super) runs_as: &'a ServiceUser,
    pub(super) vault: &'a VaultFacts,
    /// Whether a daemon serves this configuration.
    pub(super) serving: bool,
    pub(super) find_refusals: FindRefusals,
}

/// Examines what a start would refuse. `findings` are those of the other checks. Blocks.
pub(super) fn gather(input: &StartInput<'_>, findings: &[Finding]) -> StartFacts {
    let unknown = |why: &str, remedy: &str| {
        StartFacts::NotExamined(format!("what a start refuses was not examined: {why}"), remedy.to_owned())
    };
    let is_error = |finding: &&Finding| finding.status == Severity::Error && EARLIER.contains(&finding.id);
    if let Some(earlier) = findings.iter().find(is_error) {
        let why = format!("it fails before that, see `{}`", earlier.id);
        return unknown(&why, "put that right first, then run doctor again");
    }
    let owner = input.vault.directory.facts().map_or(input.runs_as.uid, |facts| facts.uid);
    let own = geteuid();
    if !own.is_root() && (own.as_raw() != owner || input.vault.partly_hidden) {
        return unknown("this user cannot open the vault", look_as());
    }
    if !input.keys.has_place && !input.keys.any() {
        return unknown("nothing says where the daemon's keys are", "run doctor as the daemon is started");
    }
    if input.keys_in_variables && !has_keys(input.host.environment) {
        return unknown(
            "the daemon's keys are in variables that only it has",
            "run doctor with the variables of the daemon's keys",
        );
    }
    let environment = match input.key_place {
        KeyPlace::Environment(environment) => environment,
        // In place of those of the environment, which has none.
        KeyPlace::Unit | KeyPlace::Unknown => input.host.environment,
    };
    let credentials = match provided_keys(environment) {
        Ok(credentials) => credentials,
        Err(why) => return unknown(&format!("the keys cannot be read here: {why}"), look_as()),
    };
    let accepted = match input.config.file.as_deref() {
        Some(file) => AcceptedStates::read(file, input.host.uid)
            .map_err(|error| format!("{} {error}", AcceptedStates::path(file).display())),
        None => Ok(AcceptedStates::default()),
    };
    let refusals = (input.find_refusals)(input.config, credentials, input.unit.user());
    match refusals.is_serving && !input.serving {
        true => unknown("a daemon on another socket has the vault open", "name its socket with --socket"),
        false => StartFacts::Examined(Box::new(refusals), accepted),
    }
}

/// `daemon.start`: nothing prevents a start, and has every key that records need. `serving` says whether it is the next one, while a
/// daemon serves.
pub(super) fn judge(start: StartFacts, serving: bool) -> Vec<Finding> {
    let (Refusals { refused, problems, missing_keys, .. }, accepted) = match start {
        StartFacts::NotExamined(why, remedy) => return vec![Finding::not_checked(CHECK, why, remedy)],
        StartFacts::Examined(refusals, accepted) => (*refusals, accepted),
    };
    let mut findings = Vec::new();
    for problem in problems {
        let remedy = match serving {
            true => {
                "put right what it says before the daemon is stopped or restarted, then run doctor again: nobody can accept this"
            }
            false => "put right what it says, then run doctor again: nobody can accept this",
        };
        let problem = if serving { format!("the next start is refused: {problem}") } else { problem };
        findings.push(Finding::error(CHECK, FindingId::StartRefused, problem, remedy));
    }
    let is_accepted = |state: &AcceptableState| accepted.as_ref().is_ok_and(|accepted| accepted.covers(state));
    for refusal in refused.iter().filter(|refusal| !is_accepted(&refusal.state) && !is_reported(&refusal.state)) {
        let found = format!("{}: {}", refusal.state.kind.as_str(), refusal.why);
        let remedy = "look for what is missing before anything else: the page says what it may be. `masker recover` shows the whole state";
        findings.push(Finding::error(CHECK, FindingId::StartRefused, found, remedy));
    }
    for missing in missing_keys {
        let found = format!("a start goes on without a key: {missing}");
        let remedy = "put this key back from its copy, where the other keys are, before the daemon is started";
        findings.push(Finding::error(CHECK, FindingId::KeyMissing, found, remedy));
    }
    if let Err(why) = accepted {
        let remedy = "what it accepts does not hold. Look at the file, and move it aside (`mv --no-clobber`) before `masker recover` writes it \
                      anew";
        findings.push(Finding::error(CHECK, FindingId::StartRefused, why, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            match serving {
                true => "nothing prevents the next start, as far as that can be seen while the daemon serves",
                false => "nothing prevents a start, and it has every key that records need",
            },
        ));
    }
    findings
}

/// Returns whether another check has a finding about this state: `audit.chain`, `clock.jumped` and `vault.directory`.
fn is_reported(state: &AcceptableState) -> bool {
    match state.kind {
        AcceptedKind::AuditBreak | AcceptedKind::Clock => true,
        AcceptedKind::NewVault => state.field("create") == "yes",
        AcceptedKind::Loss | AcceptedKind::NewControlKey | AcceptedKind::KeyRollback => false,
    }
}
