//! Moves one record to another key: opens it, and seals it again under its indexes there.

use rand::CryptoRng;

use crate::records::{self, MintedToken, RecordIndexes};
use masker_core::{
    crypto::{GenerationKeys, Index, RecordPayload, TokenId},
    keyring::{Generation, Keyring},
    normalize::Normalizer,
};
use masker_store::{
    Row,
    record::{Record, ResealFailure},
};
use masker_types::mode::Mode;

/// A record to be moved, as it was read.
pub(crate) struct VisitedRecord {
    pub(crate) id: TokenId,
    pub(crate) row: Row,
    /// See [`ResealedRecord::sources`].
    pub(crate) sources: Vec<Index>,
}

impl VisitedRecord {
    /// Creates a record from its row. `generations` are those that records are moved from.
    pub(crate) fn new(ring: &Keyring, generations: &[&Generation], id: TokenId, row: Row, record: &Record) -> Self {
        let Some(own) = RecordIndexes::of(record).value else { return VisitedRecord { id, row, sources: Vec::new() } };
        let mut sources = vec![own];
        // Usually there is one, and what it lists is known without opening the record.
        if generations.len() > 1
            && let Some(Ok((mode, opened))) = records::open_in_either_mode(ring, id, record)
        {
            let RecordPayload { context, value, .. } = opened.payload();
            let indexes = generations.iter().map(|one| one.keys(mode).value_index(record.kind, context, value));
            sources = indexes.collect();
        }
        VisitedRecord { id, row, sources }
    }
}

/// A record to be written under the target key.
pub(crate) struct ResealedRecord {
    pub(crate) id: TokenId,
    /// The row that was read. If the store has another one by now, the record is not written.
    pub(crate) before: Row,
    /// The record to write.
    pub(crate) after: Record,
    /// The mode that the record is sealed in.
    pub(crate) mode: Mode,
    /// The normalizer of its form index.
    pub(crate) normalizer: Normalizer,
    /// The indexes of its value under every loaded key that records are moved from, in the order of a search. All records that
    /// they list move together.
    pub(crate) sources: Vec<Index>,
}

impl ResealedRecord {
    /// Returns the target's keys in the mode of the record; `None` if the target is not loaded.
    pub(crate) fn target_keys<'k>(&self, ring: &'k Keyring) -> Option<&'k GenerationKeys> {
        ring.get(self.after.sealing_kid).map(|pair| pair.active().keys(self.mode))
    }
}

/// Seals a record under the target. The token does not change: kind, kid and id stay those under which it was minted, and a
/// honeytoken stays without indexes.
///
/// # Errors
/// Why the record cannot be moved.
pub(crate) fn reseal(
    ring: &Keyring,
    target: &Generation,
    VisitedRecord { id, row, sources }: &VisitedRecord,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> Result<ResealedRecord, ResealFailure> {
    let record = Record::decode(row).map_err(|_| ResealFailure::Undecodable)?;
    let opened = records::open_in_either_mode(ring, *id, &record).ok_or(ResealFailure::KeyNotLoaded)?;
    let (mode, opened) = opened.map_err(|_| ResealFailure::DoesNotOpen)?;
    let (keys, payload) = (target.keys(mode), opened.payload());
    let indexes = match record.value_index {
        Some(_) => RecordIndexes::compute(keys, record.kind, &payload),
        None => RecordIndexes::default(),
    };
    let after = records::seal(keys, &MintedToken::of(*id, &record), indexes, &payload, now_ms, rng);
    let (before, sources) = (row.clone(), sources.clone());
    Ok(ResealedRecord { id: *id, before, after, mode, normalizer: opened.normalizer(), sources })
}
