//! When keys last opened something, and how many tokens that carry their own value each still opens: what tells an
//! operator whether somebody would miss an old key. Noted by every request, written down from time to time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    VaultShared,
    keys::CurrentKeys,
    ledger::LedgerDraft,
    time,
    writer::{Change, CommitDraft, Reads},
};
use masker_core::{crypto::Fingerprint, keyring::Keyring};
use masker_store::record::{GenerationRow, GenerationUseRow};
use masker_types::kind::Kid;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The use of one generation. Times are milliseconds of Unix time; 0 is never.
#[derive(Default)]
struct GenerationUse {
    /// When it last opened anything.
    last_ms: AtomicU64,
    /// When it last opened a token that carries its value.
    token_ms: AtomicU64,
    /// How many of those it opened that are not written down yet.
    tokens: AtomicU64,
}

/// The use of every loaded generation.
pub(super) struct GenerationUses(BTreeMap<(Kid, Fingerprint), Arc<GenerationUse>>);

/// The use of one generation, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GenerationUseSnapshot {
    pub(super) name: (Kid, Fingerprint),
    pub(super) last_ms: u64,
    pub(super) token_ms: u64,
    pub(super) tokens: u64,
}

impl GenerationUses {
    pub(super) fn new(keyring: &Keyring) -> Self {
        GenerationUses(BTreeMap::new()).succeed(keyring)
    }

    /// Those of another keyring. What is in both is shared: requests that began before go on noting it.
    pub(super) fn succeed(&self, keyring: &Keyring) -> Self {
        let generations = keyring.iter().flat_map(|(_, pair)| pair.generations());
        let uses = generations.map(|generation| {
            let name = (generation.kid(), generation.fingerprint());
            (name, self.0.get(&name).cloned().unwrap_or_default())
        });
        GenerationUses(uses.collect())
    }

    /// It has opened a record.
    pub(super) fn note_record_opened(&self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(one) = self.0.get(&name) {
            one.last_ms.fetch_max(at_ms, Ordering::Relaxed);
        }
    }

    /// It has opened a token that carries its value.
    pub(super) fn note_token_opened(&self, name: (Kid, Fingerprint), at_ms: u64) {
        if let Some(one) = self.0.get(&name) {
            one.last_ms.fetch_max(at_ms, Ordering::Relaxed);
            one.token_ms.fetch_max(at_ms, Ordering::Relaxed);
            one.tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The generations that were used at all.
    pub(super) fn noted(&self) -> impl Iterator<Item = GenerationUseSnapshot> + '_ {
        self.0.keys().filter_map(|name| self.get(*name)).filter(|used| used.last_ms > 0)
    }

    /// The use of one generation; `None` where it is not loaded.
    pub(super) fn get(&self, name: (Kid, Fingerprint)) -> Option<GenerationUseSnapshot> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.0.get(&name).map(|one| GenerationUseSnapshot {
            name,
            last_ms: read(&one.last_ms),
            token_ms: read(&one.token_ms),
            tokens: read(&one.tokens),
        })
    }

    /// So much has been written down.
    pub(super) fn written(&self, used: &[GenerationUseSnapshot]) {
        for one in used {
            if let Some(open) = self.0.get(&one.name) {
                open.tokens.fetch_sub(one.tokens, Ordering::Relaxed);
            }
        }
    }
}

/// What is known of the tokens that carry their own value and were opened by one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokensOpened {
    /// When it last opened one, in milliseconds of Unix time; 0 for never.
    pub(super) last_ms: u64,
    /// How many on the last 30 days, today among them.
    pub(super) in_30_days: u64,
}

impl TokensOpened {
    /// What is written down, and what is not yet.
    pub(super) fn of(row: Option<&GenerationUseRow>, used: Option<GenerationUseSnapshot>, now_ms: u64) -> Self {
        TokensOpened {
            last_ms: row.map_or(0, |row| row.last_opened_ms).max(used.map_or(0, |used| used.token_ms)),
            in_30_days: row.map_or(0, |row| row.since_days(now_ms / DAY_MS)) + used.map_or(0, |used| used.tokens),
        }
    }
}

/// Writes down the use of the keys in force.
pub(super) struct KeyUseChange;

impl Change for KeyUseChange {
    /// What was written down.
    type Outcome = Vec<GenerationUseSnapshot>;

    fn decide(&mut self, draft: &mut CommitDraft<'_>, _reads: &mut Reads<'_, '_>) -> Self::Outcome {
        let noted: Vec<GenerationUseSnapshot> = draft.keys.uses.noted().collect();
        noted.iter().for_each(|used| draft.ledger_changes.key_used(used, draft.now_ms));
        noted
    }

    fn committed(&self, noted: &Self::Outcome, keys: &CurrentKeys) {
        keys.load().uses.written(noted);
    }
}

impl LedgerDraft {
    /// Notes the use of a generation.
    pub(super) fn key_used(&mut self, used: &GenerationUseSnapshot, now_ms: u64) {
        if let Some(row) = self.ledger.generations.get(&used.name).copied()
            && row.last_used_ms < used.last_ms
        {
            self.set_generation(used.name, GenerationRow { last_used_ms: used.last_ms, ..row });
        }
        if used.tokens > 0 {
            let mut row = self.ledger.uses.get(&used.name).cloned().unwrap_or_default();
            row.last_opened_ms = row.last_opened_ms.max(used.token_ms);
            row.count(now_ms / DAY_MS, used.tokens);
            self.set_uses(used.name, row);
        }
    }
}

impl VaultShared {
    /// What is known of the tokens that a generation has opened.
    pub(super) fn tokens_opened(&self, name: (Kid, Fingerprint)) -> TokensOpened {
        let used = self.keys.load().uses.get(name);
        TokensOpened::of(self.ledger.load().uses.get(&name), used, time::unix_ms(&self.clock))
    }
}
