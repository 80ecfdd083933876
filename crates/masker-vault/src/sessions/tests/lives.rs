//! Random operations on sessions compared with a model, with orderly restarts, crashes and failing commits.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::*;

const DAY_S: i64 = 24 * 60 * 60;

/// The expected state of a session.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Its tokens, and whether each was rehydrated.
    tokens: BTreeMap<String, bool>,
    others: u64,
    used_s: i64,
    closed_s: Option<i64>,
}

impl Model {
    fn ended_s(&self) -> i64 {
        self.closed_s.unwrap_or(self.used_s)
    }
}

struct Life {
    bench: Bench,
    vault: Arc<Vault>,
    epoch: u64,
    /// The state in memory, and the state after a crash.
    live: BTreeMap<SessionId, Model>,
    durable: BTreeMap<SessionId, Model>,
    /// Sessions that may be open at the next start, because their opening failed but was applied.
    ghosts: usize,
    tokens: Vec<String>,
    rng: ChaCha8Rng,
}

impl Life {
    async fn new(seed: u64) -> Self {
        let bench = Bench::new();
        let vault = bench.open(ring(1, None, 1)).await;
        let mut tokens = Vec::new();
        for number in 0..12 {
            tokens.push(bench.token(&vault, &format!("value {number}")).await);
            tokens.push(email(&bench, &vault, &format!("value {number}")).await);
        }
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Life { bench, vault, epoch: 1, live: [].into(), durable: [].into(), ghosts: 0, tokens, rng }
    }

    fn now_s(&self) -> i64 {
        self.bench.now_s.load(Ordering::SeqCst)
    }

    /// Makes the next commit fail, or not.
    fn fault(&mut self) -> Option<InjectedFault> {
        let fault = [None, None, None, Some(InjectedFault::NotApplied), Some(InjectedFault::AppliedUnanswered)];
        let fault = fault[self.rng.random_range(0..fault.len())];
        fault.into_iter().for_each(|fault| self.bench.store.fail_next_apply(fault));
        fault
    }

    fn one(&mut self) -> Option<SessionId> {
        let place = self.rng.random_range(0..self.live.len().max(1));
        self.live.keys().nth(place).copied()
    }

    fn some_tokens(&mut self) -> Vec<String> {
        (0..self.rng.random_range(0..4))
            .map(|_| self.tokens[self.rng.random_range(0..self.tokens.len())].clone())
            .collect()
    }

    async fn open(&mut self) {
        let fault = self.fault();
        match self.vault.open_session("life", owner()).await {
            Ok(status) => {
                let model = Model { used_s: self.now_s(), ..Model::default() };
                self.live.insert(status.id, model.clone());
                self.durable.insert(status.id, model);
            }
            Err(_) => self.ghosts += usize::from(fault == Some(InjectedFault::AppliedUnanswered)),
        }
    }

    fn use_one(&mut self) {
        let Some(id) = self.one() else { return };
        let (minted, rehydrated, now_s) = (self.some_tokens(), self.some_tokens(), self.now_s());
        let model = self.live.get_mut(&id).unwrap();
        let Some(session) = self.vault.enter_session(id) else {
            assert!(model.closed_s.is_some());
            return;
        };
        assert!(model.closed_s.is_none());
        session.note_minted(minted.iter().map(String::as_str));
        session.note_rehydrated(rehydrated.iter().map(String::as_str));
        model.used_s = now_s;
        for token in minted {
            model.tokens.entry(token).or_insert(false);
        }
        for token in rehydrated {
            match model.tokens.get_mut(&token) {
                Some(rehydrated) => *rehydrated = true,
                None => model.others += 1,
            }
        }
    }

    async fn close_one(&mut self) {
        let Some(id) = self.one() else { return };
        let (fault, now_s) = (self.fault(), self.now_s());
        let closed = self.vault.close_session(id, &LongReads::default()).await;
        let model = self.live.get_mut(&id).unwrap();
        let after = Model { closed_s: model.closed_s.or(Some(now_s)), ..model.clone() };
        match (closed, fault) {
            (Ok(_), _) => {
                self.durable.insert(id, after.clone());
                *model = after;
            }
            (Err(_), Some(InjectedFault::AppliedUnanswered)) => drop(self.durable.insert(id, after)),
            (Err(_), _) => {}
        }
    }

