//! `[sandbox]`: what the daemon gives up once it has started.

use masker_core::document::Section;

/// What becomes of a system call that the daemon does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeccompMode {
    /// It ends the process.
    #[default]
    Enforce,
    /// The kernel logs it.
    Log,
    /// Nothing: calls are not filtered.
    Off,
}

/// Which parts of the sandbox are in force. The others always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Whether paths that the daemon does not need are out of its reach.
    pub landlock: bool,
    /// What becomes of system calls that it does not need.
    pub seccomp: SeccompMode,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        SandboxConfig { landlock: true, seccomp: SeccompMode::default() }
    }
}

impl SandboxConfig {
    pub(super) fn read(root: &Section<'_>) -> Self {
        let mut settings = SandboxConfig::default();
        let Some(section) = root.section("sandbox") else { return settings };
        if let Some(landlock) = section.choice("landlock", &[("enforce", true), ("off", false)]) {
            settings.landlock = landlock.value;
        }
        let modes = [("enforce", SeccompMode::Enforce), ("log", SeccompMode::Log), ("off", SeccompMode::Off)];
        if let Some(seccomp) = section.choice("seccomp", &modes) {
            settings.seccomp = seccomp.value;
        }
        section.finish();
        settings
    }
}
