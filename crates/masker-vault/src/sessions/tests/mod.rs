use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Poll, Waker},
};

use jiff::Timestamp;

use super::{
    LongReads, SessionError, SessionFilter, SessionState, SessionStatus,
    quota::TokenQuota,
    session::{NotedToken, Session, TokenSource},
    share::SessionShare,
};
use crate::{
    RotationRequest, SessionId, Vault,
    paged_scan::PAGE_ROWS,
    tag::TokenTag,
    tests::{Bench, NOW_S, forget, kid, permit, ring},
};
use masker_access::{ApiKey, ApiKeyId, ApiKeySecret, ApiKeySpec, Mode};
use masker_core::{crypto::TokenId, token::Token};
use masker_store::{
    Store,
    memory::InjectedFault,
    record::{RotationState, RowName, SESSION_KINDS_MAX, SessionCounts, SessionOwner, SessionRow},
};
use masker_types::{
    grant::{Grant, Limits},
    kind::EntityKind,
    limits::{LABEL_BYTES_MAX, OPEN_SESSIONS_TOKENS_MAX, SESSION_TOKENS_MAX, SESSIONS_OPEN_MAX},
};

mod lives;

fn owner() -> SessionOwner {
    SessionOwner { name: "billing".to_owned(), uid: Some(7), key_id: None }
}

async fn open(vault: &Vault) -> SessionId {
    vault.open_session("night run", owner()).await.unwrap().id
}

async fn status(vault: &Vault, id: SessionId) -> SessionStatus {
    vault.session(id, &LongReads::default()).await.unwrap().unwrap()
}

async fn email(bench: &Bench, vault: &Vault, value: &str) -> String {
    bench.mint(vault, "EMAIL", &[value]).await.pop().unwrap().unwrap().0
}

fn kind(name: &str) -> EntityKind {
    EntityKind::parse(name).unwrap()
}

fn counts(minted: u64, rehydrated: u64, others_rehydrated: u64) -> SessionCounts {
    SessionCounts { minted, rehydrated, others_rehydrated }
}

fn everything(limit: usize) -> SessionFilter<'static> {
    SessionFilter { opened_by: None, since: None, state: None, limit, cursor: None }
}

/// Returns a vault token that was never minted.
fn text(number: u64) -> String {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Token::Vault { kind: kind("NOTE"), kid: kid(), id: TokenId::from_bytes(id) }.to_text()
}

fn noted(number: u64, name: &str) -> NotedToken {
    let mut tag = [0; 20];
    tag[..8].copy_from_slice(&number.to_be_bytes());
    NotedToken { tag: TokenTag::from_bytes(tag), source: TokenSource { kind: kind(name), kid: kid(), prefix: None } }
}

fn session() -> Session {
    let row = SessionRow {
        label: String::new(),
        opened_by: owner(),
        opened_at_ms: 1,
        last_used_ms: 1,
        closed_at_ms: None,
        untracked: 0,
        gone: 0,
        kinds: vec![],
        needs: vec![],
    };
    Session::new(SessionId::from_bytes([1; 16]), row, SessionShare::of_caller("tests"))
}

/// Opens a session of a caller without writing it; `None` if its share is used up.
fn reserve<'s>(sessions: &'s super::SessionRegistry, name: &str) -> Option<super::registry::SessionSlot<'s>> {
    sessions.reserve(SessionId::new(1, rand::random()), session().row(), SessionShare::of_caller(name))
}

#[tokio::test]
async fn counts_distinct_tokens_by_kind_and_use() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    let (a, b, c) = (bench.token(&vault, "a").await, bench.token(&vault, "b").await, email(&bench, &vault, "c").await);
    let foreign = bench.token(&vault, "of another session").await;
    let session = vault.enter_session(id).unwrap();
    assert_eq!((session.id(), session.opened_by()), (id, &owner()));
    bench.now_s.store(NOW_S + 5, Ordering::SeqCst);
    session.note_minted([a.as_str(), &b, &c, &a, "no token"]);
    session.note_minted([a.as_str(), &c]);
    session.note_rehydrated([a.as_str(), &a, &foreign, &foreign]);
    session.note_rehydrated([a.as_str()]);

    let now = status(&vault, id).await;
    assert_eq!(now.kinds, [(kind("EMAIL"), counts(1, 0, 0)), (kind("NOTE"), counts(2, 1, 2))]);
    assert_eq!((now.totals(), now.tokens_untracked), (counts(3, 1, 2), 0));
    assert_eq!((now.label.as_str(), now.opened_by.clone(), now.closed_at), ("night run", owner(), None));
    assert_eq!(now.opened_at.unwrap().as_second(), NOW_S);
    assert_eq!(now.last_used_at.unwrap().as_second(), NOW_S + 5);
    let needs = now.needs.unwrap();
    let active = ring(1, None, 1).get(kid()).unwrap().active().fingerprint().to_string();
    let generations: Vec<_> =
        needs.generations.iter().map(|need| (need.kid, need.fingerprint.clone(), need.tokens)).collect();
    assert_eq!((generations, needs.gone), (vec![(kid(), active, 3)], 0));
}

