//! The state of each part of the sandbox.

use std::fmt;

/// A part of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// No core dumps: `RLIMIT_CORE` of zero.
    CoreDumps,
    /// No tracing by processes of the same user: `PR_SET_DUMPABLE`.
    Tracing,
    /// No new privileges by executing a program: `PR_SET_NO_NEW_PRIVS`.
    NewPrivileges,
    /// The memory that holds keys: secret or locked.
    KeyMemory,
    /// Access to the needed paths only, and no TCP: landlock(7).
    Landlock,
    /// No capabilities, and no way to regain them: capabilities(7).
    Capabilities,
    /// The needed system calls only: seccomp(2).
    Seccomp,
}

impl Mechanism {
    /// All parts, in the order in which they take effect.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::CoreDumps,
        Mechanism::Tracing,
        Mechanism::NewPrivileges,
        Mechanism::KeyMemory,
        Mechanism::Landlock,
        Mechanism::Capabilities,
        Mechanism::Seccomp,
    ];

    /// Returns the name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::CoreDumps => "core dumps",
            Mechanism::Tracing => "tracing",
            Mechanism::NewPrivileges => "new privileges",
            Mechanism::KeyMemory => "key memory",
            Mechanism::Landlock => "landlock",
            Mechanism::Capabilities => "capabilities",
            Mechanism::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a part of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MechanismState {
    /// In force. The text says how.
    Active(String),
    /// Not in force, or only partly. The text says why and what would help.
    Degraded(String),
    /// Switched off by the configuration. The text says what happens instead.
    Off(&'static str),
}

impl MechanismState {
    /// Returns whether it is fully in force.
    pub fn in_force(&self) -> bool {
        matches!(self, MechanismState::Active(_))
    }
}

impl fmt::Display for MechanismState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MechanismState::Active(how) => f.write_str(how),
            MechanismState::Degraded(_) => f.write_str("degraded"),
            MechanismState::Off(instead) => f.write_str(instead),
        }
    }
}

/// The states of all parts that were attempted.
#[derive(Clone, Debug, Default)]
pub struct SandboxReport(Vec<(Mechanism, MechanismState)>);

impl SandboxReport {
    pub(super) fn add(&mut self, mechanism: Mechanism, state: MechanismState) {
        self.0.push((mechanism, state));
    }

    /// Returns the state of a part; `None` if it was not attempted.
    pub fn state(&self, mechanism: Mechanism) -> Option<&MechanismState> {
        self.0.iter().find(|(known, _)| *known == mechanism).map(|(_, state)| state)
    }

    /// Returns the states of all parts that were attempted.
    pub fn states(&self) -> impl Iterator<Item = (Mechanism, &MechanismState)> {
        self.0.iter().map(|(mechanism, state)| (*mechanism, state))
    }

    /// Returns the parts that should be in force but are not, or only partly, each with the reason.
    pub fn degraded(&self) -> impl Iterator<Item = (Mechanism, &str)> {
        self.0.iter().filter_map(|(mechanism, state)| match state {
            MechanismState::Degraded(why) => Some((*mechanism, why.as_str())),
            MechanismState::Active(_) | MechanismState::Off(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_degraded_parts_with_their_reason_but_not_those_switched_off() {
        let mut report = SandboxReport::default();
        report.add(Mechanism::CoreDumps, MechanismState::Active("refused".into()));
        report.add(Mechanism::Landlock, MechanismState::Degraded("too old".into()));
        report.add(Mechanism::Seccomp, MechanismState::Off("off"));
        assert_eq!(report.degraded().collect::<Vec<_>>(), [(Mechanism::Landlock, "too old")]);
        assert_eq!(report.state(Mechanism::Seccomp), Some(&MechanismState::Off("off")));
        assert_eq!(report.state(Mechanism::Tracing), None);
        assert_eq!(report.states().map(|(_, state)| state.in_force()).collect::<Vec<_>>(), [true, false, false]);
    }
}
