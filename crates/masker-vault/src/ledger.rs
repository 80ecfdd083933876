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

use super::{ids::RotationId, known_generation::KnownGeneration, time::timestamp};
use masker_core::{
    crypto::Fingerprint,
    normalize::Normalizer,
    policy::{Action, PolicySet, Scheme},
};
use masker_store::{
    Row, RowChange, RowKey, Store, StoreError,
    record::{
        GenerationCountsRow, GenerationRow, GenerationUseRow, KidMovesRow, MappingRow, NormalizersRow, Record,
        RecordError, RotationRow, RowName, SpanRow, TombstoneCountRow, UsageRow,
    },
};
use masker_types::kind::{EntityKind, Kid};

/// Rows read at a time when the ledger is loaded.
const PAGE_ROWS: usize = 1_000;

/// The ledger, as it was after a commit.
#[derive(Clone, Default)]
pub struct Ledger {
    pub(super) generations: BTreeMap<(Kid, Fingerprint), KnownGeneration>,
    usage: BTreeMap<(EntityKind, Kid), u64>,
    mappings: BTreeMap<(String, EntityKind), MappingRow>,
    span: Option<SpanRow>,
    pub(super) rotations: BTreeMap<RotationId, RotationRow>,
    pub(super) uses: BTreeMap<(Kid, Fingerprint), GenerationUseRow>,
    tombstones: u64,
    /// The names of the normalizers that have form rows, by kind and sealing kid.
    normalizers: BTreeMap<(EntityKind, Kid), Vec<String>>,
    /// The kids that records of a kid were moved to.
    kid_moves: BTreeMap<Kid, Vec<Kid>>,
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
            RowName::GENERATION_COUNTS,
            RowName::USAGES,
            RowName::MAPPINGS,
            RowName::ROTATIONS,
            RowName::USES,
            RowName::NORMALIZERS,
            RowName::KID_MOVES,
            RowName::WHOLE,
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
                self.known(kid, fingerprint).set_control_row(GenerationRow::decode(row)?);
            }
            RowName::GenerationCounts(kid, fingerprint) => {
                self.known(kid, fingerprint).set_counts_row(GenerationCountsRow::decode(row)?);
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
            RowName::Normalizers(kind, kid) => {
                self.normalizers.insert((kind, kid), NormalizersRow::decode(row)?.names);
            }
            RowName::KidMoves(kid) => {
                self.kid_moves.insert(kid, KidMovesRow::decode(row)?.targets);
            }
            // Read when they are needed, or kept by other services.
            RowName::Record(_) | RowName::ValueIndex(_) | RowName::FormIndex(_) => {}
            RowName::Tombstone(_) | RowName::TombstoneSum | RowName::AuditHead => {}
            RowName::ControlSlot(..) | RowName::ControlManifest | RowName::ApiKeyUse(_) => {}
            RowName::ApiKey(_) | RowName::Session(_) | RowName::SessionToken(..) | RowName::Honeytoken(_) => {}
            RowName::PlaceholderKey(_) | RowName::Placeholder(..) => {}
        }
        Ok(())
    }

    fn known(&mut self, kid: Kid, fingerprint: [u8; 8]) -> &mut KnownGeneration {
        self.generations.entry((kid, Fingerprint::from_bytes(fingerprint))).or_default()
    }

    /// Returns the number of records in the vault.
    pub fn records(&self) -> u64 {
        self.generations.values().map(|row| row.records).sum()
    }

    /// Returns the number of index rows in the vault.
    pub fn index_rows(&self) -> u64 {
        self.generations.values().map(|row| row.index_rows).sum()
    }

    /// Returns the other kids whose index rows a search under `kid` reads too: records were moved between them, directly or
    /// by way of others.
    pub(crate) fn related_kids(&self, kid: Kid) -> Vec<Kid> {
        let mut related = vec![kid];
        let mut next = 0;
        while !self.kid_moves.is_empty() && next < related.len() {
            let from = related[next];
            let targets = self.kid_moves.get(&from).into_iter().flatten();
            let sources =
                self.kid_moves.iter().filter(|(_, targets)| targets.contains(&from)).map(|(source, _)| source);
            let found: Vec<Kid> = targets.chain(sources).copied().collect();
            related.extend(found.into_iter().filter(|kid| *kid != from).collect::<BTreeSet<_>>());
            let mut seen = BTreeSet::new();
            related.retain(|kid| seen.insert(*kid));
            next += 1;
        }
        related.remove(0);
        related
    }

    /// Returns how many moves of kids are remembered. It changes whenever [`Ledger::related_kids`] does.
    pub(crate) fn kid_move_count(&self) -> usize {
        self.kid_moves.values().map(Vec::len).sum()
    }

    /// Returns the normalizers that values of a kind may have been minted with, for searches under `kid`.
    pub(crate) fn normalizers(&self, kind: EntityKind, kid: Kid) -> BTreeSet<Normalizer> {
        let kids = std::iter::once(kid).chain(self.related_kids(kid));
        let names = kids.filter_map(|kid| self.normalizers.get(&(kind, kid))).flatten();
        // One that this release does not know was noted by a later one, and cannot be computed.
        names.filter_map(|name| Normalizer::from_name(name)).collect()
    }

    /// Returns the key that a rotation moves records to now.
    pub(crate) fn moving_to(&self) -> Option<(Kid, Fingerprint)> {
        let running = self.rotations.values().find(|row| row.is_running())?;
        Some((running.target_kid, Fingerprint::from_bytes(running.target)))
    }

    /// Returns the number of tombstones in the vault: records that were erased and not restored.
    pub fn tombstones(&self) -> u64 {
        self.tombstones
    }

    /// Returns whether nothing in the vault needs a generation, as a full pass has proven.
    pub(crate) fn is_proven_unneeded(&self, name: (Kid, Fingerprint)) -> bool {
        self.generations.get(&name).is_some_and(|row| row.proven_at_ms.is_some())
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

    /// Notes that the store may hold something else.
    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Reads the ledger again from the store. It is stale until that succeeds.
    pub(crate) async fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.mark_stale();
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

/// Says what a changed policy means for values that the vault has. `keeps_tokens` is whether a search under the new policy
/// finds them.
fn mapping_warning(
    policy: &str,
    kind: EntityKind,
    before: &MappingRow,
    now: &MappingRow,
    records: u64,
    keeps_tokens: bool,
) -> Option<String> {
    if keeps_tokens {
        return (before.normalizer != now.normalizer).then(|| format!(
            "policy `{policy}`: {kind} changed from normalizer `{}` to `{}`; values behind up to {records} records keep \
             their tokens, but new spellings will not share a match part with them",
            before.normalizer, now.normalizer
        ));
    }
    Some(format!(
        "policy `{policy}`: {kind} changed from {} under {} to {} under {}; values behind up to {records} records will \
         get new tokens beside those they have",
        scheme_name(before.scheme),
        before.kid,
        scheme_name(now.scheme),
        now.kid
    ))
}

/// A ledger being changed. The changes become rows of the batch that they belong to.
pub(super) struct LedgerDraft {
    pub(super) ledger: Ledger,
    /// Generations whose control row changed.
    generations: BTreeSet<(Kid, Fingerprint)>,
    /// Generations whose counts changed.
    counts: BTreeSet<(Kid, Fingerprint)>,
    usage: BTreeSet<(EntityKind, Kid)>,
    mappings: BTreeSet<(String, EntityKind)>,
    rotations: BTreeSet<RotationId>,
    uses: BTreeSet<(Kid, Fingerprint)>,
    span: bool,
    tombstones: bool,
    normalizers: BTreeSet<(EntityKind, Kid)>,
    kid_moves: BTreeSet<Kid>,
}

impl LedgerDraft {
    pub(super) fn of(ledger: &Ledger) -> Self {
        LedgerDraft {
            ledger: ledger.clone(),
            generations: BTreeSet::new(),
            counts: BTreeSet::new(),
            usage: BTreeSet::new(),
            mappings: BTreeSet::new(),
            rotations: BTreeSet::new(),
            uses: BTreeSet::new(),
            span: false,
            tombstones: false,
            normalizers: BTreeSet::new(),
            kid_moves: BTreeSet::new(),
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

    /// Counts a record that is erased.
    pub(super) fn erased(&mut self, record: &Record) {
        self.generation(record, |row| row.records = row.records.saturating_sub(1));
        self.usage(record, |records| records.saturating_sub(1));
    }

    /// Counts a record that was sealed under another key.
    pub(super) fn resealed(&mut self, before: &Record, after: &Record) {
        self.generation(before, |row| row.records = row.records.saturating_sub(1));
        self.generation(after, |row| row.records += 1);
    }

    /// Counts an index row that is written.
    pub(super) fn index_row_added(&mut self, name: (Kid, Fingerprint), now_ms: u64) {
        self.change_generation(name, now_ms, |row| row.index_rows += 1);
    }

    /// Counts an index row that is removed.
    pub(super) fn index_row_removed(&mut self, name: (Kid, Fingerprint), now_ms: u64) {
        self.change_generation(name, now_ms, |row| row.index_rows = row.index_rows.saturating_sub(1));
    }

    /// Remembers a normalizer that has form rows.
    pub(super) fn note_normalizer(&mut self, kind: EntityKind, sealing_kid: Kid, normalizer: &str) {
        let names = self.ledger.normalizers.entry((kind, sealing_kid)).or_default();
        if !names.iter().any(|name| name == normalizer) {
            names.push(normalizer.to_owned());
            self.normalizers.insert((kind, sealing_kid));
        }
    }

    /// Remembers that records of one kid are moved to another. Nothing is remembered of a move to another key of the kid.
    pub(super) fn note_kid_move(&mut self, source: Kid, target: Kid) {
        if source == target {
            return;
        }
        let targets = self.ledger.kid_moves.entry(source).or_default();
        if !targets.contains(&target) {
            targets.push(target);
            self.kid_moves.insert(source);
        }
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

    fn generation(&mut self, record: &Record, change: impl FnOnce(&mut KnownGeneration)) {
        let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
        self.change_generation(name, record.sealed_at_ms, change);
    }

    fn change_generation(&mut self, name: (Kid, Fingerprint), seen_ms: u64, change: impl FnOnce(&mut KnownGeneration)) {
        let known = self.ledger.generations.get(&name);
        let mut now = known.copied().unwrap_or_else(|| KnownGeneration::first_seen(seen_ms));
        change(&mut now);
        // A generation that is needed again is not proven unneeded.
        now.proven_at_ms = now.proven_at_ms.filter(|_| !now.is_needed());
        self.set_generation(name, now);
    }

    /// Sets what is known of a generation. Only the rows that differ are written.
    pub(super) fn set_generation(&mut self, name: (Kid, Fingerprint), now: KnownGeneration) {
        let before = self.ledger.generations.insert(name, now);
        if before.is_none_or(|before| before.control_row() != now.control_row()) {
            self.generations.insert(name);
        }
        if before.is_none_or(|before| before.counts_row() != now.counts_row()) {
            self.counts.insert(name);
        }
    }

    fn usage(&mut self, record: &Record, change: impl FnOnce(u64) -> u64) {
        let name = (record.kind, record.minted_kid);
        let records = self.ledger.usage.entry(name).or_default();
        *records = change(*records);
        self.usage.insert(name);
    }

    /// Compares policies with those last in force and remembers them. Returns a warning for each kind whose known values
    /// would get new tokens, or would not match new spellings.
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
                        let is_searched =
                            before.kid == now.kid || self.ledger.related_kids(before.kid).contains(&now.kid);
                        let keeps_tokens = now.scheme == VAULT && is_searched;
                        warnings.extend(mapping_warning(&policy.name, *kind, before, &now, records, keeps_tokens));
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
            Some(RowChange::Put(RowKey::generation(name.0, name.1.as_bytes()), row.control_row().encode()))
        });
        let needs = self.counts.iter().filter_map(|name| {
            let row = ledger.generations.get(name)?;
            Some(RowChange::Put(RowKey::generation_counts(name.0, name.1.as_bytes()), row.counts_row().encode()))
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
        let normalizers = self.normalizers.iter().filter_map(|name| {
            let names = ledger.normalizers.get(name)?.clone();
            Some(RowChange::Put(RowKey::normalizers(name.0, name.1), NormalizersRow { names }.encode().ok()?))
        });
        let kid_moves = self.kid_moves.iter().filter_map(|kid| {
            let targets = ledger.kid_moves.get(kid)?.clone();
            Some(RowChange::Put(RowKey::kid_moves(*kid), KidMovesRow { targets }.encode()))
        });
        let counts = generations.chain(needs).chain(usage).chain(mappings).chain(rotations).chain(uses);
        counts.chain(span).chain(tombstones).chain(normalizers).chain(kid_moves).collect()
    }
}
