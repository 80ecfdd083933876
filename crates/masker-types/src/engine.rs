//! The engines of the embedded store.

use std::fmt;

/// The engine that stores the rows of a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// fjall 3.
    #[default]
    Fjall,
    /// sled 0.34.
    Sled,
}

impl EngineKind {
    /// The engines, with their names in the configuration and on disk.
    pub const CHOICES: [(&'static str, EngineKind); 2] = [("fjall", EngineKind::Fjall), ("sled", EngineKind::Sled)];

    /// Returns all engines.
    pub fn all() -> impl Iterator<Item = EngineKind> {
        Self::CHOICES.into_iter().map(|(_, kind)| kind)
    }

    /// Returns the engine's name in the configuration and on disk.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Fjall => "fjall",
            EngineKind::Sled => "sled",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
