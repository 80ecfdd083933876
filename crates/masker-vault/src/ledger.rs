//! The ledger: what the vault remembers beside its records, such as key generations with exact counts, records of each
//! kind, and the policies last in force. It changes in the same batch as the records that it counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;

use super::{ids::RotationId, time::timestamp};
use masker_core::{
    crypto::Fingerprint,
    policy::{Action, PolicySet, Scheme},
};
use masker_store::{
    Row, RowChange, RowKey, Store, StoreError,
    record::{
        GenerationRow, GenerationUseRow, MappingRow, Record, RecordError, RotationRow, RowName, SpanRow,
        TombstoneCountRow, UsageRow,
    },
};
use masker_types::kind::{EntityKind, Kid};

/// Rows read at a time when the ledger is loaded.
const PAGE_ROWS: usize = 1_000;

/// The ledger, as it was after a commit.
#[derive(Clone, Default)]
pub struct Ledger {
    pub(super) generations: BTreeMap<(Kid, Fingerprint), GenerationRow>,
    usage: BTreeMap<(EntityKind, Kid), u64>,
    mappings: BTreeMap<(String, EntityKind), MappingRow>,
    span: Option<SpanRow>,
    pub(super) rotations: BTreeMap<RotationId, RotationRow>,
    pub(super) uses: BTreeMap<(Kid, Fingerprint), GenerationUseRow>,
    tombstones: u64,
}

impl Ledger {
    /// Reads the ledger from the store.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or a row does not decode.
    pub async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut ledger = Ledger::default();
        for space in [
            RowName::GENERATIONS,
            RowName::USAGES,
            RowName::MAPPINGS,
            RowName::ROTATIONS,
            RowName::USES,
            RowName::FORMAT,
        ] {
            for (key, row) in all_rows(store, space).await? {
                ledger.load_row(&key, &row).map_err(|damage| StoreError::Damaged(damage.to_string()))?;
            }
        }
        Ok(ledger)
    }

    fn load_row(&mut self, key: &RowKey, row: &[u8]) -> Result<(), RecordError> {
        match RowName::parse(key)? {
            RowName::Generation(kid, fingerprint) => {
                self.generations.insert((kid, Fingerprint::from_bytes(fingerprint)), GenerationRow::decode(row)?);
            }
            RowName::Usage(kind, kid) => {
                self.usage.insert((kind, kid), UsageRow::decode(row)?.records);
            }
            RowName::Mapping(policy, kind) => {
                self.mappings.insert((policy, kind), MappingRow::decode(row)?);
            }
            RowName::Rotation(id) => {
                self.rotations.insert(RotationId::from_bytes(id), RotationRow::decode(row)?);
            }
            RowName::Uses(kid, fingerprint) => {
                self.uses.insert((kid, Fingerprint::from_bytes(fingerprint)), GenerationUseRow::decode(row)?);
            }
            RowName::Span => self.span = Some(SpanRow::decode(row)?),
            RowName::Tombstones => self.tombstones = TombstoneCountRow::decode(row)?.tombstones,
            // Read when they are needed, or kept by other services.
            RowName::Record(_) | RowName::Alias(_) | RowName::Tombstone(_) | RowName::Format | RowName::AuditHead => {}
            RowName::ApiKey(_) | RowName::Session(_) | RowName::SessionToken(..) | RowName::Honeytoken(_) => {}
        }
        Ok(())
    }

    /// Returns the number of records in the vault.
    pub fn records(&self) -> u64 {
        self.generations.values().map(|row| row.records).sum()
    }

    /// Returns the number of aliases in the vault.
    pub fn aliases(&self) -> u64 {
        self.generations.values().map(|row| row.aliases).sum()
    }

    /// Returns the number of tombstones in the vault: records that were erased and not restored.
    pub fn tombstones(&self) -> u64 {
        self.tombstones
    }

    /// Returns when a generation was replaced.
    pub(crate) fn old_since(&self, name: (Kid, Fingerprint)) -> Option<Timestamp> {
        self.generations.get(&name)?.old_since_ms.and_then(timestamp)
    }

    /// Returns when the first and the last record were minted, in milliseconds of Unix time.
    pub fn span_ms(&self) -> Option<(u64, u64)> {
        (self.records() > 0).then_some(self.span).flatten().map(|span| (span.oldest_ms, span.newest_ms))
    }
}

/// The ledger as it was after the last commit. Only the writer replaces it.
pub(crate) struct CurrentLedger {
    ledger: ArcSwap<Ledger>,
    /// Whether a commit failed and the ledger has not been read again since.
    stale: AtomicBool,
}

