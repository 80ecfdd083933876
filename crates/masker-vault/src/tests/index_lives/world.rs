//! A vault over the in-memory store, with its keys, its clock and its model.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::model::{Item, Model};
use crate::{
    FoundTokens, ImportOutcome, ImportRules, ItemFailure, KeyRules, TokenInput, Tokenized, ValueInput, Vault,
    VaultError, VaultImportError,
    control::{ControlKeyRules, ControlledStore},
    metrics::VaultMetrics,
};
use masker_access::{Caller, Permit, ScopedOperation};
use masker_core::{
    crypto::{GenerationKeys, SecretKey, TokenId},
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    normalize::Normalizer,
    policy::{Policy, PolicySet},
};
use masker_store::{RowKey, Store, memory::MemoryStore, record::Record};
use masker_types::{grant::Grant, kind::Kid, mode::Mode};

/// The key generations that exist of each kid, by number.
pub(super) const GENERATIONS: u8 = 6;

const NOW_S: i64 = 1_800_000_000;

/// A key generation: its kid and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gen {
    pub(super) kid: Kid,
    pub(super) number: u8,
}

pub(super) fn kids() -> [Kid; 2] {
    ["K_A", "K_B"].map(|text| Kid::parse(text).unwrap())
}

fn key(of: Gen, role: Role) -> LoadedKey {
    let mut bytes = Zeroizing::new([of.number; 32]);
    bytes[0] = !of.number;
    // No kid has the key of another one.
    bytes[1] = of.kid.as_str().bytes().fold(0, u8::wrapping_add);
    LoadedKey { kid: of.kid, role, key: SecretKey::from_bytes(bytes).unwrap() }
}

/// Returns the keys of a generation, whether a vault has them loaded or not.
pub(super) fn keys_of(of: Gen, mode: Mode) -> &'static GenerationKeys {
    static RINGS: OnceLock<BTreeMap<Gen, Keyring>> = OnceLock::new();
    let rings = RINGS.get_or_init(|| {
        let all = kids().into_iter().flat_map(|kid| (1..=GENERATIONS).map(move |number| Gen { kid, number }));
        all.map(|one| (one, Keyring::build(vec![key(one, Role::Active)], 1).ok().unwrap())).collect()
    });
    rings[&of].get(of.kid).unwrap().active().keys(mode)
}

/// The loaded keys of a kid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    pub(super) active: u8,
    pub(super) old: Option<u8>,
}

/// Returns a policy that mints under `kid` with these normalizers for PHONE, NAME and NOTE.
pub(super) fn policy(name: &str, kid: Kid, normalizers: [Normalizer; 3]) -> Policy {
    let mut text = format!("name = \"{name}\"\nversion = 1\nkid = \"{kid}\"\ntokenization = \"vault-deterministic\"\n");
    for (kind, normalizer) in ["PHONE", "NAME", "NOTE"].into_iter().zip(normalizers) {
        text += &format!("[entities.{kind}]\nnormalize = \"{}\"\n", normalizer.name());
    }
    Policy::parse(&text).unwrap()
}

/// Returns a permit for tokens of every kid.
pub(super) fn permit<O: ScopedOperation>(mode: Mode) -> Permit<O> {
    static POLICIES: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let policies = POLICIES.get_or_init(|| {
        let of_kid = |kid: Kid| {
            let name = kid.as_str().to_lowercase().replace('_', "-");
            (name.clone(), policy(&name, kid, [Normalizer::Exact; 3]))
        };
        Arc::new(PolicySet::build(kids().map(of_kid).into(), None).unwrap())
    });
    Caller::for_tests_in(mode, Grant::all()).permit(policies).unwrap()
}

pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) now_s: Arc<AtomicI64>,
    pub(super) vault: Arc<Vault>,
    pub(super) loaded: BTreeMap<Kid, Loaded>,
    pub(super) second_tokens: BTreeSet<Kid>,
    pub(super) policy: Policy,
    pub(super) model: Model,
    epoch: u64,
}

impl World {
    pub(super) async fn new() -> Self {
        let store = MemoryStore::new();
        let now_s = Arc::new(AtomicI64::new(NOW_S));
        let loaded: BTreeMap<Kid, Loaded> = kids().map(|kid| (kid, Loaded { active: 1, old: None })).into();
        let vault = open(&store, &now_s, ring(&loaded, 1), &BTreeSet::new()).await;
        let policy = policy("p", kids()[0], [Normalizer::PhoneNanp, Normalizer::Casefold, Normalizer::Exact]);
        let second_tokens = BTreeSet::new();
        World { store, now_s, vault, loaded, second_tokens, policy, model: Model::default(), epoch: 1 }
    }

