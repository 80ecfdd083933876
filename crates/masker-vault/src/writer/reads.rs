//! The rows that a group reads before it decides, in few batches for all of its changes.

use std::vec;

use super::tombstones::Tombstones;
use crate::{
    ItemFailure,
    search::{self, MatchedRecord, ValueQuery},
};
use masker_core::{crypto::TokenId, keyring::Keyring};
use masker_store::{Row, RowKey, Store, StoreError};

/// Collects what the changes of a group read.
pub(crate) struct ReadPlan<'k> {
    keyring: &'k Keyring,
    has_tombstones: bool,
    rows: Vec<RowKey>,
    searches: Vec<Option<ValueQuery<'k>>>,
    tombstones: Vec<TokenId>,
}

/// What the search for one value found: its records, or why that is unknown.
pub(crate) struct SearchResult {
    /// The id of the value under the active key.
    pub(crate) active_id: TokenId,
    pub(crate) found: Result<Vec<MatchedRecord>, ItemFailure>,
}

impl<'k> ReadPlan<'k> {
    /// Begins a plan. Tombstones are read only if the vault has some.
    pub(super) fn new(keyring: &'k Keyring, has_tombstones: bool) -> Self {
        ReadPlan { keyring, has_tombstones, rows: Vec::new(), searches: Vec::new(), tombstones: Vec::new() }
    }

    /// Returns the keys that the group is decided under.
    pub(crate) fn keyring(&self) -> &'k Keyring {
        self.keyring
    }

    /// Adds a row, to be taken by [`Reads::next_row`].
    pub(crate) fn row(&mut self, key: RowKey) {
        self.rows.push(key);
    }

    /// Adds the search for a value, to be taken by [`Reads::next_search`]. `None` keeps a place for a value that cannot
    /// be searched for.
    pub(crate) fn search(&mut self, query: Option<ValueQuery<'k>>) {
        self.searches.push(query);
    }

    /// Adds the tombstone of an id that the change may give a record; the draft knows it then.
    pub(crate) fn tombstone(&mut self, id: TokenId) {
        if self.has_tombstones {
            self.tombstones.push(id);
        }
    }

    /// Returns how many rows and searches were added.
    pub(super) fn planned(&self) -> (usize, usize) {
        (self.rows.len(), self.searches.len())
    }

    /// Reads everything. `damage` is called for each row that is not what was written.
    pub(super) async fn read(
        self,
        store: &dyn Store,
        damage: &(impl Fn() + Sync),
    ) -> Result<(GroupReads<'k>, Tombstones), StoreError> {
        let queries: Vec<&ValueQuery<'k>> = self.searches.iter().flatten().collect();
        let found = match queries.is_empty() {
            true => Vec::new(),
            false => search::find_all(store, &queries, damage).await?,
        };
        let tombstones = Tombstones::load(store, self.tombstones).await?;
        let rows = if self.rows.is_empty() { Vec::new() } else { store.get_many(self.rows).await? };
        let reads =
            GroupReads { rows: rows.into_iter(), searches: self.searches.into_iter(), found: found.into_iter() };
        Ok((reads, tombstones))
    }
}

/// What a group has read, in the order of its changes.
pub(super) struct GroupReads<'k> {
    rows: vec::IntoIter<Option<Row>>,
    searches: vec::IntoIter<Option<ValueQuery<'k>>>,
    /// A result for each search that is not `None`.
    found: vec::IntoIter<Result<Vec<MatchedRecord>, ItemFailure>>,
}

impl<'k> GroupReads<'k> {
    /// Returns the part of the next change, which has planned so many rows and searches.
    pub(super) fn take(&mut self, (rows, searches): (usize, usize)) -> Reads<'_, 'k> {
        Reads { group: self, rows, searches }
    }
}

/// What one change has read.
pub(crate) struct Reads<'g, 'k> {
    group: &'g mut GroupReads<'k>,
    rows: usize,
    searches: usize,
}

impl Reads<'_, '_> {
    /// Returns the next row in the order of the plan; `None` where the store has none.
    pub(crate) fn next_row(&mut self) -> Option<Row> {
        self.rows = self.rows.checked_sub(1)?;
        self.group.rows.next()?
    }

    /// Returns the next search in the order of the plan; `None` for a value that could not be searched for.
    pub(crate) fn next_search(&mut self) -> Option<SearchResult> {
        self.searches = self.searches.checked_sub(1)?;
        let query = self.group.searches.next()??;
        Some(SearchResult { active_id: query.active_id(), found: self.group.found.next()? })
    }

    /// Drops what the change has not taken, so that the next one gets its own.
    pub(super) fn skip_rest(&mut self) {
        while self.rows > 0 {
            drop(self.next_row());
        }
        while self.searches > 0 {
            drop(self.next_search());
        }
    }
}
