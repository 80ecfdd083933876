//! The search that keeps one token for one value: before, during and after a rotation.
//!
//! The search tries, in this order: the value's id by the active key, an alias by the active key, its id by the old key,
//! an alias by the old key. Requests search first; the writer repeats the whole search immediately before it writes.

use std::collections::{HashMap, HashSet};

use super::ItemFailure;
use masker_core::{
    crypto::{GenerationKeys, TokenId},
    keyring::{Generation, KeyPair},
    token::Token,
};
use masker_store::{
    Row, RowKey, Store, StoreError,
    record::{Alias, Record},
};
use masker_types::{
    kind::{Context, EntityKind, Kid},
    mode::Mode,
};

/// The search for one value: the ids that it can have.
pub(super) struct ValueQuery<'k> {
    pair: &'k KeyPair,
    mode: Mode,
    ids: CandidateIds,
}

/// The ids of a value under the generations of a key.
#[derive(Clone, Copy)]
pub(super) struct CandidateIds {
    /// The id by the active key, which a token minted now gets.
    active: TokenId,
    old: Option<TokenId>,
}

fn row_keys(id: TokenId) -> [RowKey; 2] {
    [RowKey::record(id.as_bytes()), RowKey::alias(id.as_bytes())]
}

/// A record of the value, by what its token says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MatchedRecord {
    pub(super) kind: EntityKind,
    pub(super) minted_kid: Kid,
    pub(super) id: TokenId,
}

impl MatchedRecord {
    /// Returns the token's text.
    pub(super) fn token(&self) -> String {
        Token::Vault { kind: self.kind, kid: self.minted_kid, id: self.id }.to_text()
    }

    fn of(id: TokenId, row: &Row) -> Option<Self> {
        let record = Record::decode(row).ok()?;
        Some(MatchedRecord { kind: record.kind, minted_kid: record.minted_kid, id })
    }
}

impl<'k> ValueQuery<'k> {
    /// Computes the ids of a value under every loaded generation of its kid.
    pub(super) fn new(keys: &'k KeyPair, mode: Mode, kind: EntityKind, context: Context<'_>, normal: &str) -> Self {
        let id = |generation: &Generation| generation.keys(mode).token_id(kind, context, normal);
        ValueQuery::of(keys, mode, CandidateIds { active: id(keys.active()), old: keys.old().map(id) })
    }

    /// Takes ids that were computed before, by the same keys.
    pub(super) fn of(pair: &'k KeyPair, mode: Mode, ids: CandidateIds) -> Self {
        ValueQuery { pair, mode, ids }
    }

    /// Returns the ids, to be kept.
    pub(super) fn ids(&self) -> CandidateIds {
        self.ids
    }

    /// Returns the kid whose keys it searches under.
    pub(super) fn kid(&self) -> Kid {
        self.pair.active().kid()
    }

    /// Returns the id under the active key, which a token minted now gets.
    pub(super) fn active_id(&self) -> TokenId {
        self.ids.active
    }

    /// Returns the loaded keys, the active one first, each with the id by it.
    fn generations(&self) -> impl Iterator<Item = (&'k GenerationKeys, TokenId)> {
        let (mode, ids) = (self.mode, [Some(self.ids.active), self.ids.old]);
        self.pair.generations().map(move |generation| generation.keys(mode)).zip(ids.into_iter().flatten())
    }
}

/// Returns the first record that each query finds. Most values are found under their active id, so the rest of the search
/// is made only for the others, and only if there is an old key or an alias.
pub(super) async fn find_first(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    aliases: bool,
    damage: &impl Fn(),
) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, StoreError> {
    let keys = queries.iter().map(|query| RowKey::record(query.active_id().as_bytes())).collect();
    let mut found = Vec::with_capacity(queries.len());
    let mut positions = Vec::new();
    let mut rest = Vec::new();
    for (query, row) in queries.iter().zip(store.get_many(keys).await?) {
        if row.is_none() && (aliases || query.ids.old.is_some()) {
            positions.push(found.len());
            rest.push(*query);
        }
        found
            .push(row.map(|row| MatchedRecord::of(query.active_id(), &row).ok_or_else(|| damaged(damage))).transpose());
    }
    if !rest.is_empty() {
        for (position, hits) in positions.into_iter().zip(find_all(store, &rest, damage).await?) {
            found[position] = hits.map(|hits| hits.first().copied());
        }
    }
    Ok(found)
}

fn damaged(damage: &impl Fn()) -> ItemFailure {
    damage();
    ItemFailure::Damaged
}

/// A row that a query found: a record, or an alias whose record is still to be read.
enum Hit {
    Record(MatchedRecord),
    Alias { index: TokenId, target: TokenId },
}

