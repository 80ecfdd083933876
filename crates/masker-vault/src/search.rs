//! The search that keeps one token for one value: before, during and after a rotation.
//!
//! The search reads the value's index rows under every loaded generation of its kid, the active one first, then under those
//! of kids that records were moved from or to. Requests search first; the writer repeats the whole search immediately
//! before it writes.

use std::collections::HashMap;

use super::{
    ItemFailure, index_list,
    keys::CurrentKeys,
    ledger::{CurrentLedger, Ledger},
    rehydrate::check_reach,
};
use masker_access::{Permit, ScopedOperation};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, Index, TokenId},
    keyring::{KeyPair, Keyring, Role},
    normalize::Normalizer,
    token::Token,
};
use masker_store::{Row, RowKey, Store, StoreError, record::Record};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

/// The loaded generations to search under for values of one kid, in the order of the search. The first is the active one.
pub(crate) struct SearchKeys<'k> {
    kid: Kid,
    keys: Vec<&'k GenerationKeys>,
    /// Whether each is the active one of its kid.
    active: Vec<bool>,
}

/// What decides under which keys a search looks, and in which order it reads their rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SearchBasis {
    keyring_epoch: u64,
    kid_moves: usize,
    moving_to: Option<(Kid, Fingerprint)>,
}

impl SearchBasis {
    pub(crate) fn new(keyring: &Keyring, ledger: &Ledger) -> Self {
        SearchBasis {
            keyring_epoch: keyring.epoch(),
            kid_moves: ledger.kid_move_count(),
            moving_to: ledger.moving_to(),
        }
    }

    /// Returns the basis of a search that begins now. If another one is in force at its end, it may have missed records.
    pub(crate) fn current(keys: &CurrentKeys, ledger: &CurrentLedger) -> Self {
        Self::new(&keys.load().ring, &ledger.load())
    }
}

/// When the index row of a key is read, among those of one search.
///
/// A rotation or an import may move an entry meanwhile: from a replaced key to the active one, or to the target of the
/// rotation. Rows that entries move to are read after those that they come from, so each entry is found at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadTurn {
    Replaced,
    Active,
    RotationTarget,
}

impl<'k> SearchKeys<'k> {
    /// Returns the generations for a kid; `None` if it has no key.
    pub(crate) fn new(ring: &'k Keyring, ledger: &Ledger, kid: Kid, mode: Mode) -> Option<Self> {
        ring.get(kid)?;
        let generations = searched_pairs(ring, ledger, kid).flat_map(|pair| pair.generations());
        let (keys, active) =
            generations.map(|generation| (generation.keys(mode), generation.role() == Role::Active)).unzip();
        Some(SearchKeys { kid, keys, active })
    }

    /// Returns the active generation of the kid.
    pub(crate) fn active(&self) -> &'k GenerationKeys {
        self.keys[0]
    }

    /// Returns the generations, the active one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'k GenerationKeys> {
        self.keys.iter().copied()
    }

    /// Returns when the row of each key is read, in the order of the search.
    pub(crate) fn read_turns(&self, moving_to: Option<(Kid, Fingerprint)>) -> impl Iterator<Item = ReadTurn> {
        self.keys.iter().zip(&self.active).map(move |(keys, is_active)| match is_active {
            _ if Some((keys.kid(), keys.fingerprint())) == moving_to => ReadTurn::RotationTarget,
            true => ReadTurn::Active,
            false => ReadTurn::Replaced,
        })
    }

    /// Returns the kid.
    pub(crate) fn kid(&self) -> Kid {
        self.kid
    }

    /// Computes the indexes of a value, in the order of the search.
    pub(crate) fn value_indexes(&self, kind: EntityKind, context: Context<'_>, value: Value<'_>) -> Vec<Index> {
        self.iter().map(|keys| keys.value_index(kind, context, value)).collect()
    }

    /// Computes the indexes of a form, in the order of the search.
    pub(crate) fn form_indexes(
        &self,
        normalizer: Normalizer,
        kind: EntityKind,
        context: Context<'_>,
        form: &str,
    ) -> Vec<Index> {
        self.iter().map(|keys| keys.form_index(normalizer, kind, context, form)).collect()
    }
}

/// Returns the keys that a search under a kid reads the rows of, in its order: those of the kid, and then those of the kids that
/// records were moved from or to.
pub(crate) fn searched_pairs<'k>(ring: &'k Keyring, ledger: &Ledger, kid: Kid) -> impl Iterator<Item = &'k KeyPair> {
    std::iter::once(kid).chain(ledger.related_kids(kid)).filter_map(|kid| ring.get(kid))
}

