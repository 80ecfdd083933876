//! From which kid records are moved, and to which key.

use crate::known_generation::KnownGeneration;
use crate::ledger::Ledger;
use masker_core::{
    crypto::{Fingerprint, Index},
    keyring::{Generation, Keyring},
};
use masker_store::record::{Record, RotationRow};
use masker_types::kind::Kid;

/// From which kid records are moved, and to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMove {
    pub(crate) source_kid: Kid,
    pub(crate) target: (Kid, Fingerprint),
}

impl KeyMove {
    pub(super) fn of(row: &RotationRow) -> Self {
        KeyMove { source_kid: row.source_kid, target: (row.target_kid, Fingerprint::from_bytes(row.target)) }
    }

    /// Returns whether records under this generation must be moved.
    pub(super) fn has_source(&self, name: (Kid, Fingerprint)) -> bool {
        name.0 == self.source_kid && name != self.target
    }

    /// Returns whether this record must be moved.
    pub(super) fn moves(&self, record: &Record) -> bool {
        self.has_source((record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)))
    }

    /// Returns whether a record of a value moves in the batch that moves another one: it has this index, and is under a key
    /// that records are moved from, or under a replaced key of the target's kid. A search under that kid reads the row of the
    /// replaced key before it reads those of other kids, so its tokens must come first under the target key too.
    pub(crate) fn takes_along(&self, row: &[u8], index: Index) -> bool {
        let Ok(record) = Record::decode(row) else { return false };
        let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
        record.value_index == Some(*index.as_bytes()) && self.is_source_of_search(name)
    }

    fn is_source_of_search(&self, name: (Kid, Fingerprint)) -> bool {
        self.has_source(name) || (name.0 == self.target.0 && name != self.target)
    }

    /// Returns the loaded keys whose rows lead to records that move together, in the order of a search under the target's kid.
    pub(crate) fn searched<'k>(&self, ring: &'k Keyring) -> Vec<&'k Generation> {
        let source = Some(self.source_kid).filter(|source| *source != self.target.0);
        let kids = std::iter::once(self.target.0).chain(source);
        let generations = kids.filter_map(|kid| ring.get(kid)).flat_map(|pair| pair.generations());
        generations.filter(|one| self.is_source_of_search((one.kid(), one.fingerprint()))).collect()
    }

    /// Returns the generations from which records are moved.
    pub(super) fn sources<'l>(
        &self,
        ledger: &'l Ledger,
    ) -> impl Iterator<Item = ((Kid, Fingerprint), &'l KnownGeneration)> {
        let key_move = *self;
        ledger
            .generations_of(self.source_kid)
            .map(|(name, row)| (*name, row))
            .filter(move |(name, _)| key_move.has_source(*name))
    }

    /// Counts the records that are still to be moved, and the index rows under the keys that they are moved from.
    pub(super) fn remaining(&self, ledger: &Ledger) -> (u64, u64) {
        self.sources(ledger).fold((0, 0), |(records, rows), (_, row)| (records + row.records, rows + row.index_rows))
    }
}
