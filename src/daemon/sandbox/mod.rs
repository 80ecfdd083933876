//! The daemon's own sandbox: what it gives up once it has what it needs, whoever runs it.
//!
//! It closes in three steps, each as early as it can be taken. At once: core dumps, being traced, new privileges. Before the
//! first thread, since they are a thread's own and are handed on to those that it starts: the paths that it does not need
//! (Landlock), and capabilities. Once everything is open, for all threads at the same time: the system calls that it does
//! not need (seccomp).
//!
//! A step that this kernel cannot take is told of ([`SandboxReport`]), and the daemon goes on with the others.

mod calls;
mod paths;
mod process;
mod report;
mod seccomp;

use tracing::{info, warn};

use masker_config::SandboxConfig;
use masker_core::crypto::{KeyMemory, key_memory};
use masker_http::metrics::Metrics;

pub use paths::SandboxPaths;
pub use report::{Mechanism, MechanismState, SandboxReport};

/// The sandbox as far as it is closed.
#[derive(Debug)]
pub struct Sandbox {
    settings: SandboxConfig,
    report: SandboxReport,
}

impl Sandbox {
    /// The first step, to be taken before the process holds a secret. Also raises the numbers of open files and of locked
    /// bytes to what the system allows, which takes privileges that go with the second.
    pub fn begin(settings: SandboxConfig) -> Self {
        let mut report = SandboxReport::default();
        report.note(Mechanism::CoreDumps, process::refuse_core_dumps());
        report.note(Mechanism::Tracing, process::refuse_tracing());
        report.note(Mechanism::NewPrivileges, process::refuse_new_privileges());
        report.note(Mechanism::KeyMemory, key_memory_outcome());
        for failed in process::raise_limits() {
            warn!("{failed}");
        }
        Sandbox { settings, report }
    }

    /// The second step, to be taken while the process has one thread: from then on only these places are within reach, and
    /// no capability is left. Directories that are written to are made where they are missing.
    pub fn confine(&mut self, places: &SandboxPaths) {
        let confined = if self.settings.landlock { paths::confine(places) } else { MechanismState::Off("off") };
        self.report.note(Mechanism::Landlock, confined);
        self.report.note(Mechanism::Capabilities, process::drop_capabilities());
    }

    /// The last step, to be taken once everything is open: from then on a call that is not needed ends the process, or is
    /// logged by the kernel. Returns what came of every step.
    pub fn close(mut self) -> SandboxReport {
        self.report.note(Mechanism::Seccomp, seccomp::close(self.settings.seccomp));
        self.report
    }
}

/// Tells the operator what came of it: now in the log, and whoever asks later by the metrics.
pub(super) fn tell(report: &SandboxReport, metrics: &Metrics) {
    for (mechanism, outcome) in report.outcomes() {
        let gauge = metrics.http.sandbox_in_force.with_label_values(&[mechanism.as_str(), &outcome.to_string()]);
        gauge.set(outcome.in_force().into());
    }
    let outcome = |mechanism| report.outcome(mechanism).map(ToString::to_string).unwrap_or_default();
    info!(
        core_dumps = outcome(Mechanism::CoreDumps),
        tracing = outcome(Mechanism::Tracing),
        new_privileges = outcome(Mechanism::NewPrivileges),
        key_memory = outcome(Mechanism::KeyMemory),
        landlock = outcome(Mechanism::Landlock),
        capabilities = outcome(Mechanism::Capabilities),
        seccomp = outcome(Mechanism::Seccomp),
        "the sandbox is closed"
    );
    for (mechanism, why) in report.degraded() {
        warn!("the sandbox is not whole: {mechanism}: {why}");
    }
}

fn key_memory_outcome() -> MechanismState {
    match key_memory() {
        KeyMemory::Secret => MechanismState::Active("secret memory".into()),
        KeyMemory::Locked => MechanismState::Degraded(
            "this kernel gives no secret memory, so keys are in ordinary pages, locked; Linux 6.5 and later have it, \
             Linux 5.14 and later with `secretmem.enable=1` on their command line"
                .into(),
        ),
    }
}