#[tokio::test]
async fn a_closed_session_keeps_its_counts_and_drops_its_tokens() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (id, other) = (open(&vault).await, open(&vault).await);
    let (a, b) = (bench.token(&vault, "a").await, bench.token(&vault, "b").await);
    let session = vault.enter_session(id).unwrap();
    session.note_minted([a.as_str(), &b]);
    session.note_rehydrated([b.as_str()]);
    vault.enter_session(other).unwrap().note_minted([a.as_str()]);
    vault.flush_sessions().await.unwrap();
    assert_eq!(bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), 3);
    assert_eq!(forget(&vault, &a).await, Ok(true));
    bench.now_s.store(NOW_S + 60, Ordering::SeqCst);

    let closed = vault.close_session(id, &LongReads::default()).await.unwrap();
    assert_eq!(closed.kinds, [(kind("NOTE"), counts(2, 1, 0))]);
    assert_eq!(closed.closed_at.unwrap().as_second(), NOW_S + 60);
    let needs = closed.needs.clone().unwrap();
    assert_eq!((needs.generations.len(), needs.generations[0].tokens, needs.gone), (1, 1, 1));
    // A closed session counts nothing.
    session.note_minted([text(1).as_str()]);
    session.note_rehydrated([a.as_str()]);
    assert!(vault.enter_session(id).is_none());
    bench.now_s.store(NOW_S + 120, Ordering::SeqCst);
    assert_eq!(vault.close_session(id, &LongReads::default()).await.unwrap(), closed);
    vault.flush_sessions().await.unwrap();
    assert_eq!(bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), 1, "that of the other session");
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    assert_eq!(status(&vault, id).await, closed);
    assert_eq!(status(&vault, other).await.totals(), counts(1, 0, 0));
    let unknown = SessionId::from_bytes([9; 16]);
    assert!(matches!(vault.close_session(unknown, &LongReads::default()).await, Err(SessionError::NotFound)));
    assert_eq!(vault.session(unknown, &LongReads::default()).await.unwrap(), None);
}

#[tokio::test]
async fn a_start_removes_tokens_of_closed_sessions_left_by_a_crash() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    vault.enter_session(id).unwrap().note_minted((0..2_500).map(text).collect::<Vec<_>>().iter().map(String::as_str));
    vault.flush_sessions().await.unwrap();
    vault.close_session(id, &LongReads::default()).await.unwrap();
    assert_eq!(bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), 2_500);
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    vault.flush_sessions().await.unwrap();
    assert_eq!(bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), 0);
    assert_eq!(status(&vault, id).await.totals(), counts(2_500, 0, 0));
}

#[tokio::test]
async fn closing_the_vault_writes_the_counts() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    let tokens: Vec<String> = (0..2_500).map(text).collect();
    let session = vault.enter_session(id).unwrap();
    session.note_minted(tokens.iter().map(String::as_str));
    session.note_rehydrated(tokens[..700].iter().map(String::as_str));
    vault.close().await.unwrap();
    bench.store.reopen();
    let vault = bench.open(ring(1, None, 2)).await;
    let now = status(&vault, id).await;
    assert_eq!(now.kinds, [(kind("NOTE"), counts(2_500, 700, 0))]);
    assert_eq!(now.needs.unwrap().gone, 2_500, "none of them was ever minted");
}

