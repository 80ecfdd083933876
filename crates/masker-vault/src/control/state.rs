//! What is known of the control rows, and how rows are tagged and verified.

use std::{collections::BTreeSet, sync::Arc};

use masker_core::{
    crypto::{ControlCounts, ControlKey, Fingerprint, RowSum, WrappedKey, aead::TAG_BYTES},
    keyring::{Generation, Keyring},
};
use masker_store::{
    Precondition, Row, RowChange, RowKey,
    record::{ControlManifestRow, ControlSlotRow, GenerationRow, RowName, TombstoneSumRow, split_tag},
};
use masker_types::{kind::Kid, mode::Mode, vault_position::ControlPosition};
use zeroize::Zeroizing;

use super::spaces::{self, Protection};

/// The name of a key generation.
pub(super) type SlotName = (Kid, Fingerprint);

/// The control key in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlKeyStatus {
    /// The control epoch.
    pub epoch: u64,
    /// The generations that hold the key.
    pub holders: BTreeSet<(Kid, Fingerprint)>,
}

/// The control rows as of a commit.
#[derive(Clone)]
pub(super) struct ControlState {
    pub(super) key: Arc<ControlKey>,
    /// The key that a commit under way puts in the place of `key`.
    pub(super) next_key: Option<Arc<ControlKey>>,
    /// Batches that changed control rows.
    pub(super) changes: u64,
    /// Control rows.
    pub(super) rows: u64,
    pub(super) sum: RowSum,
    /// Whether the control rows are those that the vault wrote.
    pub(super) is_sound: bool,
    /// The sum of the tombstones; `None` if its row does not verify.
    pub(super) tombstones: Option<RowSum>,
    /// The nonce of the stored sum of the tombstones: another one after each change.
    pub(super) tombstone_nonce: [u8; 16],
    /// Whether a commit under way changes tombstones. Readers may see it or not.
    pub(super) tombstones_in_flight: bool,
    /// The generations that hold the control key.
    pub(super) slots: BTreeSet<SlotName>,
}

/// What a stored row is worth.
pub(super) enum Stored {
    /// It verifies.
    Verified(Row),
    /// It does not verify, or grants by control rows that are not sound. It is as if it were not there.
    Void,
    /// It does not verify, and counts all the same.
    Unverified(Row),
}

/// What a commit changes about the slots.
pub(crate) struct SlotChange<'k> {
    /// The keys in force after the commit.
    pub(crate) keyring: &'k Keyring,
    /// The kids whose generations get slots; if none of them is loaded, all loaded generations.
    pub(crate) kids: &'k BTreeSet<Kid>,
    /// Generations whose slots end unless they are loaded.
    pub(crate) unneeded: &'k (dyn Fn(SlotName) -> bool + Sync),
    /// Whether the control key is replaced in any case.
    pub(crate) new_key: bool,
}

impl SlotChange<'_> {
    /// Returns the generations that get slots.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Generation> {
        let named = self.keyring.iter().any(|(kid, _)| self.kids.contains(&kid));
        let pairs = self.keyring.iter().filter(move |(kid, _)| !named || self.kids.contains(kid));
        pairs.flat_map(|(_, pair)| pair.generations())
    }

    /// Returns whether a slot ends, so that the key is replaced. Only an operator replaces the key of rows that are not those
    /// of the vault.
    pub(super) fn ends_a_slot(&self, state: &ControlState) -> bool {
        let ends = |slot: &SlotName| self.keyring.by_fingerprint(slot.0, slot.1).is_none() && (self.unneeded)(*slot);
        state.is_intact() && state.slots.iter().any(ends)
    }

    /// Returns whether a generation gets a slot.
    pub(super) fn adds_a_slot(&self, state: &ControlState) -> bool {
        self.holders().any(|holder| !state.slots.contains(&slot_name(holder)))
    }
}

pub(super) fn slot_name(generation: &Generation) -> SlotName {
    (generation.kid(), generation.fingerprint())
}

