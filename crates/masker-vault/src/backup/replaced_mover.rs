//! Moves the vault's own records of the values of an import to active keys.
//!
//! A search reads the value's row under the active key of a kid before that under the replaced one. An import adds to the
//! former. So the records of its values that are under replaced keys move first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::merge::MergeItem;
use crate::{
    VaultError,
    keys::KeysInForce,
    ledger::Ledger,
    parallel_map,
    reader::Reader,
    records,
    rotation::{KeyMove, MoveSet, VisitedRecord, listed_ids, moving_together, reseal},
    search::searched_pairs,
    writer::WriterHandle,
};
use masker_core::{
    crypto::{Index, TokenId},
    keyring::{Generation, Keyring},
};
use masker_store::{RowKey, StoreError, record::Record};
use masker_types::kind::Kid;

/// Moves the vault's records of the values of an import from replaced keys to active ones.
pub(super) struct ReplacedMover {
    pub(super) reader: Arc<Reader>,
    pub(super) writer: Arc<WriterHandle>,
}

impl ReplacedMover {
    /// Moves the records of the values that an import adds tokens to. Returns whether it was as prepared under these keys;
    /// repeat it otherwise.
    pub(super) async fn move_replaced(
        &self,
        keys: &KeysInForce,
        ledger: &Ledger,
        incoming: &[MergeItem],
        restore_erased: bool,
        now_ms: u64,
    ) -> Result<bool, VaultError> {
        let mut by_kid: BTreeMap<Kid, Vec<(TokenId, &Record)>> = BTreeMap::new();
        for (id, record) in self.added(incoming, restore_erased).await? {
            let pairs = searched_pairs(&keys.ring, ledger, record.sealing_kid);
            for pair in pairs.filter(|pair| pair.generations().count() > 1) {
                by_kid.entry(pair.active().kid()).or_default().push((id, record));
            }
        }
        for (kid, records) in by_kid {
            let Some(pair) = keys.ring.get(kid) else { continue };
            let key_move = KeyMove { source_kid: kid, target: (kid, pair.active().fingerprint()) };
            let visited = self.replaced_records(&keys.ring, key_move, &records).await?;
            let reseal =
                |one: &VisitedRecord| (one.id, reseal(&keys.ring, pair.active(), one, now_ms, &mut rand::rng()));
            let (mut resealed, mut failed) = (Vec::new(), Vec::new());
            for (id, one) in parallel_map::map(&visited, reseal) {
                match one {
                    Ok(one) => resealed.push(one),
                    Err(why) => failed.push((id, why)),
                }
            }
            let records = MoveSet { key_move, epoch: keys.ring.epoch(), resealed, failed };
            // A record that failed to move keeps the import from adding to its value.
            if !records.resealed.is_empty() && self.writer.commit(records).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the records with an index that the merge adds: the vault does not have them, and they stay erased if they
    /// were.
    async fn added<'i>(
        &self,
        incoming: &'i [MergeItem],
        restore_erased: bool,
    ) -> Result<Vec<(TokenId, &'i Record)>, StoreError> {
        let records = incoming.iter().filter_map(|item| match item {
            MergeItem::Record { id, record, erased } if restore_erased || !erased => Some((*id, record.as_ref())),
            _ => None,
        });
        let records: Vec<(TokenId, &Record)> = records.filter(|(_, record)| record.value_index.is_some()).collect();
        let held = |key: fn(&[u8; 20]) -> RowKey| {
            self.reader.store().get_many(records.iter().map(|(id, _)| key(id.as_bytes())).collect())
        };
        let mut is_left_out: Vec<bool> = held(RowKey::record).await?.iter().map(Option::is_some).collect();
        if !restore_erased {
            let tombstones = held(RowKey::tombstone).await?;
            is_left_out.iter_mut().zip(tombstones).for_each(|(left_out, tombstone)| *left_out |= tombstone.is_some());
        }
        Ok(records.into_iter().zip(is_left_out).filter(|(_, left_out)| !left_out).map(|(one, _)| one).collect())
    }

    /// Returns the vault's records of the values of these that are under replaced keys.
    async fn replaced_records(
        &self,
        ring: &Keyring,
        key_move: KeyMove,
        incoming: &[(TokenId, &Record)],
    ) -> Result<Vec<VisitedRecord>, StoreError> {
        let store = self.reader.store();
        let generations = key_move.searched(ring);
        let sources = parallel_map::map(incoming, |(id, record)| {
            let (mode, opened) = records::open_in_either_mode(ring, *id, record)?.ok()?;
            let payload = opened.payload();
            let index = |one: &&Generation| one.keys(mode).value_index(record.kind, payload.context, payload.value);
            Some(generations.iter().map(index).collect::<Vec<Index>>())
        });
        // Two records of an import can be of one value.
        let sources: BTreeSet<Vec<Index>> = sources.into_iter().flatten().collect();
        let values: Vec<&[Index]> = sources.iter().map(Vec::as_slice).collect();
        let mut visited = Vec::new();
        for (sources, listed) in values.iter().zip(listed_ids(store, &values).await?) {
            visited.extend(moving_together(store, key_move, sources, listed).await?);
        }
        Ok(visited)
    }
}
