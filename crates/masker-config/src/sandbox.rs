//! `[sandbox]`: what the daemon may no longer do after its start.

use masker_core::document::Section;

/// The effect of a system call that the daemon does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeccompMode {
    /// The kernel ends the process.
    #[default]
    Enforce,
    /// The kernel logs the call.
    Log,
    /// System calls are not filtered.
    Off,
}

/// The optional parts of the sandbox. The other parts are always in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Whether paths that the daemon does not need are inaccessible to it.
    pub landlock: bool,
    /// The effect of system calls that it does not need.
    pub seccomp: SeccompMode,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        SandboxConfig { landlock: true, seccomp: SeccompMode::default() }
    }
}

impl SandboxConfig {
    /// Reads the section.
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
