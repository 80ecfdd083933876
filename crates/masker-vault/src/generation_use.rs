//! When keys were last used, and how many tokens that contain their value each still opens. It shows an operator whether
//! an old key is still needed. Requests note it in memory; it is written down from time to time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{known_generation::KnownGeneration, ledger::LedgerDraft, time::DAY_MS};
use masker_core::{crypto::Fingerprint, keyring::Keyring};
use masker_store::record::GenerationUseRow;
use masker_types::kind::Kid;

/// The use of one generation. Times are milliseconds of Unix time; 0 is never.
#[derive(Default)]
struct GenerationUse {
    /// When it last opened anything.
    last_ms: AtomicU64,
    /// When it last opened a token that contains its value.
    token_ms: AtomicU64,
    /// How many of those it opened since they were last written down.
    tokens: AtomicU64,
}

/// The use of every loaded generation.
pub(super) struct GenerationUses(BTreeMap<(Kid, Fingerprint), Arc<GenerationUse>>);

/// The use of one generation at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GenerationUseSnapshot {
    pub(super) name: (Kid, Fingerprint),
    pub(super) last_ms: u64,
    pub(super) token_ms: u64,
    pub(super) tokens: u64,
}

impl GenerationUses {
    pub(super) fn new(keyring: &Keyring) -> Self {
        GenerationUses(BTreeMap::new()).for_keyring(keyring)
    }

    /// Returns the uses of another keyring. Generations in both are shared, for requests that began before still note
    /// them.
    pub(super) fn for_keyring(&self, keyring: &Keyring) -> Self {
        let generations = keyring.iter().flat_map(|(_, pair)| pair.generations());
        let uses = generations.map(|generation| {
            let name = (generation.kid(), generation.fingerprint());
            (name, self.0.get(&name).cloned().unwrap_or_default())
        });
        GenerationUses(uses.collect())
    }

    /// Notes that a generation has opened a record.
    pub(super) fn note_record_opened(&self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(one) = self.0.get(&name) {
            one.last_ms.fetch_max(at_ms, Ordering::Relaxed);
        }
    }

    /// Notes that a generation has opened a token that contains its value.
    pub(super) fn note_token_opened(&self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(one) = self.0.get(&name) {
            one.last_ms.fetch_max(at_ms, Ordering::Relaxed);
            one.token_ms.fetch_max(at_ms, Ordering::Relaxed);
            one.tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the generations that were used.
    pub(super) fn noted(&self) -> impl Iterator<Item = GenerationUseSnapshot> + '_ {
        self.0.keys().filter_map(|name| self.get(*name)).filter(|used| used.last_ms > 0)
    }

    /// Returns the use of one generation; `None` if it is not loaded.
    pub(super) fn get(&self, name: (Kid, Fingerprint)) -> Option<GenerationUseSnapshot> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.0.get(&name).map(|one| GenerationUseSnapshot {
            name,
            last_ms: read(&one.last_ms),
            token_ms: read(&one.token_ms),
            tokens: read(&one.tokens),
        })
    }

    /// Subtracts what was written down.
    pub(super) fn written(&self, used: &[GenerationUseSnapshot]) {
        for one in used {
            if let Some(current) = self.0.get(&one.name) {
                current.tokens.fetch_sub(one.tokens, Ordering::Relaxed);
            }
        }
    }
}

/// How many tokens that contain their value a generation has opened, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokensOpened {
    /// When it last opened one, in milliseconds of Unix time; 0 for never.
    pub(super) last_ms: u64,
    /// How many in the last 30 days, including today.
    pub(super) in_30_days: u64,
}

impl TokensOpened {
    /// Adds up what is written down and what is not yet.
    pub(super) fn of(row: Option<&GenerationUseRow>, used: Option<GenerationUseSnapshot>, now_ms: u64) -> Self {
        TokensOpened {
            last_ms: row.map_or(0, |row| row.last_opened_ms).max(used.map_or(0, |used| used.token_ms)),
            in_30_days: row.map_or(0, |row| row.since_days(now_ms / DAY_MS)) + used.map_or(0, |used| used.tokens),
        }
    }
}

impl LedgerDraft {
    /// Notes the use of a generation.
    pub(super) fn key_used(&mut self, used: &GenerationUseSnapshot, now_ms: u64) {
        if let Some(row) = self.ledger.generations.get(&used.name).copied()
            && row.last_used_ms < used.last_ms
        {
            self.set_generation(used.name, KnownGeneration { last_used_ms: used.last_ms, ..row });
        }
        if used.tokens > 0 {
            let mut row = self.ledger.uses.get(&used.name).cloned().unwrap_or_default();
            row.last_opened_ms = row.last_opened_ms.max(used.token_ms);
            row.count(now_ms / DAY_MS, used.tokens);
            self.set_uses(used.name, row);
        }
    }
}
