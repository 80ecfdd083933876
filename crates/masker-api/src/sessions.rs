//! The wire types of sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/sessions`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct SessionOpen {
    /// What its application calls it: at most 128 bytes; nothing where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "night run")]
    pub label: Option<String>,
}

/// A session: what an application was handed out in it, and what it did with it.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionInfo {
    /// Its id: 32 hex digits, for the header `X-Masker-Session`. Ids sort by time.
    pub id: String,
    /// What its application calls it.
    pub label: String,
    /// `open` or `closed`.
    pub status: String,
    /// Who opened it, and works in it.
    pub opened_by: SessionOpener,
    /// When it was opened (RFC 3339).
    pub opened_at: Option<String>,
    /// When a request last named it.
    pub last_used_at: Option<String>,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// Distinct tokens handed out in it.
    pub minted: u64,
    /// How many of those were rehydrated in it.
    pub rehydrated: u64,
    /// How many were not.
    pub not_rehydrated: u64,
    /// How often it rehydrated a token that it was not handed out.
    pub others_rehydrated: u64,
    /// Tokens handed out when it held as many as it can, each time: they are in no other count.
    pub tokens_untracked: u64,
    /// The same counts by kind, in the order of names.
    pub kinds: Vec<SessionKind>,
    /// The key generations that its tokens need, or needed when it was closed; absent from lists for those that are open.
    pub needs: Option<Vec<SessionTokens>>,
    /// Tokens whose records are gone, for which no key is of use; absent where `needs` is.
    pub gone: Option<u64>,
}

/// Who opened a session.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionOpener {
    /// The name of the client or of the API key.
    pub name: String,
    /// The user id of the process.
    pub uid: Option<u32>,
    /// The id of the API key.
    pub api_key_id: Option<String>,
}

/// What became of the tokens of one kind.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionKind {
    /// The kind.
    pub kind: String,
    /// Distinct tokens handed out.
    pub minted: u64,
    /// How many of those were rehydrated.
    pub rehydrated: u64,
    /// How many were not.
    pub not_rehydrated: u64,
    /// How often a token was rehydrated that was not handed out in this session.
    pub others_rehydrated: u64,
}

/// How many tokens need a key generation.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionTokens {
    /// The key id.
    pub kid: String,
    /// The generation's public name: 16 hex digits, or the 8 that a token carries where no known generation has them.
    pub fingerprint: String,
    /// Tokens.
    pub tokens: u64,
}

/// `GET /api/v1/sessions`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct SessionList {
    /// Sessions in the order in which they were opened: all of them for callers with `sessions:read`, else their own.
    pub sessions: Vec<SessionInfo>,
    /// `cursor` of the next page, where there may be one.
    pub next_cursor: Option<String>,
}
