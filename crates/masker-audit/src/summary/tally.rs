//! Counts by key, with a bounded number of keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key of a [`Tally`], which can be counted among others.
pub(super) trait TallyKey: Ord {
    /// Returns the key without its caller, for what is beyond the bound.
    fn among_others(self) -> Self;
}

/// Counts by key, in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K: Ord>(BTreeMap<K, u64>);

impl<K: Ord> Default for Tally<K> {
    fn default() -> Self {
        Tally(BTreeMap::new())
    }
}

#[expect(private_bounds, reason = "only summaries add to a tally")]
impl<K: TallyKey> Tally<K> {
    /// Adds to the count of a key. Once there are `keys_max` keys, a new one is counted among others.
    pub(super) fn add(&mut self, key: K, count: u64, keys_max: usize) {
        if let Some(known) = self.0.get_mut(&key) {
            *known += count;
            return;
        }
        let key = if self.0.len() < keys_max { key } else { key.among_others() };
        *self.0.entry(key).or_default() += count;
    }

    /// Adds all counts of another tally.
    pub(super) fn add_all(&mut self, other: Tally<K>, keys_max: usize) {
        for (key, count) in other.0 {
            self.add(key, count, keys_max);
        }
    }
}

impl<K: Ord> Tally<K> {
    /// Returns the keys with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.0.iter().map(|(key, count)| (key, *count))
    }
}

// JSON has only texts as names of members, so a tally is a list of pairs.
impl<K: Ord + Serialize> Serialize for Tally<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de, K: Ord + Deserialize<'de>> Deserialize<'de> for Tally<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Tally(Vec::<(K, u64)>::deserialize(deserializer)?.into_iter().collect()))
    }
}
