//! The search that keeps one token for one value: before, during and after a rotation.
//!
//! A value is looked for under its id by the active key, an alias by the active key, its id by the old key, an alias by
//! the old key, in this order. Requests search first; the writer repeats the whole search immediately before it writes.

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

/// The names under which one value can be found.
pub(super) struct ValueQuery<'k> {
    pair: &'k KeyPair,
    mode: Mode,
    ids: CandidateIds,
}

/// The ids of a value under the generations of a key.
#[derive(Clone, Copy)]
pub(super) struct CandidateIds {
    /// By the active key: that of a token minted now.
    active: TokenId,
    old: Option<TokenId>,
}

fn row_keys(id: TokenId) -> [RowKey; 2] {
    [RowKey::record(id.as_bytes()), RowKey::alias(id.as_bytes())]
}

/// A record that stands for the value: what its token says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MatchedRecord {
    pub(super) kind: EntityKind,
    pub(super) minted_kid: Kid,
    pub(super) id: TokenId,
}

impl MatchedRecord {
    /// The token's text.
    pub(super) fn token(&self) -> String {
        Token::Vault { kind: self.kind, kid: self.minted_kid, id: self.id }.to_text()
    }

    fn of(id: TokenId, row: &Row) -> Option<Self> {
        let record = Record::decode(row).ok()?;
        Some(MatchedRecord { kind: record.kind, minted_kid: record.minted_kid, id })
    }
}

impl<'k> ValueQuery<'k> {
    /// The names of a value under every loaded generation of its kid.
    pub(super) fn new(keys: &'k KeyPair, mode: Mode, kind: EntityKind, context: Context<'_>, normal: &str) -> Self {
        let id = |generation: &Generation| generation.keys(mode).token_id(kind, context, normal);
        ValueQuery::of(keys, mode, CandidateIds { active: id(keys.active()), old: keys.old().map(id) })
    }

    /// The same names, once they are known: they must be those by these very keys.
    pub(super) fn of(pair: &'k KeyPair, mode: Mode, ids: CandidateIds) -> Self {
        ValueQuery { pair, mode, ids }
    }

    /// Its names, to be kept.
    pub(super) fn ids(&self) -> CandidateIds {
        self.ids
    }

    /// The kid whose keys it searches under.
    pub(super) fn kid(&self) -> Kid {
        self.pair.active().kid()
    }

    /// The id under the active key: that of a token minted now.
    pub(super) fn active_id(&self) -> TokenId {
        self.ids.active
    }

    /// The loaded keys, the active one first, each with the id by it.
    fn generations(&self) -> impl Iterator<Item = (&'k GenerationKeys, TokenId)> {
        let (mode, ids) = (self.mode, [Some(self.ids.active), self.ids.old]);
        self.pair.generations().map(move |generation| generation.keys(mode)).zip(ids.into_iter().flatten())
    }
}

/// The first record that each query finds. Most values are found under their active id at once, so the rest of the
/// search is made only for those that are not, and only where there can be more: an old key or an alias.
pub(super) async fn find_first(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    aliases: bool,
    damage: &impl Fn(),
) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, StoreError> {
    let keys = queries.iter().map(|query| RowKey::record(query.active_id().as_bytes())).collect();
    let mut found = Vec::with_capacity(queries.len());
    let mut places = Vec::new();
    let mut rest = Vec::new();
    for (query, row) in queries.iter().zip(store.get_many(keys).await?) {
        if row.is_none() && (aliases || query.ids.old.is_some()) {
            places.push(found.len());
            rest.push(*query);
        }
        found
            .push(row.map(|row| MatchedRecord::of(query.active_id(), &row).ok_or_else(|| damaged(damage))).transpose());
    }
    if !rest.is_empty() {
        for (place, hits) in places.into_iter().zip(find_all(store, &rest, damage).await?) {
            found[place] = hits.map(|hits| hits.first().copied());
        }
    }
    Ok(found)
}

fn damaged(damage: &impl Fn()) -> ItemFailure {
    damage();
    ItemFailure::Damaged
}

/// What a query met: a record, or an alias that names one which is still to be read.
enum Hit {
    Record(MatchedRecord),
    Alias { index: TokenId, target: TokenId },
}

/// What each query finds: every record that stands for the value, in the order of the search and without repeats.
///
/// An alias that does not verify is damage and not a hit; a row that does not decode fails its query. `damage` is
/// called for each.
pub(super) async fn find_all(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    damage: &impl Fn(),
) -> Result<Vec<Result<Vec<MatchedRecord>, ItemFailure>>, StoreError> {
    // A rotation moves aliases from the old key to the active one while this reads. Read in the direction of the move, one
    // of them is met; in the other, neither may be.
    let old_keys: Vec<RowKey> = queries.iter().filter_map(|query| query.ids.old).flat_map(row_keys).collect();
    let old_rows = if old_keys.is_empty() { Vec::new() } else { store.get_many(old_keys).await? };
    let active_rows = store.get_many(queries.iter().flat_map(|query| row_keys(query.active_id())).collect()).await?;
    let (mut active_rows, mut old_rows) = (active_rows.into_iter(), old_rows.into_iter());
    let mut hits: Vec<Result<Vec<Hit>, ItemFailure>> = Vec::with_capacity(queries.len());
    let mut targets = Vec::new();
    for query in queries {
        let mut met = Ok(Vec::new());
        for (place, (keys, id)) in query.generations().enumerate() {
            let rows = if place == 0 { &mut active_rows } else { &mut old_rows };
            let (record, alias) = (rows.next().flatten(), rows.next().flatten());
            for hit in [record.map(|row| record_hit(id, &row)), alias.map(|row| alias_hit(keys, id, &row))] {
                match (hit, &mut met) {
                    (Some(Ok(hit)), Ok(met)) => {
                        targets.extend(hit.target());
                        met.push(hit);
                    }
                    (Some(Err(UnverifiedRow::Alias)), Ok(_)) => damage(),
                    (Some(Err(UnverifiedRow::Row)), _) => met = Err(damaged(damage)),
                    (_, Err(_)) | (None, _) => {}
                }
            }
        }
        hits.push(met);
    }

    let records = resolve_targets(store, targets).await?;
    // An alias and its record go in one batch. One whose record was not there has gone meanwhile, or is damage.
    let astray = hits.iter().flatten().flatten().filter_map(|hit| match hit {
        Hit::Alias { index, target } if !records.contains_key(target) => Some(*index),
        _ => None,
    });
    let astray: Vec<TokenId> = astray.collect();
    let mut still_there = HashSet::new();
    if !astray.is_empty() {
        let rows = store.get_many(astray.iter().map(|index| RowKey::alias(index.as_bytes())).collect()).await?;
        still_there.extend(astray.into_iter().zip(rows).filter_map(|(index, row)| row.map(|_| index)));
    }
    let resolve = |met: Vec<Hit>| {
        let mut found: Vec<MatchedRecord> = Vec::with_capacity(met.len());
        for hit in met {
            let hit = match hit {
                Hit::Record(record) => record,
                Hit::Alias { index, target } => match records.get(&target) {
                    Some(record) => *record,
                    None if still_there.contains(&index) => return Err(damaged(damage)),
                    None => continue,
                },
            };
            if !found.contains(&hit) {
                found.push(hit);
            }
        }
        Ok(found)
    };
    Ok(hits.into_iter().map(|met| met.and_then(resolve)).collect())
}

/// The records that aliases lead to, but for those that are not there or do not decode.
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

/// How a row can fail to be what was written.
enum UnverifiedRow {
    /// It does not decode.
    Row,
    /// It is an alias that its key does not vouch for.
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