#[test]
fn a_session_tracks_tokens_up_to_a_limit_and_counts_the_rest() {
    let (session, quota) = (session(), TokenQuota::default());
    let tokens: Vec<NotedToken> = (0..SESSION_TOKENS_MAX as u64 + 5).map(|number| noted(number, "NOTE")).collect();
    session.minted(&tokens, 1, &quota);
    session.minted(&tokens[SESSION_TOKENS_MAX - 1..], 1, &quota);
    session.rehydrated(&tokens[SESSION_TOKENS_MAX - 1..], 1);
    let row = session.row();
    assert_eq!(row.kinds, [(kind("NOTE"), counts(SESSION_TOKENS_MAX as u64, 1, 5))]);
    assert_eq!(row.untracked, 10, "each time, for they are not distinguished");

    let (session, quota) = (self::session(), TokenQuota::default());
    for number in 0..SESSION_KINDS_MAX as u64 + 2 {
        session.minted(&[noted(number, &format!("K{number}"))], 1, &quota);
    }
    assert_eq!((session.row().kinds.len(), session.row().untracked), (SESSION_KINDS_MAX, 2));
}

#[test]
fn all_sessions_together_have_a_limit_of_tracked_tokens() {
    let sessions = super::SessionRegistry::default();
    let (first, others) = (session(), SessionShare::of_caller("others"));
    let tokens: Vec<NotedToken> = (0..7).map(|number| noted(number, "NOTE")).collect();
    first.minted(&tokens[..3], 1, &sessions.quota);
    while sessions.quota.restore(0, &others) {}
    first.minted(&tokens, 1, &sessions.quota);
    assert_eq!((first.row().kinds[0].1.minted, first.row().untracked), (3, 4));
    sessions.quota.give_back(10, &others);
    sessions.remove(&first, &first.end());
    // A request that entered it before takes nothing from the quota any more.
    first.minted(&tokens, 1, &sessions.quota);
    first.rehydrated(&tokens, 1);
    assert_eq!((first.row().kinds[0].1, first.row().untracked), (counts(3, 0, 0), 4));
    let second = session();
    second.minted(&tokens, 1, &sessions.quota);
    assert_eq!((second.row().kinds[0].1.minted, second.row().untracked), (7, 0), "of 13 that are free");
}

#[test]
fn every_holder_leaves_tokens_for_others() {
    let quota = TokenQuota::default();
    let mut left = OPEN_SESSIONS_TOKENS_MAX;
    for name in ["one", "two", "three", "four"] {
        let share = SessionShare::of_caller(name);
        let tracked = (0..=left).take_while(|_| quota.take(0, &share)).count();
        assert_eq!((tracked, share.tokens()), (left.div_ceil(2), tracked), "{name}");
        left -= tracked;
    }
    // What a session tracked before a restart is tracked again, also without room for more.
    assert!(quota.restore(0, &SessionShare::of_caller("one")));
}

#[tokio::test]
async fn keys_share_with_the_first_key_of_their_line() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let key = |id: u8, parent: Option<u8>| {
        let spec = ApiKeySpec {
            name: format!("key {id}"),
            workspace: "default".to_owned(),
            owner: "ada".to_owned(),
            grant: Grant::all(),
            limits: Limits::none(),
            mode: Mode::Live,
            expires_at_ms: None,
            parent: parent.map(|parent| ApiKeyId::from_bytes([parent; 16])),
        };
        let shown = ApiKeySecret::generate(Mode::Live, &mut rand::rng()).presented();
        // The client `billing` has created the fifth, and the operator the others.
        let creator = if id == 5 { "billing" } else { "trusted" };
        ApiKey::create(ApiKeyId::from_bytes([id; 16]), spec, &shown, creator, 1)
    };
    // The last two are damaged: each names the other as its creator.
    let keys = [
        key(1, None),
        key(2, Some(1)),
        key(3, Some(2)),
        key(4, None),
        key(5, None),
        key(6, Some(5)),
        key(8, Some(9)),
        key(9, Some(8)),
    ];
    vault.keep_api_keys(&permit(), &keys).await.unwrap();
    let by = |id: u8| SessionOwner { key_id: Some([id; 16]), ..owner() };
    let store = bench.controlled(&ring(1, None, 1)).await;
    let share = async |owner: SessionOwner| SessionShare::of(&owner, &store).await.unwrap();
    let first = share(by(1)).await;
    for (owner, is_same) in
        [(by(2), true), (by(3), true), (by(4), false), (by(8), false), (by(7), false), (owner(), false)]
    {
        let name = format!("{:?}", owner.key_id);
        assert_eq!(share(owner).await.is_same(&first), is_same, "{name}");
    }
    // A client and the keys that come from it, but not another client or the operator.
    let client = share(owner()).await;
    let operator = SessionOwner { name: "trusted".to_owned(), ..owner() };
    let other = SessionOwner { name: "payroll".to_owned(), ..owner() };
    for (owner, is_same) in [(by(5), true), (by(6), true), (by(4), false), (operator, false), (other, false)] {
        let name = format!("{owner:?}");
        assert_eq!(share(owner).await.is_same(&client), is_same, "{name}");
    }

    // Open sessions of a line have one share, also after a restart.
    for id in [1, 2, 3] {
        let session = vault.open_session("", by(id)).await.unwrap().id;
        vault.enter_session(session).unwrap().note_minted([text(u64::from(id)).as_str(), &text(9)]);
    }
    vault.open_session("", by(4)).await.unwrap();
    vault.flush_sessions().await.unwrap();
    let tokens = |sessions: &super::SessionRegistry| {
        let mut tokens: Vec<(u8, usize)> =
            sessions.all().iter().map(|open| (open.opened_by.key_id.unwrap()[0], open.share.tokens())).collect();
        tokens.sort_unstable();
        tokens
    };
    let store = bench.controlled(&ring(1, None, 1)).await;
    let loaded = super::SessionRegistry::load(&store).await.unwrap();
    assert_eq!(tokens(&loaded), [(1, 6), (2, 6), (3, 6), (4, 0)]);
}

