//! What came of each part of the sandbox.

use std::fmt;

/// A part of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// No core dumps: `RLIMIT_CORE` of nothing.
    CoreDumps,
    /// No tracers of the same user: `PR_SET_DUMPABLE`.
    Tracing,
    /// No privileges that a program which is run would bring: `PR_SET_NO_NEW_PRIVS`.
    NewPrivileges,
    /// What the memory of keys is made of.
    KeyMemory,
    /// The paths that are within reach, and no TCP: landlock(7).
    Landlock,
    /// No capabilities, and no way back to them: capabilities(7).
    Capabilities,
    /// The system calls that are needed and no others: seccomp(2).
    Seccomp,
}

impl Mechanism {
    /// Every part, in the order in which they come into force.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::CoreDumps,
        Mechanism::Tracing,
        Mechanism::NewPrivileges,
        Mechanism::KeyMemory,
        Mechanism::Landlock,
        Mechanism::Capabilities,
        Mechanism::Seccomp,
    ];

    /// What an operator calls it.
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

/// What came of a part of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MechanismState {
    /// It is in force, as the text says.
    Active(String),
    /// It is not in force, or not all of it; the text says why and what would help.
    Degraded(String),
    /// The configuration has it stop nothing; the text says what it does instead.
    Off(&'static str),
}

impl MechanismState {
    /// Whether it stops what it is there to stop, all of it.
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

/// What came of every part that was tried.
#[derive(Clone, Debug, Default)]
pub struct SandboxReport(Vec<(Mechanism, MechanismState)>);

impl SandboxReport {
    pub(super) fn note(&mut self, mechanism: Mechanism, outcome: MechanismState) {
        self.0.push((mechanism, outcome));
    }

    /// What came of a part; `None` where it was not tried.
    pub fn outcome(&self, mechanism: Mechanism) -> Option<&MechanismState> {
        self.0.iter().find(|(noted, _)| *noted == mechanism).map(|(_, outcome)| outcome)
    }

    /// What came of every part that was tried.
    pub fn outcomes(&self) -> impl Iterator<Item = (Mechanism, &MechanismState)> {
        self.0.iter().map(|(mechanism, outcome)| (*mechanism, outcome))
    }

    /// The parts that are not, or not wholly, in force though they should be, and why.
    pub fn degraded(&self) -> impl Iterator<Item = (Mechanism, &str)> {
        self.0.iter().filter_map(|(mechanism, outcome)| match outcome {
            MechanismState::Degraded(why) => Some((*mechanism, why.as_str())),
            MechanismState::Active(_) | MechanismState::Off(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_degraded_is_told_with_its_reason_and_what_is_off_is_not() {
        let mut report = SandboxReport::default();
        report.note(Mechanism::CoreDumps, MechanismState::Active("refused".into()));
        report.note(Mechanism::Landlock, MechanismState::Degraded("too old".into()));
        report.note(Mechanism::Seccomp, MechanismState::Off("off"));
        assert_eq!(report.degraded().collect::<Vec<_>>(), [(Mechanism::Landlock, "too old")]);
        assert_eq!(report.outcome(Mechanism::Seccomp), Some(&MechanismState::Off("off")));
        assert_eq!(report.outcome(Mechanism::Tracing), None);
        assert_eq!(report.outcomes().map(|(_, outcome)| outcome.in_force()).collect::<Vec<_>>(), [true, false, false]);
    }
}