/// The search for one value.
pub(crate) struct ValueQuery<'k> {
    pub(crate) keys: SearchKeys<'k>,
    /// The index of the value under each of the keys.
    pub(crate) indexes: Vec<Index>,
}

/// A record of the value, by what its token says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatchedRecord {
    pub(crate) kind: EntityKind,
    pub(crate) minted_kid: Kid,
    pub(crate) sealing_kid: Kid,
    pub(crate) id: TokenId,
}

impl MatchedRecord {
    /// Returns the token's text.
    pub(crate) fn token(&self) -> String {
        Token::Vault { kind: self.kind, kid: self.minted_kid, id: self.id }.to_text()
    }

    /// Returns whether a caller's policies permit the token; see [`check_reach`].
    pub(crate) fn is_reached_by<O: ScopedOperation>(&self, permit: &Permit<O>) -> bool {
        check_reach(permit, self.kind, (self.minted_kid, self.sealing_kid)).is_ok()
    }

    pub(crate) fn of(id: TokenId, record: &Record) -> Self {
        MatchedRecord { kind: record.kind, minted_kid: record.minted_kid, sealing_kid: record.sealing_kid, id }
    }
}

impl<'k> ValueQuery<'k> {
    /// Computes the indexes of a value under every key.
    pub(crate) fn new(keys: SearchKeys<'k>, kind: EntityKind, context: Context<'_>, value: Value<'_>) -> Self {
        let indexes = keys.value_indexes(kind, context, value);
        ValueQuery { keys, indexes }
    }

    /// Returns the index under the active key.
    fn active_index(&self) -> Index {
        self.indexes[0]
    }

    /// Returns the keys with the index under each.
    fn generations(&self) -> impl Iterator<Item = (&'k GenerationKeys, Index)> {
        self.keys.iter().zip(self.indexes.iter().copied())
    }
}

/// Returns the first record that each query finds. Most values are found under their active key, so the rest of the search
/// is made only for the others. `moving_to` is the key that a rotation moves records to now.
pub(super) async fn find_first(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    moving_to: Option<(Kid, Fingerprint)>,
    damage: &impl Fn(),
) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, StoreError> {
    let keys = queries.iter().map(|query| RowKey::value_index(query.active_index().as_bytes())).collect();
    let mut lists = Vec::with_capacity(queries.len());
    for (query, row) in queries.iter().zip(store.get_many(keys).await?) {
        lists.push(row.map(|row| list_of(query.keys.active(), query.active_index(), &row, damage)).transpose());
    }
    let first = |list: &Result<Option<Vec<TokenId>>, ItemFailure>| list.as_ref().ok()?.as_ref()?.first().copied();
    let records = read_records(store, lists.iter().filter_map(first)).await?;

    let mut found = Vec::with_capacity(queries.len());
    let mut positions = Vec::new();
    let mut rest = Vec::new();
    for (query, list) in queries.iter().zip(&lists) {
        found.push(match (list, first(list)) {
            (Err(failure), _) => Err(failure.clone()),
            (Ok(_), Some(id)) => match live_record(&records, id, query.active_index()) {
                Ok(None) => {
                    positions.push(found.len());
                    rest.push(*query);
                    Ok(None)
                }
                live => live.inspect_err(|_| damage()),
            },
            (Ok(_), None) => {
                if query.indexes.len() > 1 {
                    positions.push(found.len());
                    rest.push(*query);
                }
                Ok(None)
            }
        });
    }
    if !rest.is_empty() {
        for (position, all) in positions.into_iter().zip(find_all(store, &rest, moving_to, damage).await?) {
            found[position] = all.map(|all| all.first().copied());
        }
    }
    Ok(found)
}