#[tokio::test]
async fn bounds_labels_owners_and_the_number_of_sessions() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    for label in ["l".repeat(LABEL_BYTES_MAX + 1), "a\tb".to_owned()] {
        assert!(matches!(vault.open_session(&label, owner()).await, Err(SessionError::Label)));
        let owner = SessionOwner { name: label, ..owner() };
        assert!(matches!(vault.open_session("", owner).await, Err(SessionError::Owner)));
    }
    let nobody = SessionOwner { name: String::new(), ..owner() };
    assert!(matches!(vault.open_session("", nobody).await, Err(SessionError::Owner)));
    let first = open(&vault).await;
    for _ in 1..SESSIONS_OPEN_MAX / 2 {
        open(&vault).await;
    }
    assert!(matches!(vault.open_session("", owner()).await, Err(SessionError::TooMany)));
    vault.close_session(first, &LongReads::default()).await.unwrap();
    open(&vault).await;
    assert!(matches!(vault.open_session("", owner()).await, Err(SessionError::TooMany)));
}

#[test]
fn every_owner_leaves_room_for_others() {
    let sessions = super::SessionRegistry::default();
    let open = |name: &str| reserve(&sessions, name).map(super::registry::SessionSlot::fill).is_some();
    let mut left = SESSIONS_OPEN_MAX;
    for name in ["one", "two", "three", "four"] {
        let opened = (0..=left).take_while(|_| open(name)).count();
        assert_eq!(opened, left.div_ceil(2), "{name}");
        left -= opened;
    }
    assert!(!open("one") && open("another"));
    // A session that is being opened counts as well.
    let slots: Vec<_> = (0..left).map_while(|_| reserve(&sessions, "slow")).collect();
    assert_eq!(slots.len(), (left - 1).div_ceil(2));
    drop(slots);
    assert!(open("slow"));
}

#[tokio::test]
async fn a_failed_commit_opens_and_closes_no_session() {
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let bench = Bench::new();
        let vault = bench.open(ring(1, None, 1)).await;
        bench.store.fail_next_apply(fault);
        assert!(matches!(vault.open_session("", owner()).await, Err(SessionError::Vault(_))));
        assert_eq!(vault.sessions(&everything(9), &LongReads::default()).await.unwrap().sessions, []);
        vault.flush_sessions().await.unwrap();
        assert_eq!(bench.store.count(RowName::SESSIONS).await.unwrap(), 0, "{fault:?}");

        let id = open(&vault).await;
        bench.store.fail_next_apply(fault);
        assert!(matches!(vault.close_session(id, &LongReads::default()).await, Err(SessionError::Vault(_))));
        vault.enter_session(id).unwrap().note_minted([text(1).as_str()]);
        vault.flush_sessions().await.unwrap();
        drop(vault);
        let vault = bench.open(ring(1, None, 2)).await;
        assert_eq!(status(&vault, id).await.kinds, [(kind("NOTE"), counts(1, 0, 0))], "{fault:?}");
        assert_eq!(status(&vault, id).await.state(), SessionState::Open, "{fault:?}");
    }
}

