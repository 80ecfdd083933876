//! Tokens that stay the first of their value when an import adds another one.
//!
//! A search reads the value's row under the active key before that under a replaced key of the kid. An import appends to the
//! former. So the records of its values that are under the replaced key move first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::merge::MergeItem;
use crate::{
    VaultError,
    keys::KeysInForce,
    parallel_map,
    reader::Reader,
    records,
    rotation::{KeyMove, MoveSet, VisitedRecord, listed_ids, moving_together, reseal},
    writer::{Change, CommitDraft, Lane, ReadPlan, WriterHandle},
};
use masker_core::{
    crypto::{Index, TokenId},
    keyring::{Generation, Keyring},
};
use masker_store::{RowKey, StoreError, record::Record};
use masker_types::kind::Kid;

/// Moves records to the active key of their kid. The outcome is whether they were as prepared, and otherwise nothing is
/// written.
struct ForwardChange(MoveSet);

impl Change for ForwardChange {
    type Outcome = bool;

    fn row_count(&self) -> usize {
        5 * self.0.resealed.len()
    }

    fn lane(&self) -> Lane {
        Lane::Background
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.0.plan_reads(plan);
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> bool {
        // A record that failed to move keeps the import from adding to its value.
        self.0.apply(draft).is_some()
    }
}

/// Moves the vault's records of the values of an import to the active keys of their kids.
pub(super) struct Forwarder {
    pub(super) reader: Arc<Reader>,
    pub(super) writer: Arc<WriterHandle>,
}

impl Forwarder {
    /// Moves what the import needs moved. Returns whether it was as prepared under these keys; repeat it otherwise.
    pub(super) async fn bring_forward(
        &self,
        keys: &KeysInForce,
        incoming: &[MergeItem],
        now_ms: u64,
    ) -> Result<bool, VaultError> {
        let mut by_kid: BTreeMap<Kid, Vec<(TokenId, &Record)>> = BTreeMap::new();
        for item in incoming {
            if let MergeItem::Record { id, record, .. } = item {
                by_kid.entry(record.sealing_kid).or_default().push((*id, record));
            }
        }
        for (kid, records) in by_kid {
            let Some(pair) = keys.ring.get(kid).filter(|pair| pair.generations().count() > 1) else { continue };
            let key_move = KeyMove { source_kid: kid, target: (kid, pair.active().fingerprint()) };
            let visited = self.held_records(&keys.ring, key_move, records).await?;
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
            if !records.resealed.is_empty() && !self.writer.commit(ForwardChange(records)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the records that the vault has under replaced keys for the values of these, which it does not have.
    async fn held_records(
        &self,
        ring: &Keyring,
        key_move: KeyMove,
        incoming: Vec<(TokenId, &Record)>,
    ) -> Result<Vec<VisitedRecord>, StoreError> {
        let store = self.reader.store();
        let keys = incoming.iter().map(|(id, _)| RowKey::record(id.as_bytes())).collect();
        let held = store.get_many(keys).await?;
        let new: Vec<_> =
            incoming.into_iter().zip(held).filter(|(_, held)| held.is_none()).map(|(new, _)| new).collect();
        let generations = key_move.searched(ring);
        let sources = parallel_map::map(&new, |(id, record)| {
            let (mode, opened) = records::open_in_either_mode(ring, *id, record)?.ok()?;
            record.value_index?;
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