    /// Returns the store as a start with the loaded keys reads it.
    pub(super) async fn controlled(&self) -> ControlledStore {
        let (store, metrics) = (Arc::new(self.store.clone()), Arc::new(VaultMetrics::new().unwrap()));
        let rules = ControlKeyRules { kids: &BTreeSet::new(), accept_new: false, recorded: None };
        let ring = ring(&self.loaded, self.epoch);
        ControlledStore::open(store, &ring, rules, metrics).await.unwrap()
    }

    /// Opens the vault again on the same rows.
    pub(super) async fn restart(&mut self, closing: bool) {
        if closing {
            self.vault.close().await.unwrap();
            self.store.reopen();
        }
        self.epoch += 1;
        self.vault = open(&self.store, &self.now_s, ring(&self.loaded, self.epoch), &self.second_tokens).await;
    }

    /// Opens the vault again on the same rows, seen through another store.
    pub(super) async fn restart_on(&mut self, store: Arc<dyn Store>) {
        self.epoch += 1;
        self.vault = open_on(store, &self.now_s, ring(&self.loaded, self.epoch), &self.second_tokens).await;
    }

    /// Puts other keys into force.
    pub(super) async fn reload(&mut self, loaded: BTreeMap<Kid, Loaded>) {
        self.epoch += 1;
        let reloaded = self.vault.replace_keys(ring(&loaded, self.epoch)).await;
        self.loaded = loaded;
        if reloaded.is_err() {
            // The vault needs an active key that these lack. Only a start takes it away.
            self.restart(false).await;
        }
    }

    pub(super) fn now_s(&self) -> i64 {
        self.now_s.load(Ordering::SeqCst)
    }

    pub(super) fn active(&self, kid: Kid) -> Gen {
        Gen { kid, number: self.loaded[&kid].active }
    }

    pub(super) fn is_loaded(&self, of: Gen) -> bool {
        let pair = self.loaded[&of.kid];
        pair.active == of.number || pair.old == Some(of.number)
    }

    /// Returns the generations that a search under a kid reads, in its order.
    pub(super) fn searched(&self, kid: Kid) -> Vec<Gen> {
        let others = kids().into_iter().filter(|other| *other != kid && self.model.kids_are_related);
        let searched = std::iter::once(kid).chain(others);
        let pair = |kid: Kid| {
            let Loaded { active, old } = self.loaded[&kid];
            std::iter::once(active).chain(old).map(move |number| Gen { kid, number })
        };
        searched.flat_map(pair).collect()
    }

    /// Returns whether a search under a kid may miss records.
    pub(super) fn is_blind(&self, kid: Kid) -> bool {
        let searched = |other: Kid| other == kid || self.model.kids_are_related;
        self.model.records.values().any(|record| searched(record.sealed_by.kid) && !self.is_loaded(record.sealed_by))
    }

    pub(super) async fn tokenize(
        &self,
        mode: Mode,
        items: &[Item],
    ) -> Result<Vec<Result<(String, bool), ItemFailure>>, VaultError> {
        let inputs: Vec<ValueInput<'_>> = items.iter().map(Item::input).collect();
        let minted = self.vault.tokenize::<masker_access::Tokenize>(&permit(mode), &self.policy, &inputs).await?;
        let one = |minted| match minted {
            Tokenized::Token { text, created } => Ok((text, created.unwrap())),
            Tokenized::Failed(failure) => Err(failure),
            Tokenized::Redacted(_) | Tokenized::Passthrough => panic!("the policy tokenizes every kind"),
        };
        Ok(minted.results.into_iter().map(one).collect())
    }

    pub(super) async fn lookup(&self, mode: Mode, items: &[Item]) -> Vec<Result<FoundTokens, ItemFailure>> {
        let inputs: Vec<ValueInput<'_>> = items.iter().map(Item::input).collect();
        self.vault.lookup(&permit(mode), &self.policy, &inputs).await.unwrap().results
    }

