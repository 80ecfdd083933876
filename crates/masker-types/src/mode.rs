//! Live and test mode.

/// Whether data is real. The same key generation has other subkeys in each mode, so a token of one mode is unknown in the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum World {
    /// Real data.
    Live,
    /// Made-up data.
    Test,
}

impl World {
    /// Both modes.
    pub const ALL: [World; 2] = [World::Live, World::Test];

    /// Returns `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            World::Live => "live",
            World::Test => "test",
        }
    }
}