/// Returns every record that each query finds, in the order of the search and without repeats.
///
/// An alias that does not verify is damage and not a hit; a row that does not decode fails its query. `damage` is
/// called for each.
pub(super) async fn find_all(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    damage: &impl Fn(),
) -> Result<Vec<Result<Vec<MatchedRecord>, ItemFailure>>, StoreError> {
    // A rotation may move an alias from the old key to the active one meanwhile. Reading in the direction of the move finds
    // at least one of them; reading in the other could miss both.
    let old_keys: Vec<RowKey> = queries.iter().filter_map(|query| query.ids.old).flat_map(row_keys).collect();
    let old_rows = if old_keys.is_empty() { Vec::new() } else { store.get_many(old_keys).await? };
    let active_rows = store.get_many(queries.iter().flat_map(|query| row_keys(query.active_id())).collect()).await?;
    let (mut active_rows, mut old_rows) = (active_rows.into_iter(), old_rows.into_iter());
    let mut hits: Vec<Result<Vec<Hit>, ItemFailure>> = Vec::with_capacity(queries.len());
    let mut targets = Vec::new();
    for query in queries {
        let mut query_hits = Ok(Vec::new());
        for (position, (keys, id)) in query.generations().enumerate() {
            let rows = if position == 0 { &mut active_rows } else { &mut old_rows };
            let (record, alias) = (rows.next().flatten(), rows.next().flatten());
            for hit in [record.map(|row| record_hit(id, &row)), alias.map(|row| alias_hit(keys, id, &row))] {
                match (hit, &mut query_hits) {
                    (Some(Ok(hit)), Ok(query_hits)) => {
                        targets.extend(hit.target());
                        query_hits.push(hit);
                    }
                    (Some(Err(UnverifiedRow::Alias)), Ok(_)) => damage(),
                    (Some(Err(UnverifiedRow::Row)), _) => query_hits = Err(damaged(damage)),
                    (_, Err(_)) | (None, _) => {}
                }
            }
        }
        hits.push(query_hits);
    }

    let records = resolve_targets(store, targets).await?;
    // An alias is removed in the same batch as its record. If the record is missing, the alias is gone by now or is damage.
    let dangling = hits.iter().flatten().flatten().filter_map(|hit| match hit {
        Hit::Alias { index, target } if !records.contains_key(target) => Some(*index),
        _ => None,
    });
    let dangling: Vec<TokenId> = dangling.collect();
    let mut still_stored = HashSet::new();
    if !dangling.is_empty() {
        let rows = store.get_many(dangling.iter().map(|index| RowKey::alias(index.as_bytes())).collect()).await?;
        still_stored.extend(dangling.into_iter().zip(rows).filter_map(|(index, row)| row.map(|_| index)));
    }
    let resolve = |query_hits: Vec<Hit>| {
        let mut found: Vec<MatchedRecord> = Vec::with_capacity(query_hits.len());
        for hit in query_hits {
            let hit = match hit {
                Hit::Record(record) => record,
                Hit::Alias { index, target } => match records.get(&target) {
                    Some(record) => *record,
                    None if still_stored.contains(&index) => return Err(damaged(damage)),
                    None => continue,
                },
            };
            if !found.contains(&hit) {
                found.push(hit);
            }
        }
        Ok(found)
    };
    Ok(hits.into_iter().map(|query_hits| query_hits.and_then(resolve)).collect())
}

/// Reads the records that aliases lead to; leaves out those that are missing or do not decode.
async fn resolve_targets(
    store: &dyn Store,
    targets: Vec<TokenId>,
) -> Result<HashMap<TokenId, MatchedRecord>, StoreError> {
    if targets.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = store.get_many(targets.iter().map(|id| RowKey::record(id.as_bytes())).collect()).await?;
    Ok(targets.into_iter().zip(rows).filter_map(|(id, row)| Some((id, MatchedRecord::of(id, &row?)?))).collect())
}

impl Hit {
    fn target(&self) -> Option<TokenId> {
        match self {
            Hit::Record(_) => None,
            Hit::Alias { target, .. } => Some(*target),
        }
    }
}

/// Why a row is not what was written.
enum UnverifiedRow {
    /// It does not decode.
    Row,
    /// It is an alias whose tag does not verify.
    Alias,
}

fn record_hit(id: TokenId, row: &Row) -> Result<Hit, UnverifiedRow> {
    MatchedRecord::of(id, row).map(Hit::Record).ok_or(UnverifiedRow::Row)
}

fn alias_hit(keys: &GenerationKeys, index: TokenId, row: &Row) -> Result<Hit, UnverifiedRow> {
    let alias = Alias::decode(row).map_err(|_| UnverifiedRow::Row)?;
    let target = TokenId::from_bytes(alias.target);
    if keys.alias_verifies(index, target, &alias.tag) {
        Ok(Hit::Alias { index, target })
    } else {
        Err(UnverifiedRow::Alias)
    }
}
