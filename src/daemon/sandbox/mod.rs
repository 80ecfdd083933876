//! The sandbox: the daemon gives up what it does not need, under any service manager and without one.
//!
//! It closes in three steps, each as early as possible. First, core dumps, tracing and new privileges. Then, before the
//! second thread, because threads inherit both: the paths that it does not need (Landlock), and capabilities. Last, once
//! everything is open, and for all threads at once: the system calls that it does not need (seccomp).
//!
//! If the kernel does not support a step, the [`SandboxReport`] says so, and the daemon goes on with the others.

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

/// A sandbox that is being closed, step by step.
#[derive(Debug)]
pub struct Sandbox {
    settings: SandboxConfig,
    report: SandboxReport,
}

impl Sandbox {
    /// Takes the first step. Call it before the process holds a secret. Also raises the limits on open files and locked
    /// memory as far as the system allows, which requires privileges that the second step drops.
    pub fn begin(settings: SandboxConfig) -> Self {
        let mut report = SandboxReport::default();
        report.add(Mechanism::CoreDumps, process::refuse_core_dumps());
        report.add(Mechanism::Tracing, process::refuse_tracing());
        report.add(Mechanism::NewPrivileges, process::refuse_new_privileges());
        report.add(Mechanism::KeyMemory, key_memory_state());
        for failed in process::raise_limits() {
            warn!("{failed}");
        }
        Sandbox { settings, report }
    }

    /// Takes the second step. Call it while the process has one thread. From then on only these paths are accessible, and
    /// no capability is left. Creates the daemon's own directories if they do not exist.
    pub fn confine(&mut self, paths: &SandboxPaths) {
        let confined = if self.settings.landlock { paths::confine(paths) } else { MechanismState::Off("off") };
        self.report.add(Mechanism::Landlock, confined);
        self.report.add(Mechanism::Capabilities, process::drop_capabilities());
    }

    /// Takes the last step. Call it once everything is open. From then on a system call that is not allowed kills the
    /// process, or is logged by the kernel. Returns the outcome of every step.
    pub fn close(mut self) -> SandboxReport {
        self.report.add(Mechanism::Seccomp, seccomp::close(self.settings.seccomp));
        self.report
    }
}

/// Logs the report and sets its metrics.
pub(super) fn log_report(report: &SandboxReport, metrics: &Metrics) {
    for (mechanism, state) in report.states() {
        let gauge = metrics.http.sandbox_in_force.with_label_values(&[mechanism.as_str(), &state.to_string()]);
        gauge.set(state.in_force().into());
    }
    let state = |mechanism| report.state(mechanism).map(ToString::to_string).unwrap_or_default();
    info!(
        core_dumps = state(Mechanism::CoreDumps),
        tracing = state(Mechanism::Tracing),
        new_privileges = state(Mechanism::NewPrivileges),
        key_memory = state(Mechanism::KeyMemory),
        landlock = state(Mechanism::Landlock),
        capabilities = state(Mechanism::Capabilities),
        seccomp = state(Mechanism::Seccomp),
        "the sandbox is closed"
    );
    for (mechanism, why) in report.degraded() {
        warn!("the sandbox is incomplete: {mechanism}: {why}");
    }
}

fn key_memory_state() -> MechanismState {
    match key_memory() {
        KeyMemory::Secret => MechanismState::Active("secret memory".into()),
        KeyMemory::Locked => MechanismState::Degraded(
            "this kernel does not provide secret memory, so keys are in ordinary locked pages; Linux 6.5 and later \
             provide it, Linux 5.14 and later with `secretmem.enable=1` on the kernel command line"
                .into(),
        ),
    }
}
