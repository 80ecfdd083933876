//! The operations on values and tokens, over a store and a keyring.
//!
//! Requests read on their own and hand what they want written to one writer ([`writer`]), which repeats their search
//! under the keys in force and commits in groups. Every operation takes a [`crate::access::Permit`].

mod check;
mod failure;
mod forget;
mod in_flight;
mod ledger;
mod lookup;
mod parallel;
mod records;
mod rehydrate;
mod rewrap;
mod search;
mod status;
mod tally;
mod tokenize;
mod writer;

use std::sync::{Arc, atomic::AtomicBool};

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub use check::CheckOutcome;
pub use failure::{Failure, KeyName, VaultError};
pub use forget::Forgotten;
pub use ledger::Ledger;
pub use rehydrate::{Opened, Rehydrated, TokenInput};
pub use rewrap::Rewrapped;
pub use status::{GenerationStatus, StatsOutcome};
pub use tokenize::{Subject, Tokenized};

use crate::{
    keyring::{Grace, Keyring},
    metrics::Metrics,
    policy::PolicySet,
    store::Store,
};
use in_flight::InFlight;
use tally::LastUsed;
use writer::WriterHandle;

#[cfg(test)]
mod tests;

/// Where the time comes from, so that tests can pass grace periods without waiting.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The keys in force, with the time at which each generation last opened something.
struct Keys {
    ring: Keyring,
    last_used: LastUsed,
}

/// What the requests and the writer share.
struct Shared {
    store: Arc<dyn Store>,
    keys: ArcSwap<Keys>,
    ledger: ArcSwap<Ledger>,
    /// A commit failed: what is in the store is uncertain until the writer has read it again.
    ledger_stale: AtomicBool,
    in_flight: InFlight,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// The vault: keys, records and the operations on them. Made once, shared by every request.
pub struct Vault {
    shared: Arc<Shared>,
    writer: WriterHandle,
    grace: Grace,
}

impl Vault {
    /// Takes a store into service under these keys: reads what the store remembers of key generations, notes new ones
    /// and those that became old, and starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`] if the store fails; nothing was started then.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        grace: Grace,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, VaultError> {
        let ledger = Ledger::load(store.as_ref()).await?;
        let last_used = LastUsed::new(&keyring);
        let shared = Arc::new(Shared {
            store,
            keys: ArcSwap::from_pointee(Keys { ring: keyring, last_used }),
            ledger: ArcSwap::from_pointee(ledger),
            ledger_stale: AtomicBool::new(false),
            in_flight: InFlight::default(),
            metrics,
            clock,
        });
        let vault = Vault { writer: WriterHandle::start(Arc::clone(&shared)), shared, grace };
        vault.writer.note_keys().await?;
        Ok(vault)
    }

    /// Holds policies against those that were in force before, and remembers them. Returns a warning for each kind
    /// whose known values would get new tokens, with how many records that concerns.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the policies are not remembered then.
    pub async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.writer.adopt_policies(policies).await
    }

    /// Writes down when keys were last used, if that changed by a minute or more.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; the times are kept and written later.
    pub async fn note_key_use(&self) -> Result<(), VaultError> {
        self.writer.note_key_use().await
    }

    /// Ends the writer after what it has taken on, and closes the store. Later operations fail as unavailable.
    ///
    /// # Errors
    /// [`VaultError`] if the store could not be closed in order; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), VaultError> {
        self.writer.stop().await
    }
}
