//! Who is calling, and what they may do.
//!
//! Nothing outside this module can make a [`Permit`]: an operation that takes one cannot be reached by a handler that
//! forgot to ask.

mod api_key;
mod attempts;
mod budget;
mod limiter;
mod peer;
mod permit;
mod scope;
mod unit;

pub use api_key::{ApiKeySecret, KeyDigest, KeyPrefix, Malformed, Presented, looks_like_key};
pub use attempts::{Attempts, Verdict};
pub use budget::{Budget, Crossed};
pub use limiter::{Limiter, Moment, Refusal, RefusalKind, Standing};
pub use peer::{Peer, PeerError};
pub use permit::{
    Access, Denied, Forget, KeysAdmin, KeysRead, Lookup, MetricsRead, Operation, Permit, PoliciesRead, PoliciesReload,
    Rehydrate, Rewrap, Tokenize, VaultAdmin, VaultRead,
};
pub use scope::Scope;