/// Returns every record that each query finds, in the order of the search and without repeats.
///
/// A row whose tag does not verify, or a record that does not decode, fails its query. `damage` is called for each. An entry
/// without a record is skipped: the record was forgotten while its key was not loaded.
pub(super) async fn find_all(
    store: &dyn Store,
    queries: &[&ValueQuery<'_>],
    moving_to: Option<(Kid, Fingerprint)>,
    damage: &impl Fn(),
) -> Result<Vec<Result<Vec<MatchedRecord>, ItemFailure>>, StoreError> {
    let mut row_keys = Vec::with_capacity(queries.iter().map(|query| query.indexes.len()).sum());
    for query in queries {
        let keys = query.indexes.iter().map(|index| RowKey::value_index(index.as_bytes()));
        row_keys.extend(keys.zip(query.keys.read_turns(moving_to)));
    }
    let mut rows = read_index_rows(store, row_keys).await?.into_iter();

    let mut lists: Vec<Result<Vec<(Index, TokenId)>, ItemFailure>> = Vec::with_capacity(queries.len());
    for query in queries {
        let mut entries = Ok(Vec::new());
        for (keys, index) in query.generations() {
            let Some(row) = rows.next().flatten() else { continue };
            match (list_of(keys, index, &row, damage), &mut entries) {
                (Ok(list), Ok(entries)) => entries.extend(list.into_iter().map(|id| (index, id))),
                (Err(failure), _) => entries = Err(failure),
                (Ok(_), Err(_)) => {}
            }
        }
        lists.push(entries);
    }

    let records = read_records(store, lists.iter().flatten().flatten().map(|(_, id)| *id)).await?;
    let resolve = |query: &ValueQuery<'_>, entries: Vec<(Index, TokenId)>| {
        let mut found: Vec<MatchedRecord> = Vec::with_capacity(entries.len());
        for (index, id) in &entries {
            let live = match live_record(&records, *id, *index) {
                Ok(None) => moved_record(&records, query, &entries, *id),
                live => live.inspect_err(|_| damage())?,
            };
            found.extend(live.filter(|record| !found.contains(record)));
        }
        Ok(found)
    };
    let resolved =
        queries.iter().zip(lists).map(|(query, entries)| entries.and_then(|entries| resolve(query, entries)));
    Ok(resolved.collect())
}

/// Reads index rows, each in its turn. Returns them in the order of the keys.
pub(crate) async fn read_index_rows(
    store: &dyn Store,
    keys: Vec<(RowKey, ReadTurn)>,
) -> Result<Vec<Option<Row>>, StoreError> {
    let mut rows = vec![None; keys.len()];
    for turn in [ReadTurn::Replaced, ReadTurn::Active, ReadTurn::RotationTarget] {
        let (positions, keys): (Vec<usize>, Vec<RowKey>) =
            keys.iter().enumerate().filter(|(_, (_, of))| *of == turn).map(|(at, (key, _))| (at, key.clone())).unzip();
        if keys.is_empty() {
            continue;
        }
        for (position, row) in positions.into_iter().zip(store.get_many(keys).await?) {
            rows[position] = row;
        }
    }
    Ok(rows)
}

/// Returns the entries of a row that was read; a row that does not verify is damage.
fn list_of(keys: &GenerationKeys, index: Index, row: &[u8], damage: &impl Fn()) -> Result<Vec<TokenId>, ItemFailure> {
    index_list::verified(keys, index, row).ok_or_else(|| {
        damage();
        ItemFailure::Damaged
    })
}

/// Records by their ids; `Err` for one that does not decode.
type ReadRecords = HashMap<TokenId, Result<Record, ItemFailure>>;

async fn read_records(store: &dyn Store, ids: impl Iterator<Item = TokenId>) -> Result<ReadRecords, StoreError> {
    let ids: Vec<TokenId> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = store.get_many(ids.iter().map(|id| RowKey::record(id.as_bytes())).collect()).await?;
    let decode = |row: Row| Record::decode(&row).map_err(|_| ItemFailure::Damaged);
    Ok(ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, decode(row?)))).collect())
}

/// Returns the record of an entry that a rotation has moved since the entries were read: the record has another index of the
/// value, and no entry that was read is listed there.
fn moved_record(
    records: &ReadRecords,
    query: &ValueQuery<'_>,
    entries: &[(Index, TokenId)],
    id: TokenId,
) -> Option<MatchedRecord> {
    let record = records.get(&id)?.as_ref().ok()?;
    let index = Index::from_bytes(record.value_index?);
    let is_moved = query.indexes.contains(&index) && !entries.contains(&(index, id));
    is_moved.then(|| MatchedRecord::of(id, record))
}

/// Returns the record of an entry of this index, if it is there.
fn live_record(records: &ReadRecords, id: TokenId, index: Index) -> Result<Option<MatchedRecord>, ItemFailure> {
    match records.get(&id) {
        Some(Ok(record)) if record.value_index == Some(*index.as_bytes()) => Ok(Some(MatchedRecord::of(id, record))),
        Some(Err(failure)) => Err(failure.clone()),
        Some(Ok(_)) | None => Ok(None),
    }
}