/// Returns the row of a generation's slot.
pub(super) fn slot(key: &ControlKey, holder: &Generation) -> RowChange {
    let WrappedKey { nonce, sealed } = holder.keys(Mode::Live).wrap_control_key(key, &mut rand::rng());
    let row = ControlSlotRow { epoch: key.epoch(), nonce, sealed };
    RowChange::Put(RowKey::control_slot(holder.kid(), holder.fingerprint().as_bytes()), row.encode())
}

impl ControlState {
    /// Returns the state of a vault without control rows.
    pub(super) fn empty(key: Arc<ControlKey>) -> Self {
        ControlState {
            key,
            next_key: None,
            changes: 0,
            rows: 0,
            sum: RowSum::default(),
            is_sound: true,
            tombstones: Some(RowSum::default()),
            tombstone_nonce: rand::random(),
            tombstones_in_flight: false,
            slots: BTreeSet::new(),
        }
    }

    fn verifies(&self, key: &RowKey, row: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        let keys = std::iter::once(&self.key).chain(&self.next_key);
        keys.into_iter().any(|control| control.row_tag_verifies(key.space(), key.rest(), row, tag))
    }

    /// Opens a row that is sealed under the control key.
    fn decrypted(&self, key: &RowKey, stored: &[u8]) -> Option<Row> {
        let keys = std::iter::once(&self.key).chain(&self.next_key);
        let mut opened = keys.into_iter().filter_map(|control| control.open_row(key.space(), key.rest(), stored));
        opened.next().map(|mut row| std::mem::take(&mut *row))
    }

    /// Returns whether a stored row has a valid tag or seal.
    pub(super) fn is_verified(&self, key: &RowKey, stored: &[u8]) -> bool {
        if spaces::protection(key.space()) == Protection::Encrypted {
            return self.decrypted(key, stored).is_some();
        }
        matches!(split_tag(stored), (row, Some(tag)) if self.verifies(key, row, tag))
    }

    /// Verifies a stored row and takes its tag or its seal off.
    pub(super) fn open(&self, key: &RowKey, mut stored: Row) -> Stored {
        match spaces::protection(key.space()) {
            Protection::Sealed => return Stored::Verified(stored),
            Protection::Encrypted => return self.decrypted(key, &stored).map_or(Stored::Void, Stored::Verified),
            Protection::Control | Protection::Tombstone | Protection::Tag => {}
        }
        let is_verified = self.is_verified(key, &stored);
        stored.truncate(split_tag(&stored).0.len());
        let is_trusted = is_verified && (self.is_sound || spaces::protection(key.space()) != Protection::Control);
        match (is_trusted, is_verified) {
            (true, _) => Stored::Verified(stored),
            (false, _) if spaces::grants(key.space()) => Stored::Void,
            (false, true) => Stored::Verified(unproven(key, stored)),
            (false, false) => Stored::Unverified(unproven(key, stored)),
        }
    }

    /// Adds the tag or the seal to a row that is written.
    pub(super) fn tagged(&self, change: RowChange) -> RowChange {
        match change {
            RowChange::Put(key, row) => {
                let row = self.tagged_row(&key, row);
                RowChange::Put(key, row)
            }
            removed => removed,
        }
    }

    /// Adds the tags to the rows of preconditions.
    pub(super) fn tagged_preconditions(&self, preconditions: Vec<Precondition>) -> Vec<Precondition> {
        let tagged = |condition| match condition {
            Precondition::Equals(key, row) => {
                let row = self.tagged_row(&key, row);
                Precondition::Equals(key, row)
            }
            absent => absent,
        };
        preconditions.into_iter().map(tagged).collect()
    }

    fn tagged_row(&self, key: &RowKey, mut row: Row) -> Row {
        match spaces::protection(key.space()) {
            Protection::Sealed => {}
            Protection::Encrypted => {
                let plain = Zeroizing::new(std::mem::take(&mut row));
                row = self.key.seal_row(key.space(), key.rest(), &plain, &mut rand::rng());
            }
            Protection::Control | Protection::Tombstone | Protection::Tag => {
                let tag = self.key.row_tag(key.space(), key.rest(), &row);
                row.extend_from_slice(&tag);
            }
        }
        row
    }