impl CurrentLedger {
    pub(crate) fn new(ledger: Ledger) -> Self {
        CurrentLedger { ledger: ArcSwap::from_pointee(ledger), stale: AtomicBool::new(false) }
    }

    /// Returns the ledger for a short look.
    pub(crate) fn load(&self) -> Guard<Arc<Ledger>> {
        self.ledger.load()
    }

    /// Returns the ledger to hold for longer.
    pub(crate) fn load_full(&self) -> Arc<Ledger> {
        self.ledger.load_full()
    }

    /// Returns whether the store may hold something else since a commit failed.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Puts in the ledger of a commit that is durable.
    pub(crate) fn publish(&self, ledger: Ledger) {
        self.ledger.store(Arc::new(ledger));
    }

    /// Reads the ledger again from the store. It is stale until that succeeds.
    pub(crate) async fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.stale.store(true, Ordering::Release);
        self.publish(Ledger::load(store).await?);
        self.stale.store(false, Ordering::Release);
        Ok(())
    }
}

/// Returns every row of a small space.
pub(super) async fn all_rows(store: &dyn Store, space: u8) -> Result<Vec<(RowKey, Row)>, StoreError> {
    let mut rows = Vec::new();
    loop {
        let after = rows.last().map(|(key, _): &(RowKey, Row)| key.clone());
        let page = store.scan_after(space, after, PAGE_ROWS).await?;
        rows.extend(page.rows);
        if page.is_last {
            return Ok(rows);
        }
    }
}

/// The number of the vault's scheme in a mapping's row.
const VAULT: u8 = 1;
/// The number, in a mapping's row, of the scheme whose tokens contain their value.
const AEAD: u8 = 2;

fn scheme_number(scheme: Scheme) -> u8 {
    match scheme {
        Scheme::VaultDeterministic => VAULT,
        Scheme::ReversibleAead(_) => AEAD,
    }
}

fn scheme_name(number: u8) -> &'static str {
    match number {
        VAULT => "vault-deterministic",
        AEAD => "reversible-aead",
        _ => "another scheme",
    }
}

/// A ledger being changed. The changes become rows of the batch that they belong to.
pub(super) struct LedgerDraft {
    pub(super) ledger: Ledger,
    pub(super) generations: BTreeSet<(Kid, Fingerprint)>,
    usage: BTreeSet<(EntityKind, Kid)>,
    mappings: BTreeSet<(String, EntityKind)>,
    rotations: BTreeSet<RotationId>,
    uses: BTreeSet<(Kid, Fingerprint)>,
    span: bool,
    tombstones: bool,
}

impl LedgerDraft {
    pub(super) fn of(ledger: &Ledger) -> Self {
        LedgerDraft {
            ledger: ledger.clone(),
            generations: BTreeSet::new(),
            usage: BTreeSet::new(),
            mappings: BTreeSet::new(),
            rotations: BTreeSet::new(),
            uses: BTreeSet::new(),
            span: false,
            tombstones: false,
        }
    }

    /// Counts a record that is written.
    pub(super) fn minted(&mut self, record: &Record) {
        self.generation(record, |row| row.records += 1);
        self.usage(record, |records| records + 1);
        let at = record.minted_at_ms;
        let span = self.ledger.span.get_or_insert(SpanRow { oldest_ms: at, newest_ms: at });
        if at < span.oldest_ms || at > span.newest_ms || !self.span {
            span.oldest_ms = span.oldest_ms.min(at);
            span.newest_ms = span.newest_ms.max(at);
            self.span = true;
        }
    }

    /// Counts an imported record, with its alias.
    pub(super) fn imported(&mut self, record: &Record) {
        self.minted(record);
        self.generation(record, |row| row.aliases += u64::from(record.alias.is_some()));
    }

    /// Counts a record that is erased, with its alias.
    pub(super) fn erased(&mut self, record: &Record) {
        self.generation(record, |row| {
            row.records = row.records.saturating_sub(1);
            row.aliases = row.aliases.saturating_sub(u64::from(record.alias.is_some()));
        });
        self.usage(record, |records| records.saturating_sub(1));
    }

    /// Counts a record that was sealed under another key, with its aliases before and after.
    pub(super) fn resealed(&mut self, before: &Record, after: &Record) {
        self.generation(before, |row| {
            row.records = row.records.saturating_sub(1);
            row.aliases = row.aliases.saturating_sub(u64::from(before.alias.is_some()));
        });
        self.generation(after, |row| {
            row.records += 1;
            row.aliases += u64::from(after.alias.is_some());
        });
    }

    /// Sets the row of a rotation, or removes it.
    pub(super) fn set_rotation(&mut self, id: RotationId, row: Option<RotationRow>) {
        match row {
            Some(row) => drop(self.ledger.rotations.insert(id, row)),
            None => drop(self.ledger.rotations.remove(&id)),
        }
        self.rotations.insert(id);
    }

