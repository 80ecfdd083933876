//! What a caller may be given.

mod limits;

pub use limits::{Limit, Limits, LimitsError};