    /// Returns what a row without its tag adds to its sum.
    pub(super) fn sum_of(&self, key: &RowKey, row: &[u8]) -> RowSum {
        self.key.sum_of(key.space(), key.rest(), row)
    }

    /// Notes that a row is there.
    pub(super) fn add(&mut self, key: &RowKey, row: &[u8]) {
        match spaces::protection(key.space()) {
            Protection::Control => {
                self.rows += 1;
                self.sum = self.sum.plus(self.sum_of(key, row));
            }
            Protection::Tombstone => {
                let sum = self.sum_of(key, row);
                self.tombstones = self.tombstones.map(|all| all.plus(sum));
            }
            Protection::Sealed | Protection::Tag | Protection::Encrypted => {}
        }
    }

    /// Notes that a row is no longer there.
    pub(super) fn subtract(&mut self, key: &RowKey, row: &[u8]) {
        match spaces::protection(key.space()) {
            Protection::Control => {
                self.rows = self.rows.saturating_sub(1);
                self.sum = self.sum.minus(self.sum_of(key, row));
            }
            Protection::Tombstone => {
                let sum = self.sum_of(key, row);
                self.tombstones = self.tombstones.map(|all| all.minus(sum));
            }
            Protection::Sealed | Protection::Tag | Protection::Encrypted => {}
        }
    }

    /// Returns whether rows are verified and trusted in the same way as by `other`.
    pub(super) fn trusts_as(&self, other: &ControlState) -> bool {
        let next = |state: &ControlState| state.next_key.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.key, &other.key) && next(self) == next(other) && self.is_sound == other.is_sound
    }

    /// Returns whether the control rows and the tombstones are those that the vault wrote, as far as is known.
    pub(super) fn is_intact(&self) -> bool {
        self.is_sound && self.tombstones.is_some()
    }

    /// Returns how far the control rows have come.
    pub(super) fn position(&self) -> ControlPosition {
        ControlPosition { epoch: self.key.epoch(), changes: self.changes }
    }

    fn counts(&self) -> ControlCounts {
        ControlCounts { changes: self.changes, rows: self.rows, sum: self.is_sound.then_some(self.sum) }
    }

    /// Returns the manifest of the control rows.
    pub(super) fn manifest(&self) -> RowChange {
        let row = ControlManifestRow {
            is_sound: self.is_sound,
            epoch: self.key.epoch(),
            changes: self.changes,
            rows: self.rows,
            tag: self.key.manifest_tag(&self.counts()),
        };
        RowChange::Put(RowKey::control_manifest(), row.encode())
    }

    /// Returns whether a stored manifest is that of the control rows that were added. Adopts its count of changes if it is
    /// authentic.
    pub(super) fn adopt_manifest(&mut self, manifest: &ControlManifestRow) -> bool {
        let ControlManifestRow { is_sound, epoch, changes, rows, tag } = *manifest;
        let counts = ControlCounts { changes, rows, sum: is_sound.then_some(self.sum) };
        let is_own = epoch == self.key.epoch() && self.key.manifest_tag_verifies(&counts, &tag);
        if is_own {
            self.changes = changes;
        }
        is_own && is_sound && rows == self.rows
    }

    /// Returns the row of the tombstones' sum, without its tag, if the sum is known.
    pub(super) fn tombstone_sum(&self) -> Option<RowChange> {
        let nonce = self.tombstone_nonce;
        let row = TombstoneSumRow { nonce, masked: self.key.masked(self.tombstones?, &nonce) };
        Some(RowChange::Put(RowKey::tombstone_sum(), row.encode()))
    }

    /// Adopts the stored sum of the tombstones.
    pub(super) fn adopt_tombstone_sum(&mut self, row: &TombstoneSumRow) {
        self.tombstone_nonce = row.nonce;
        self.tombstones = Some(self.key.unmasked(row.masked, &row.nonce));
    }
}

/// Removes the proof from the row of a generation that is not trusted.
fn unproven(key: &RowKey, row: Row) -> Row {
    match GenerationRow::decode(&row) {
        Ok(generation) if key.space() == RowName::GENERATIONS => {
            GenerationRow { proven_at_ms: None, ..generation }.encode()
        }
        _ => row,
    }
}
