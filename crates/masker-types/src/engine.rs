//! The engines of the embedded store.

use std::fmt;

/// Which engine keeps the rows of a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// fjall 3.
    #[default]
    Fjall,
    /// sled 0.34.
    Sled,
}

impl EngineKind {
    /// Each engine by its name in the configuration and on disk.
    pub const CHOICES: [(&'static str, EngineKind); 2] = [("fjall", EngineKind::Fjall), ("sled", EngineKind::Sled)];

    /// Returns every engine.
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
