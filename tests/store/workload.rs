//! A sequence of batches that depends on a seed, and the rows that result from it.

use std::collections::BTreeMap;

use masker_store::{Row, RowBatch, RowChange, RowKey, Store};
use masker_types::limits::ROW_BYTES_MAX;

use crate::powercut::disk::Seeded;

/// The spaces that the batches write to.
pub const SPACES: [u8; 3] = [b'a', b'r', b'u'];

/// The expected rows.
#[derive(Clone, Default, PartialEq)]
pub struct Model(pub BTreeMap<RowKey, Row>);

impl Model {
    /// Applies a batch.
    pub fn apply(&mut self, batch: &RowBatch) {
        for change in &batch.changes {
            match change {
                RowChange::Put(key, row) => drop(self.0.insert(key.clone(), row.clone())),
                RowChange::Remove(key) => drop(self.0.remove(key)),
            }
        }
    }
}

/// The batches. They depend on the seed alone, so a process can continue from any of them, and a test knows what it wrote.
pub struct Workload {
    random: Seeded,
    keys: u64,
    large: bool,
}

impl Workload {
    /// Creates batches over this many keys. With `large`, some have rows up to the limit, or more rows than fit a segment of
    /// sled or a table of fjall in memory.
    pub fn new(seed: u64, keys: u64, large: bool) -> Self {
        Workload { random: Seeded(seed), keys, large }
    }

    /// Returns the next batch.
    pub fn batch(&mut self) -> RowBatch {
        let rows = match self.random.below(100) {
            0..50 => 1,
            50..80 => 2 + self.random.below(9),
            80..99 => 11 + self.random.below(90),
            _ if self.large => 1_000 + self.random.below(4_000),
            _ => 200 + self.random.below(100),
        };
        let mut changes = BTreeMap::new();
        for _ in 0..rows {
            let key = self.key();
            let change = if self.random.chance(15) {
                RowChange::Remove(key.clone())
            } else {
                let row = self.row();
                RowChange::Put(key.clone(), row)
            };
            changes.insert(key, change);
        }
        RowBatch { preconditions: Vec::new(), changes: changes.into_values().collect() }
    }

    /// Returns a key that batches use.
    pub fn key(&mut self) -> RowKey {
        let space = SPACES[self.random.below(3) as usize];
        let number = self.random.below(self.keys);
        let mut key = vec![space];
        key.extend_from_slice(&Seeded(number).bytes(16));
        RowKey::new(key).expect("the key is too long")
    }

    fn row(&mut self) -> Row {
        let length = match self.random.below(100) {
            0..2 if self.large => ROW_BYTES_MAX as u64,
            2..12 if self.large => 3_000 + self.random.below(ROW_BYTES_MAX as u64 - 3_000),
            12..14 => 0,
            _ => 60 + self.random.below(140),
        };
        self.random.bytes(length as usize)
    }
}

/// Returns all rows of a store in [`SPACES`], by scans of several pages.
pub async fn contents(store: &dyn Store) -> Result<Model, String> {
    let mut model = Model::default();
    for space in SPACES {
        let mut after = None;
        loop {
            let page = store.scan_after(space, after.clone(), 97).await.map_err(|error| error.to_string())?;
            after = page.rows.last().map(|(key, _)| key.clone()).or(after);
            model.0.extend(page.rows);
            if page.is_last {
                break;
            }
        }
    }
    Ok(model)
}

/// Compares a store's rows with the model, and with its own manifest.
pub async fn differences(store: &dyn Store, model: &Model) -> Result<(), String> {
    let found = contents(store).await?;
    if found != *model {
        let missing = model.0.keys().filter(|key| !found.0.contains_key(key)).count();
        let added = found.0.keys().filter(|key| !model.0.contains_key(key)).count();
        let changed = found.0.iter().filter(|(key, row)| model.0.get(key).is_some_and(|other| other != *row)).count();
        return Err(format!("{} rows: {missing} missing, {added} extra, {changed} changed", found.0.len()));
    }
    let checked = store.check().await.map_err(|error| error.to_string())?;
    let rows = model.0.len() as u64;
    if !checked.sound || checked.rows != rows || checked.rows_expected != rows {
        return Err(format!("{rows} rows, but {checked:?}"));
    }
    Ok(())
}
