//! The control key: it authenticates the rows that no key of a record seals.
//!
//! A vault has a random control key for each *control epoch*. Every loaded generation of a kid that a policy names seals
//! it in a slot. Rows that are not sealed end with a tag under the control key, so a program without a key of the vault
//! can write none. The **control rows** are those that grant or withhold: API keys, honeytokens, key generations with
//! their proofs, and rotations. A manifest covers all of them: how often they changed, how many there are, and their sum.
//! So a row that was removed or put back to an earlier state is found at the next start. The sum of tombstones, which are
//! too many to read at a start, is verified by a check of the vault.
//!
//! If the control rows are not those that the vault wrote, API keys, rotations, and proofs that a key is unneeded are void.
//! Rows that withhold still count. A new control key ends this: void rows are removed.

mod error;
mod open;
mod rekey;
mod spaces;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use error::ControlKeyError;
pub(crate) use open::{ControlKeyRules, is_new};
pub use state::ControlKeyStatus;
pub(crate) use state::SlotChange;
pub(crate) use store::ControlledStore;
