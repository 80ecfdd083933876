//! Re-encryption of the vault: records moved from the keys that were replaced to the active one, while the daemon
//! serves.
//!
//! A rotation goes through the records in the order of their ids, in steps. Each step reads some records, seals them
//! again, and hands them to the writer with how far it has come: one atomic batch, so that after a crash it goes on
//! where it was. A step done twice finds nothing to do. Once every record was visited, a proving pass ([`prove`]) reads
//! all rows again, and only if it finds nothing under the old keys is the rotation done.
//!
//! Tokens never change. A token minted under a key that is gone is still found by its value, for the record has an alias
//! from the id of the value under the active key.

mod change;
mod driver;
mod proof;
mod dry_run;
mod reseal;
mod status;
mod step;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Mutex};

use tokio::sync::Notify;

use change::TransitionChange;
use driver::RotationProgress;
pub use status::{RotationPhase, RotationStatus};
pub use step::StepBudget;
use step::{Prefetched, RotationTransition};

pub use super::ids::RotationId;
use super::{Vault, VaultError, ledger::Ledger};
use masker_access::{Permit, VaultAdmin, VaultRead};
use masker_core::crypto::Fingerprint;
use masker_store::record::{GenerationRow, Record, RotationRow, RotationState};
use masker_types::kind::Kid;

/// From where records are moved, and to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMove {
    pub(crate) source_kid: Kid,
    pub(crate) target: (Kid, Fingerprint),
}

impl KeyMove {
    pub(crate) fn of(row: &RotationRow) -> Self {
        KeyMove { source_kid: row.source_kid, target: (row.target_kid, Fingerprint::from_bytes(row.target)) }
    }

    /// Whether records under this generation are to be moved.
    fn leaves(&self, name: (Kid, Fingerprint)) -> bool {
        name.0 == self.source_kid && name != self.target
    }

    /// Whether this record is to be moved.
    fn moves(&self, record: &Record) -> bool {
        self.leaves((record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)))
    }

    /// The generations from which records are moved.
    pub(crate) fn sources<'l>(
        &self,
        ledger: &'l Ledger,
    ) -> impl Iterator<Item = ((Kid, Fingerprint), &'l GenerationRow)> {
        let route = *self;
        ledger
            .generations_of(self.source_kid)
            .map(|(name, row)| (*name, row))
            .filter(move |(name, _)| route.leaves(*name))
    }

    /// Records that are still to be moved, and aliases under the keys that they are moved from.
    pub(crate) fn remaining(&self, ledger: &Ledger) -> (u64, u64) {
        self.sources(ledger).fold((0, 0), |(records, aliases), (_, row)| (records + row.records, aliases + row.aliases))
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug)]
pub struct RotationRequest {
    /// The kid whose active key records are moved to.
    pub new_kid: Kid,
    /// The kid whose records are moved; those of `new_kid` that are under its old keys where it is `None`.
    pub old_kid: Option<Kid>,
    /// Whether every record is only opened, and nothing written.
    pub dry_run: bool,
    /// Rows a second at most; 0 for as many as there is room for.
    pub rows_per_second_max: u64,
}

/// Why a rotation was not begun, shown or cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RotationError {
    /// One runs already.
    #[error("the rotation {0} is running: wait for its end, or cancel it")]
    Running(RotationId),
    /// There is none of this id.
    #[error("no rotation has this id; the list of rotations shows those there are")]
    NotFound,
    /// It has ended before.
    #[error("the rotation {0} has ended already")]
    Ended(RotationId),
    /// The kid to move records to has no key.
    #[error("the key {0} is not loaded: set MASKER_KEY_{0}, or name a kid that has a key")]
    TargetNotLoaded(Kid),
    /// The vault never saw a key of the kid to move records from.
    #[error("this vault has never seen a key of {0}: there is nothing to move from it")]
    SourceUnknown(Kid),
    /// The store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What is known of rotations beside the ledger: how fast they go, and those that only rehearse.
#[derive(Default)]
pub(crate) struct RotationTracker {
    state: Mutex<RotationsState>,
    /// Rings when there may be something to do.
    wake: Notify,
}

#[derive(Default)]
pub(crate) struct RotationsState {
    /// The rotation that the driver is at.
    progress: Option<(RotationId, RotationProgress)>,
    /// What was read ahead for the step after the last one.
    ahead: Option<Prefetched>,
    /// Dry runs, which leave no trace in the vault and are forgotten at the end of the process.
    dry_runs: BTreeMap<RotationId, RotationRow>,
}

impl Vault {
    /// Begins a rotation. It goes on by itself, in [`Vault::drive_rotations`].
    ///
    /// # Errors
    /// [`RotationError`]; nothing was begun then.
    pub async fn begin_rotation(
        &self,
        _permit: &Permit<VaultAdmin>,
        request: RotationRequest,
    ) -> Result<RotationStatus, RotationError> {
        let source_kid = request.old_kid.unwrap_or(request.new_kid);
        let now_ms = self.now_ms();
        let id = RotationId::new(now_ms, rand::random());
        let row = {
            let keys = self.shared.keys.load();
            let pair = keys.ring.get(request.new_kid).ok_or(RotationError::TargetNotLoaded(request.new_kid))?;
            if self.shared.ledger.load().generations_of(source_kid).next().is_none() {
                return Err(RotationError::SourceUnknown(source_kid));
            }
            RotationRow {
                target_kid: request.new_kid,
                target: *pair.active().fingerprint().as_bytes(),
                source_kid,
                state: RotationState::Running,
                fault: None,
                proving: false,
                started_at_ms: now_ms,
                finished_at_ms: None,
                rows_per_second_max: request.rows_per_second_max,
                rows_total: 0,
                rows_resealed: 0,
                resealed_before_pass: 0,
                rows_failed: 0,
                conflicts: 0,
                cursor: None,
                failures: Vec::new(),
            }
        };
        if request.dry_run {
            self.begin_dry_run(id, row)?;
        } else {
            if let Some(running) = self.running_dry_run() {
                return Err(RotationError::Running(running));
            }
            self.transition(id, RotationTransition::Begin(Box::new(row))).await??;
        }
        self.shared.rotations.wake.notify_one();
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Ends a rotation before its time. What it has moved stays moved.
    ///
    /// # Errors
    /// [`RotationError`] if there is none of this id, or it has ended.
    pub async fn cancel_rotation(
        &self,
        _permit: &Permit<VaultAdmin>,
        id: RotationId,
    ) -> Result<RotationStatus, RotationError> {
        if !self.cancel_dry_run(id)? {
            self.transition(id, RotationTransition::Cancel).await??;
        }
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Has the writer change the state of a rotation.
    async fn transition(
        &self,
        id: RotationId,
        transition: RotationTransition,
    ) -> Result<Result<(), RotationError>, VaultError> {
        self.writer.commit(TransitionChange { id, transition }).await
    }

    /// How a rotation stands.
    ///
    /// # Errors
    /// [`RotationError::NotFound`].
    pub fn rotation(&self, _permit: &Permit<VaultRead>, id: RotationId) -> Result<RotationStatus, RotationError> {
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// The rotation that is under way, if one is. Rehearsals do not count. Needs no store.
    pub fn rotation_running(&self) -> Option<RotationStatus> {
        let mut all = self.all_rotations().into_iter();
        all.find(|rotation| rotation.state == RotationState::Running && !rotation.dry_run)
    }

    /// The rotations that are remembered, the latest first.
    pub fn rotations(&self, _permit: &Permit<VaultRead>) -> Vec<RotationStatus> {
        self.all_rotations()
    }
}