    /// Sets how many tokens that contain their value a generation has opened.
    pub(super) fn set_uses(&mut self, name: (Kid, Fingerprint), row: GenerationUseRow) {
        self.ledger.uses.insert(name, row);
        self.uses.insert(name);
    }

    /// Counts a tombstone that is written.
    pub(super) fn tombstone_added(&mut self) {
        self.ledger.tombstones += 1;
        self.tombstones = true;
    }

    /// Counts a tombstone that is removed.
    pub(super) fn tombstone_removed(&mut self) {
        self.ledger.tombstones = self.ledger.tombstones.saturating_sub(1);
        self.tombstones = true;
    }

    fn generation(&mut self, record: &Record, change: impl FnOnce(&mut GenerationRow)) {
        let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
        let row = self.ledger.generations.entry(name).or_insert_with(|| GenerationRow::first_seen(record.sealed_at_ms));
        change(row);
        // A generation that is needed again is not proven unneeded.
        row.proven_at_ms = row.proven_at_ms.filter(|_| !row.is_needed());
        self.generations.insert(name);
    }

    fn usage(&mut self, record: &Record, change: impl FnOnce(u64) -> u64) {
        let name = (record.kind, record.minted_kid);
        let records = self.ledger.usage.entry(name).or_default();
        *records = change(*records);
        self.usage.insert(name);
    }

    /// Compares policies with those last in force and remembers them. Returns a warning for each kind whose known values
    /// would get new tokens.
    pub(super) fn policies_loaded(&mut self, policies: &PolicySet) -> Vec<String> {
        let mut warnings = Vec::new();
        for policy in policies.iter() {
            for (kind, rule) in &policy.entities {
                let Action::Tokenize(rule) = &rule.action else { continue };
                let now = MappingRow {
                    scheme: scheme_number(rule.scheme),
                    kid: rule.kid,
                    normalizer: rule.normalizer.name().to_owned(),
                };
                let name = (policy.name.clone(), *kind);
                let before = self.ledger.mappings.get(&name);
                if before == Some(&now) {
                    continue;
                }
                if let Some(before) = before {
                    let records = self.ledger.usage.get(&(*kind, before.kid)).copied().unwrap_or(0);
                    if records > 0 && before.scheme == VAULT {
                        warnings.push(format!(
                            "policy `{}`: {kind} changed from {} under {} normalized as `{}` to {} under {} normalized \
                             as `{}`; values behind up to {records} records will get new tokens beside those they have",
                            policy.name,
                            scheme_name(before.scheme),
                            before.kid,
                            before.normalizer,
                            scheme_name(now.scheme),
                            now.kid,
                            now.normalizer
                        ));
                    }
                }
                self.ledger.mappings.insert(name.clone(), now);
                self.mappings.insert(name);
            }
        }
        warnings
    }

    /// Returns the rows of the changes.
    pub(super) fn changes(&self) -> Vec<RowChange> {
        let ledger = &self.ledger;
        let generations = self.generations.iter().filter_map(|name| {
            let row = ledger.generations.get(name)?;
            Some(RowChange::Put(RowKey::generation(name.0, name.1.as_bytes()), row.encode()))
        });
        let usage = self.usage.iter().filter_map(|name| {
            let records = *ledger.usage.get(name)?;
            Some(RowChange::Put(RowKey::usage(name.0, name.1), UsageRow { records }.encode()))
        });
        let mappings = self.mappings.iter().filter_map(|name| {
            let row = ledger.mappings.get(name)?.encode().ok()?;
            Some(RowChange::Put(RowKey::mapping(&name.0, name.1).ok()?, row))
        });
        let rotations = self.rotations.iter().map(|id| {
            let key = RowKey::rotation(id.as_bytes());
            match ledger.rotations.get(id) {
                Some(row) => RowChange::Put(key, row.encode()),
                None => RowChange::Remove(key),
            }
        });
        let uses = self.uses.iter().filter_map(|name| {
            let row = ledger.uses.get(name)?;
            Some(RowChange::Put(RowKey::uses(name.0, name.1.as_bytes()), row.encode()))
        });
        let span = ledger.span.filter(|_| self.span).map(|span| RowChange::Put(RowKey::span(), span.encode()));
        let tombstones = self.tombstones.then(|| {
            RowChange::Put(RowKey::tombstones(), TombstoneCountRow { tombstones: ledger.tombstones }.encode())
        });
        generations.chain(usage).chain(mappings).chain(rotations).chain(uses).chain(span).chain(tombstones).collect()
    }
}