/// A close or a flush may be dropped at any moment: the next one does its work.
#[tokio::test]
async fn a_dropped_flush_or_close_loses_nothing() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    vault.enter_session(id).unwrap().note_minted([text(1).as_str()]);
    let mut cx = task::Context::from_waker(Waker::noop());
    // All tasks share one thread: after this the writer waits for the store or for changes.
    let run_until_idle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    // Neither receives its outcome: the flush was not applied, the close was.
    bench.store.fail_next_apply(InjectedFault::NotApplied);
    let held = bench.store.hold_applies().await;
    let mut flush = Box::pin(vault.flush_sessions());
    assert!(matches!(Future::poll(flush.as_mut(), &mut cx), Poll::Pending));
    run_until_idle().await;
    drop((flush, held));
    run_until_idle().await;
    let held = bench.store.hold_applies().await;
    let reads = LongReads::default();
    let mut close = Box::pin(vault.close_session(id, &reads));
    assert!(matches!(Future::poll(close.as_mut(), &mut cx), Poll::Pending));
    run_until_idle().await;
    drop((close, held));
    run_until_idle().await;
    vault.enter_session(id).unwrap().note_minted([text(2).as_str()]);
    vault.flush_sessions().await.unwrap();
    drop(vault);
    let vault = bench.open(ring(1, None, 2)).await;
    assert_eq!(status(&vault, id).await.totals(), counts(2, 0, 0));
    assert_eq!(status(&vault, id).await.state(), SessionState::Open);
}

#[tokio::test]
async fn concurrent_closes_return_the_same_status() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    vault.enter_session(id).unwrap().note_minted([text(1).as_str()]);
    let reads = [LongReads::default(), LongReads::default()];
    let (one, other, flushed) =
        tokio::join!(vault.close_session(id, &reads[0]), vault.close_session(id, &reads[1]), vault.flush_sessions());
    assert_eq!(one.unwrap(), other.unwrap());
    flushed.unwrap();
    assert_eq!(status(&vault, id).await.state(), SessionState::Closed);
}

#[tokio::test]
async fn others_run_while_the_tokens_of_a_large_session_are_read() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let id = open(&vault).await;
    let texts: Vec<String> = (0..5 * PAGE_ROWS as u64).map(text).collect();
    vault.enter_session(id).unwrap().note_minted(texts.iter().map(String::as_str));
    let turns = Arc::new(AtomicUsize::new(0));
    let others = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(status(&vault, id).await.needs.unwrap().gone, 5 * PAGE_ROWS as u64);
    assert!(turns.load(Ordering::SeqCst) >= 5);
    others.abort();
}

#[tokio::test]
async fn lists_sessions_in_pages_by_time_and_state() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let mut ids = Vec::new();
    for second in 0..10 {
        bench.now_s.store(NOW_S + second, Ordering::SeqCst);
        ids.push(open(&vault).await);
    }
    for id in [ids[2], ids[5], ids[9]] {
        vault.close_session(id, &LongReads::default()).await.unwrap();
    }
    let at = |second| Some(Timestamp::from_second(NOW_S + second).unwrap());
    let list = async |filter: SessionFilter<'_>| {
        let (mut found, mut pages, mut filter) = (Vec::new(), 0, filter);
        loop {
            let page = vault.sessions(&filter, &LongReads::default()).await.unwrap();
            assert!(page.sessions.len() <= filter.limit);
            found.extend(page.sessions.iter().map(|one| one.id));
            pages += 1;
            match page.next {
                Some(next) => filter.cursor = Some(next),
                None => return (found, pages),
            }
        }
    };
    for limit in [1, 3, 10, 1_000] {
        let (found, pages) = list(everything(limit)).await;
        assert_eq!(found, ids);
        assert_eq!(pages, 10 / limit + 1);
        let open = SessionFilter { state: Some(SessionState::Open), ..everything(limit) };
        assert_eq!(list(open).await.0, [0, 1, 3, 4, 6, 7, 8].map(|place: usize| ids[place]));
        let closed = SessionFilter { state: Some(SessionState::Closed), since: at(5), ..everything(limit) };
        assert_eq!(list(closed).await.0, [ids[5], ids[9]]);
        assert_eq!(list(SessionFilter { since: at(10), ..everything(limit) }).await.0, []);
    }
    let needs = vault.sessions(&everything(9), &LongReads::default()).await.unwrap().sessions;
    assert!(needs.iter().all(|one| one.needs.is_some() == (one.state() == SessionState::Closed)));
}

