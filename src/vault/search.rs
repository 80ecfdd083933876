//! The search that keeps one token for one value: before, during and after a rotation.
//!
//! A value is looked for under its id by the active key, an alias by the active key, its id by the old key, an alias by
//! the old key, in this order. Requests search first; the writer repeats the whole search immediately before it writes.

use std::collections::HashMap;

use super::Failure;
use crate::{
    crypto::{GenerationKeys, TokenId, World},
    keyring::KeyPair,
    kind::{Context, EntityKind, Kid},
    store::{
        Row, RowKey, Store, StoreError,
        record::{Alias, Record},
    },
    token::Token,
};

/// The names under which one value can be found.
pub(super) struct Query<'k> {
    generations: Vec<(&'k GenerationKeys, TokenId)>,
}

/// A record that stands for the value: what its token says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: EntityKind,
    pub(super) minted_kid: Kid,
    pub(super) id: TokenId,
}

impl Found {
    /// The token's text.
    pub(super) fn token(&self) -> String {
        Token::Vault { kind: self.kind, kid: self.minted_kid, id: self.id }.to_text()
    }

    fn of(id: TokenId, row: &Row) -> Option<Self> {
        let record = Record::decode(row).ok()?;
        Some(Found { kind: record.kind, minted_kid: record.minted_kid, id })
    }
}

impl<'k> Query<'k> {
    /// The names of a value under every loaded generation of its kid.
    pub(super) fn new(keys: &'k KeyPair, world: World, kind: EntityKind, context: Context<'_>, normal: &str) -> Self {
        let generations = keys
            .generations()
            .map(|generation| {
                let keys = generation.keys(world);
                (keys, keys.token_id(kind, context, normal))
            })
            .collect();
        Query { generations }
    }

    /// The id under the active key: that of a token minted now.
    pub(super) fn active_id(&self) -> TokenId {
        self.generations[0].1
    }

    fn row_keys(&self) -> impl Iterator<Item = RowKey> + '_ {
        self.generations.iter().flat_map(|(_, id)| [RowKey::record(id.as_bytes()), RowKey::alias(id.as_bytes())])
    }
}

/// The first record that each query finds. Most values are found under their active id at once, so the rest of the
/// search is made only for those that are not, and only where there can be more: an old key or an alias.
pub(super) async fn find_first(
    store: &dyn Store,
    queries: &[&Query<'_>],
    aliases: bool,
    damage: &impl Fn(),
) -> Result<Vec<Result<Option<Found>, Failure>>, StoreError> {
    let keys = queries.iter().map(|query| RowKey::record(query.active_id().as_bytes())).collect();
    let mut found = Vec::with_capacity(queries.len());
    let mut places = Vec::new();
    let mut rest = Vec::new();
    for (query, row) in queries.iter().zip(store.get_many(keys).await?) {
        if row.is_none() && (aliases || query.generations.len() > 1) {
            places.push(found.len());
            rest.push(*query);
        }
        found.push(row.map(|row| Found::of(query.active_id(), &row).ok_or_else(|| damaged(damage))).transpose());
    }
    if !rest.is_empty() {
        for (place, hits) in places.into_iter().zip(find_all(store, &rest, damage).await?) {
            found[place] = hits.map(|hits| hits.first().copied());
        }
    }
    Ok(found)
}

fn damaged(damage: &impl Fn()) -> Failure {
    damage();
    Failure::Damaged
}

/// What a query met: a record, or an alias that names one which is still to be read.
enum Hit {
    Record(Found),
    Target(TokenId),
}

/// What each query finds: every record that stands for the value, in the order of the search and without repeats.
///
/// An alias that does not verify is damage and not a hit; a row that does not decode fails its query. `damage` is
/// called for each.
pub(super) async fn find_all(
    store: &dyn Store,
    queries: &[&Query<'_>],
    damage: &impl Fn(),
) -> Result<Vec<Result<Vec<Found>, Failure>>, StoreError> {
    let keys: Vec<RowKey> = queries.iter().flat_map(|query| query.row_keys()).collect();
    let mut rows = store.get_many(keys).await?.into_iter();
    let mut hits: Vec<Result<Vec<Hit>, Failure>> = Vec::with_capacity(queries.len());
    let mut targets = Vec::new();
    for query in queries {
        let mut met = Ok(Vec::new());
        for (keys, id) in &query.generations {
            let (record, alias) = (rows.next().flatten(), rows.next().flatten());
            for hit in [record.map(|row| record_hit(*id, &row)), alias.map(|row| alias_hit(keys, *id, &row))] {
                match (hit, &mut met) {
                    (Some(Ok(hit)), Ok(met)) => {
                        targets.extend(hit.target());
                        met.push(hit);
                    }
                    (Some(Err(Unverified::Alias)), Ok(_)) => damage(),
                    (Some(Err(Unverified::Row)), _) => met = Err(damaged(damage)),
                    (_, Err(_)) | (None, _) => {}
                }
            }
        }
        hits.push(met);
    }

    let mut records = HashMap::with_capacity(targets.len());
    if !targets.is_empty() {
        let keys = targets.iter().map(|id| RowKey::record(id.as_bytes())).collect();
        for (id, row) in targets.into_iter().zip(store.get_many(keys).await?) {
            records.insert(id, row.and_then(|row| Found::of(id, &row)));
        }
    }
    let resolve = |met: Vec<Hit>| {
        let mut found: Vec<Found> = Vec::with_capacity(met.len());
        for hit in met {
            let hit = match hit {
                Hit::Record(record) => record,
                // An alias and its record come and go in one batch: an alias that leads nowhere is damage.
                Hit::Target(id) => records.get(&id).copied().flatten().ok_or_else(|| damaged(damage))?,
            };
            if !found.contains(&hit) {
                found.push(hit);
            }
        }
        Ok(found)
    };
    Ok(hits.into_iter().map(|met| met.and_then(resolve)).collect())
}

impl Hit {
    fn target(&self) -> Option<TokenId> {
        match self {
            Hit::Record(_) => None,
            Hit::Target(id) => Some(*id),
        }
    }
}

/// How a row can fail to be what was written.
enum Unverified {
    /// It does not decode.
    Row,
    /// It is an alias that its key does not vouch for.
    Alias,
}

fn record_hit(id: TokenId, row: &Row) -> Result<Hit, Unverified> {
    Found::of(id, row).map(Hit::Record).ok_or(Unverified::Row)
}

fn alias_hit(keys: &GenerationKeys, index: TokenId, row: &Row) -> Result<Hit, Unverified> {
    let alias = Alias::decode(row).map_err(|_| Unverified::Row)?;
    let target = TokenId::from_bytes(alias.target);
    if keys.alias_verifies(index, target, &alias.tag) { Ok(Hit::Target(target)) } else { Err(Unverified::Alias) }
}
