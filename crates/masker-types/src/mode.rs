//! Live and test mode.

/// Whether data is real. A key generation has different subkeys in each mode, so a token of one mode is unknown in the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Real data.
    Live,
    /// Made-up data.
    Test,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Mode; 2] = [Mode::Live, Mode::Test];

    /// Returns `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Live => "live",
            Mode::Test => "test",
        }
    }
}