#[tokio::test]
async fn reports_the_old_keys_that_tokens_of_sessions_need() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (record, with_value) = (bench.token(&vault, "kept").await, email(&bench, &vault, "with_value").await);
    assert!(vault.sessions.sessions_on_old_keys(&LongReads::default()).await.unwrap().is_empty());
    drop(vault);
    let vault = bench.open(ring(2, Some(1), 2)).await;
    let new = bench.token(&vault, "new").await;
    let (ids, tokens) = ([open(&vault).await, open(&vault).await, open(&vault).await], [&record, &with_value, &new]);
    for (id, token) in ids.into_iter().zip(tokens) {
        vault.enter_session(id).unwrap().note_minted([token.as_str()]);
    }
    open(&vault).await;
    let keys = ring(2, Some(1), 2);
    let pair = keys.get(kid()).unwrap();
    let (active, old) = (pair.active().fingerprint(), pair.old().unwrap().fingerprint());
    assert_eq!(vault.sessions.sessions_on_old_keys(&LongReads::default()).await.unwrap(), [((kid(), old), 2)].into());
    vault.enter_session(ids[2]).unwrap().note_minted([record.as_str(), &with_value]);
    assert_eq!(vault.sessions.sessions_on_old_keys(&LongReads::default()).await.unwrap(), [((kid(), old), 3)].into());

    // A rotation moves records, but no token that contains its value.
    let request = RotationRequest { new_kid: kid(), old_kid: None, dry_run: false, rows_per_second_max: 0 };
    let rotation = vault.begin_rotation(&permit(), request).await.unwrap().id;
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let ended = async {
        while vault.rotation(&permit(), rotation).is_ok_and(|status| status.state == RotationState::Running) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = vault.drive_rotations(stopping) => {}
    }
    assert_eq!(vault.sessions.sessions_on_old_keys(&LongReads::default()).await.unwrap(), [((kid(), old), 2)].into());
    let needs = |status: SessionStatus| {
        let generations = status.needs.unwrap().generations.into_iter();
        generations.map(|need| (need.fingerprint, need.tokens)).collect::<Vec<_>>()
    };
    assert_eq!(needs(status(&vault, ids[0]).await), [(active.to_string(), 1)]);
    let both = [(active.to_string(), 2), (old.to_string(), 1)];
    assert_eq!(needs(status(&vault, ids[2]).await), both, "the most needed first");
    assert_eq!(needs(vault.close_session(ids[2], &LongReads::default()).await.unwrap()), both);
    assert_eq!(
        vault.sessions.sessions_on_old_keys(&LongReads::default()).await.unwrap(),
        [((kid(), old), 1)].into(),
        "of those that are open"
    );
}

#[tokio::test]
async fn retention_begins_when_a_session_is_closed_or_last_used() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (closed, open, used) = (open(&vault).await, self::open(&vault).await, self::open(&vault).await);
    bench.now_s.store(NOW_S + 10, Ordering::SeqCst);
    vault.close_session(closed, &LongReads::default()).await.unwrap();
    vault.enter_session(used).unwrap().note_minted([text(1).as_str()]);
    vault.flush_sessions().await.unwrap();
    let day = 24 * 60 * 60;
    for (second, purged, left) in [(0, 0, 3), (1, 1, 2), (10, 0, 2), (11, 2, 0)] {
        bench.now_s.store(NOW_S + 7 * day + second, Ordering::SeqCst);
        let (removed, result) = vault.purge_sessions(7).await;
        assert!(result.is_ok());
        assert_eq!(removed, purged, "{second}");
        assert_eq!(bench.store.count(RowName::SESSIONS).await.unwrap(), left, "{second}");
    }
    assert!(vault.enter_session(open).is_none() && vault.enter_session(used).is_none());
    assert_eq!(bench.store.count(RowName::SESSION_TOKENS).await.unwrap(), 0);
}

#[tokio::test]
async fn an_undecodable_row_is_damage() {
    use masker_store::{RowBatch, RowChange, RowKey};
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let (id, sound) = (open(&vault).await, open(&vault).await);
    vault.close_session(id, &LongReads::default()).await.unwrap();
    let change = RowChange::Put(RowKey::session(id.as_bytes()), vec![1, 9]);
    let store = bench.controlled(&ring(1, None, 1)).await;
    store.apply(RowBatch { preconditions: vec![], changes: vec![change] }).await.unwrap();
    assert!(vault.session(id, &LongReads::default()).await.is_err());
    let listed = vault.sessions(&everything(9), &LongReads::default()).await.unwrap().sessions;
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [sound]);
}
