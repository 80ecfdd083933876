//! Placeholders: the names of values in the texts of one session, or of one caller that works without a session.
//!
//! Each owner has a random key, which hashes a value to the code of its placeholder. The key's row is sealed under the
//! control key, and sealed again whenever that is replaced. A row for each placeholder leads to the token of its value. It is
//! written in the batch that mints the token, and only if the code is free: a value whose code another value has gets a longer
//! one. So one value has one placeholder in all texts of its owner, and two values never share one.
//!
//! The key and the rows of a session end with it: a request that is still at work then writes no more of them.

mod place;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    VaultError,
    handles::Handles,
    ids::SessionId,
    reader::Reader,
    tag::TokenTag,
    writer::{Change, CommitDraft, Lane, ReadPlan, WriterHandle},
};
use masker_access::CallerId;
use masker_core::{
    crypto::{PlaceholderKey, TokenId},
    placeholder::Placeholder,
    token::Token,
};
use masker_store::{
    Row, RowChange, RowKey, StoreError,
    record::{PlaceholderKeyRow, PlaceholderOwner, PlaceholderRow, RecordError, SessionRow},
};
use masker_types::limits::KEY_BYTES;

pub(crate) use place::{PlacedToken, Placement, PlacementChange, PlacementOutcome};

/// Returns whose placeholders a request works with: those of its session, or else those of its caller.
pub(crate) fn owner(session: Option<SessionId>, caller: &CallerId) -> PlaceholderOwner {
    match (session, caller) {
        (Some(session), _) => PlaceholderOwner::Session(*session.as_bytes()),
        (None, CallerId::ApiKey(id)) => PlaceholderOwner::ApiKey(*id.as_bytes()),
        (None, CallerId::Client(name, uid)) => {
            client_owner(Sha256::new().chain_update(uid.to_be_bytes()).chain_update(name.as_bytes()))
        }
        // The name of a role has a colon at its fifth byte, which no name of a client has: so no client has this id.
        (None, CallerId::Certificate(role, key)) => {
            client_owner(Sha256::new().chain_update(role.as_bytes()).chain_update([0]).chain_update(key.as_bytes()))
        }
    }
}

fn client_owner(hash: Sha256) -> PlaceholderOwner {
    let hash = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    PlaceholderOwner::Client(id)
}

/// Reads placeholders and makes keys.
pub(crate) struct Placeholders {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
}

impl Placeholders {
    pub(crate) fn new(handles: &Handles) -> Self {
        Placeholders { reader: Arc::clone(&handles.reader), writer: Arc::clone(&handles.writer) }
    }

    /// Returns the key of an owner. The first call makes it.
    pub(crate) async fn key(&self, owner: PlaceholderOwner, caller: CallerId) -> Result<PlaceholderKey, VaultError> {
        let rows = self.reader.store().get_many(vec![RowKey::placeholder_key(owner)]).await?;
        let key = match rows.into_iter().next().flatten() {
            Some(row) => decoded_key(row)?,
            None => {
                let proposed = Zeroizing::new(rand::random());
                let row = self.writer.commit(KeyChange { owner, proposed, lane: Lane::Caller(caller) }).await?;
                decoded_key(row.ok_or(VaultError::SessionEnded)?)?
            }
        };
        PlaceholderKey::new(&key).map_err(|failed| StoreError::Unavailable(failed.to_string()).into())
    }

    /// Returns the tokens of placeholders; `None` for those that the owner does not have. What it returns is durable.
    pub(crate) async fn tokens(
        &self,
        owner: PlaceholderOwner,
        placeholders: &[Placeholder],
    ) -> Result<Vec<Option<String>>, VaultError> {
        if placeholders.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let marker = self.reader.in_flight().read_marker();
            let keys = placeholders.iter().map(|placeholder| row_key(owner, placeholder)).collect();
            let rows = self.reader.store().get_many(keys).await?;
            let tokens: Vec<Option<String>> = rows
                .into_iter()
                .map(|row| row.and_then(|row| PlaceholderRow::decode(&row).ok()).map(|row| row.token))
                .collect();
            let ids = tokens.iter().flatten().filter_map(|token| tag_of(token));
            if !self.reader.in_flight().must_reread(&marker, ids).await {
                return Ok(tokens);
            }
        }
    }
}

/// Returns the key of a placeholder's row.
fn row_key(owner: PlaceholderOwner, placeholder: &Placeholder) -> RowKey {
    RowKey::placeholder(owner, placeholder.kind, placeholder.code.digits())
}

/// Returns what identifies the token of a placeholder while its row is being written.
fn tag_of(token: &str) -> Option<TokenId> {
    Token::parse(token).ok().map(|token| TokenId::from_bytes(*TokenTag::of(&token).as_bytes()))
}

fn decoded_key(row: Row) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let row = Zeroizing::new(row);
    let decoded =
        PlaceholderKeyRow::decode(&row).map_err(|damage: RecordError| StoreError::Damaged(damage.to_string()))?;
    Ok(Zeroizing::new(decoded.key))
}

/// Plans to read what [`can_write`] needs.
fn plan_owner(owner: PlaceholderOwner, plan: &mut ReadPlan<'_>) {
    if let PlaceholderOwner::Session(id) = owner {
        plan.row(RowKey::session(&id));
    }
}

/// Returns whether an owner may still get rows: every caller, and a session while it is open.
fn can_write(owner: PlaceholderOwner, draft: &CommitDraft<'_>) -> bool {
    let PlaceholderOwner::Session(id) = owner else { return true };
    let row = draft.row(&RowKey::session(&id)).and_then(|row| SessionRow::decode(row).ok());
    row.is_some_and(|row| row.closed_at_ms.is_none())
}

/// Writes the key of an owner, unless it has one. The outcome is the key's row; `None` if the owner is a session that has
/// ended.
struct KeyChange {
    owner: PlaceholderOwner,
    proposed: Zeroizing<[u8; KEY_BYTES]>,
    lane: Lane,
}

impl Change for KeyChange {
    type Outcome = Option<Row>;

    fn lane(&self) -> Lane {
        self.lane.clone()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        plan_owner(self.owner, plan);
        plan.row(RowKey::placeholder_key(self.owner));
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Option<Row> {
        let key = RowKey::placeholder_key(self.owner);
        if let Some(row) = draft.row(&key) {
            return Some(row.clone());
        }
        can_write(self.owner, draft).then(|| {
            let row = PlaceholderKeyRow { key: *self.proposed }.encode();
            draft.write(RowChange::Put(key, row.clone()));
            row
        })
    }
}
