//! The share of a client in what all callers use together: connections, and memory for requests and answers.

/// What a client is guaranteed, and the most that it may take, in percent of the connections, of the memory for bodies and
/// of the memory for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// The part that no one else takes, in percent: 0 to [`GUARANTEED_PERCENT_MAX`](crate::limits::GUARANTEED_PERCENT_MAX).
    pub guaranteed_percent: u8,
    /// The most that it takes, in percent: 1 to 100, and at least what is guaranteed.
    pub max_percent: u8,
}

impl Default for Share {
    /// Returns the share of a caller without a setting: no guarantee and no cap.
    fn default() -> Self {
        Share { guaranteed_percent: 0, max_percent: 100 }
    }
}