    async fn flush(&mut self) {
        let fault = self.fault();
        let flushed = self.vault.flush_sessions().await;
        if flushed.is_ok() || fault == Some(InjectedFault::AppliedUnanswered) {
            self.durable = self.live.clone();
        }
        if flushed.is_ok() {
            self.ghosts = 0;
        }
    }

    async fn purge(&mut self) {
        self.bench.now_s.fetch_add(self.rng.random_range(0..40) * DAY_S, Ordering::SeqCst);
        let before = self.now_s() - 90 * DAY_S;
        let known = self.live.len();
        self.live.retain(|_, model| model.ended_s() >= before);
        let purged = self.vault.purge_sessions(90).await;
        assert!(purged.1.is_ok());
        assert_eq!(purged.0, (known - self.live.len()) as u64);
        self.durable = self.live.clone();
        self.ghosts = 0;
    }

    async fn restart(&mut self, orderly: bool) {
        if orderly {
            self.vault.close().await.unwrap();
            self.bench.store.reopen();
            self.durable = self.live.clone();
            self.ghosts = 0;
        }
        self.epoch += 1;
        self.vault = self.bench.open(ring(1, None, self.epoch)).await;
        self.live = self.durable.clone();
        for status in self.vault.sessions(&everything(1_000), &LongReads::default()).await.unwrap().sessions {
            if let std::collections::btree_map::Entry::Vacant(unknown) = self.live.entry(status.id) {
                assert!(self.ghosts > 0, "a session that nobody opened");
                self.ghosts -= 1;
                let model = Model { used_s: status.opened_at.unwrap().as_second(), ..Model::default() };
                unknown.insert(model.clone());
                self.durable.insert(status.id, model);
            }
        }
        self.ghosts = 0;
    }

    async fn check(&self) {
        let listed = self.vault.sessions(&everything(1_000), &LongReads::default()).await.unwrap().sessions;
        assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), self.live.keys().copied().collect::<Vec<_>>());
        for one in listed {
            let model = &self.live[&one.id];
            let status = status(&self.vault, one.id).await;
            assert_eq!((&status.kinds, status.closed_at), (&one.kinds, one.closed_at));
            let rehydrated = model.tokens.values().filter(|rehydrated| **rehydrated).count() as u64;
            assert_eq!(status.totals(), counts(model.tokens.len() as u64, rehydrated, model.others));
            for (kind, counts) in &status.kinds {
                let prefix = format!(".{kind}.", kind = kind.as_str());
                let tokens = model.tokens.keys().filter(|token| token.contains(&prefix));
                assert_eq!(tokens.count() as u64, counts.minted);
            }
            assert_eq!(status.closed_at.map(|at| at.as_second()), model.closed_s);
            assert_eq!(status.last_used_at.map(|at| at.as_second()), Some(model.used_s));
            let needs = status.needs.unwrap();
            assert_eq!(needs.generations.iter().map(|need| need.tokens).sum::<u64>(), model.tokens.len() as u64);
        }
    }
}

#[tokio::test]
async fn random_operations_agree_with_the_model_through_crashes_and_failures() {
    let seed: u64 = std::env::var("MASKER_TEST_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("MASKER_TEST_SEED={seed}");
    for life in 0..30 {
        let mut life = Life::new(seed.wrapping_add(life)).await;
        for _ in 0..120 {
            match life.rng.random_range(0..20) {
                0..4 => life.open().await,
                4..11 => life.use_one(),
                11..14 => life.close_one().await,
                14..17 => life.flush().await,
                17 => life.purge().await,
                18 => life.restart(false).await,
                _ => life.restart(true).await,
            }
            // The injected fault was not used.
            life.bench.store.clear_faults();
            life.check().await;
            life.bench.now_s.fetch_add(1, Ordering::SeqCst);
        }
        life.flush().await;
        life.bench.store.clear_faults();
        life.vault.flush_sessions().await.unwrap();
        let open = life.live.values().filter(|model| model.closed_s.is_none());
        let tokens: usize = open.map(|model| model.tokens.len()).sum();
        assert_eq!(life.bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), tokens as u64);
        assert_eq!(life.bench.store.count(RowName::SESSIONS).await.unwrap(), life.live.len() as u64);
    }
}