    pub(super) async fn rehydrate(&self, mode: Mode, token: &str, context: &str) -> Result<String, ItemFailure> {
        let results = self
            .vault
            .rehydrate::<masker_access::Rehydrate>(&permit(mode), &[TokenInput { token, context }])
            .await
            .unwrap();
        results.results.into_iter().next().unwrap().map(|found| found.value.as_str().to_owned())
    }

    /// Forgets tokens. The results say whether a record was erased.
    pub(super) async fn forget(
        &self,
        mode: Mode,
        tokens: &[(String, String)],
    ) -> Result<Vec<Result<bool, ItemFailure>>, VaultError> {
        let inputs: Vec<TokenInput<'_>> = tokens.iter().map(|(token, context)| TokenInput { token, context }).collect();
        let results = self.vault.forget(&permit(mode), &inputs).await?.results;
        Ok(results.into_iter().map(|one| one.map(|forgotten| forgotten.0.is_some())).collect())
    }

    /// Forgets values. The results say how many tokens were erased.
    pub(super) async fn forget_values(
        &self,
        mode: Mode,
        items: &[Item],
    ) -> Result<Vec<Result<u64, ItemFailure>>, VaultError> {
        let inputs: Vec<ValueInput<'_>> = items.iter().map(Item::input).collect();
        let forgotten = self.vault.forget_values(&permit(mode), &permit(mode), &self.policy, &inputs).await?;
        Ok(forgotten.results.into_iter().map(|one| one.failure.map_or(Ok(one.count), Err)).collect())
    }

    pub(super) async fn export(&self) -> Vec<u8> {
        let mut exporting = self.vault.export(&permit(Mode::Live), [7; 16]).await.unwrap();
        let mut file = Vec::new();
        while let Some(piece) = exporting.next().await.unwrap() {
            file.extend_from_slice(&piece);
        }
        file
    }

    pub(super) async fn import(&self, bytes: &[u8], restore_erased: bool) -> Result<ImportOutcome, VaultImportError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let rules = ImportRules { restore_erased, ..ImportRules::default() };
        self.vault.import(&permit(Mode::Live), file, rules).await
    }

    /// Returns the kid whose key seals a record.
    pub(super) async fn sealing_kid(&self, id: TokenId) -> Kid {
        let row = self.store.get_many(vec![RowKey::record(id.as_bytes())]).await.unwrap().pop().flatten().unwrap();
        Record::decode(&row).unwrap().sealing_kid
    }

    /// Returns the first of the tokens that a search under `kid` finds for a value.
    pub(super) fn first(&self, kid: Kid, mode: Mode, item: &Item) -> Option<TokenId> {
        self.exact(kid, mode, item).first().copied()
    }

    /// Returns the tokens of a value that a search under `kid` finds, in its order.
    pub(super) fn exact(&self, kid: Kid, mode: Mode, item: &Item) -> Vec<TokenId> {
        self.searched(kid).into_iter().flat_map(|of| self.model.list(of, mode, item)).collect()
    }
}

fn ring(loaded: &BTreeMap<Kid, Loaded>, epoch: u64) -> Keyring {
    let pair = |(kid, Loaded { active, old }): (&Kid, &Loaded)| {
        let of = |number| Gen { kid: *kid, number };
        let active = key(of(*active), Role::Active);
        std::iter::once(active).chain(old.map(|old| key(of(old), Role::Old))).collect::<Vec<_>>()
    };
    Keyring::build(loaded.iter().flat_map(pair).collect(), epoch).ok().unwrap()
}

async fn open(store: &MemoryStore, now_s: &Arc<AtomicI64>, ring: Keyring, second_tokens: &BTreeSet<Kid>) -> Arc<Vault> {
    open_on(Arc::new(store.clone()), now_s, ring, second_tokens).await
}

async fn open_on(
    store: Arc<dyn Store>,
    now_s: &Arc<AtomicI64>,
    ring: Keyring,
    second_tokens: &BTreeSet<Kid>,
) -> Arc<Vault> {
    let now_s = Arc::clone(now_s);
    let clock = move || Timestamp::from_second(now_s.load(Ordering::SeqCst)).unwrap();
    let metrics = Arc::new(VaultMetrics::new().unwrap());
    let grace = GracePeriod { days: 30, action: GraceAction::Warn };
    let rules = KeyRules { second_tokens: second_tokens.clone(), accept_new_control_key: true, ..KeyRules::new(grace) };
    Arc::new(Vault::open(store, ring, rules, metrics, Arc::new(clock)).await.unwrap())
}
