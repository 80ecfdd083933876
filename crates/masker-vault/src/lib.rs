//! The operations on values and tokens, over a store and a keyring.
//!
//! [`Vault`] is the front: it hands each operation to a small service (tokenizing, rehydrating, erasing, honeytokens,
//! sessions, rotations, backups, keyrings, maintenance). Services read on their own and queue what they want written as a
//! change for the one writer, which decides it under the keys in force and commits changes in groups.
//!
//! Promises: every operation takes a [`masker_access::Permit`]; a result that is returned is durable; one value has one
//! token, across failures, reloads, rotations and restarts; rows change only through the writer.
//!
//! For the HTTP interface and the daemon. Nothing below may use it.

mod api_keys;
mod audit_anchor;
mod audit_head;
mod backup;
mod check;
mod compact;
mod control;
mod error;
mod forget;
mod generation_use;
mod generations;
mod handles;
mod honeytokens;
mod ids;
mod in_flight;
mod index_list;
mod kept_rows;
mod key_assessment;
mod key_refusals;
mod keyrings;
mod keys;
mod known_generation;
mod ledger;
mod lookup;
mod metrics;
mod mint;
mod outcomes;
mod paged_scan;
mod parallel_map;
mod placeholders;
mod placing;
mod purge;
mod reader;
mod record_count;
mod records;
mod rehydrate;
mod rewrap;
mod rotation;
mod search;
mod sessions;
mod spelling_scan;
mod status;
mod sync;
mod tag;
mod time;
mod tokenize;
mod vault;
mod writer;

pub use api_keys::{KeepKeyError, check_api_key_lengths};
pub use backup::{
    ExportSummary, ImportOutcome, ImportRules, LaterChanges, LaterErasures, MergeCounts, RestoreOutcome, RunningExport,
    SuspendedKey, VaultExportError, VaultImportError, VaultRestoreError, read_export,
};
pub use compact::CompactError;
pub use control::{ControlKeyError, ControlKeyStatus};
pub use error::{GenerationRef, ItemFailure, KeyLoadError, VaultError};
pub use forget::{Forgotten, ForgottenValue};
pub use generations::KeyRollback;
pub use honeytokens::{HoneytokenError, HoneytokenRequest, HoneytokenStatus, PlantedHoneytoken};
pub use ids::{HoneytokenId, RotationId, SessionId};
pub use key_assessment::{Advice, KeyAssessment, advice};
pub use key_refusals::{KeyRefusals, LostControlKey};
pub use keyrings::KeyRules;
pub use ledger::Ledger;
pub use lookup::FoundTokens;
pub use metrics::VaultMetrics;
pub use outcomes::{BatchResult, ItemOutcomeKey};
pub use purge::{PurgeError, PurgeFilter, PurgeOutcome};
pub use record_count::CheckOutcome;
pub use rehydrate::{OpenedValue, Rehydrated, TokenInput};
pub use rewrap::Rewrapped;
pub use rotation::{RotationError, RotationPhase, RotationRequest, RotationStatus, StepBudget};
pub use sessions::{
    EnteredSession, LongReads, SessionCounts, SessionError, SessionFilter, SessionNeeds, SessionOwner, SessionPage,
    SessionState, SessionStatus,
};
pub use status::{GenerationStatus, StatsOutcome};
pub use time::Clock;
pub use tokenize::{Masked, PlannedAction, Tokenized, ValueInput, planned_action};
pub use vault::Vault;

#[cfg(test)]
mod tests;
