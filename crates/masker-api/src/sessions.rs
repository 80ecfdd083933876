//! The wire types of sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/sessions`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct SessionOpen {
    /// The application's name for the session: at most 128 bytes. Empty if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "night run")]
    pub label: Option<String>,
}

/// A session: the tokens that an application got in it, and their use.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionInfo {
    /// The id: 32 hex digits, for the header `X-Masker-Session`. Ids sort by time.
    pub id: String,
    /// The application's name for the session.
    pub label: String,
    /// `open` or `closed`.
    pub status: String,
    /// The caller that opened the session and uses it.
    pub opened_by: SessionOpener,
    /// The time when it was opened (RFC 3339).
    pub opened_at: Option<String>,
    /// The time of the last request in it.
    pub last_used_at: Option<String>,
    /// The time when it was closed.
    pub closed_at: Option<String>,
    /// Distinct tokens that were returned in the session.
    pub minted: u64,
    /// Tokens of those that were rehydrated in the session.
    pub rehydrated: u64,
    /// Tokens of those that were not.
    pub not_rehydrated: u64,
    /// Rehydrations of tokens that were not returned in the session.
    pub others_rehydrated: u64,
    /// Tokens that were returned after the session had reached its limit. They are in no other count, and counted each
    /// time.
    pub tokens_untracked: u64,
    /// The same counts for each kind, in the order of names.
    pub kinds: Vec<SessionKind>,
    /// The key generations that its tokens need, or needed when it was closed; absent from lists if the session is
    /// open.
    pub needs: Option<Vec<SessionTokens>>,
    /// Tokens whose records were erased, so that no key can open them; absent if `needs` is.
    pub gone: Option<u64>,
}

/// The caller that opened a session.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionOpener {
    /// The name of the client or of the API key.
    pub name: String,
    /// The user id of the process.
    pub uid: Option<u32>,
    /// The id of the API key.
    pub api_key_id: Option<String>,
}

/// The counts of one kind.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionKind {
    /// The kind.
    pub kind: String,
    /// Distinct tokens that were returned.
    pub minted: u64,
    /// Tokens of those that were rehydrated.
    pub rehydrated: u64,
    /// Tokens of those that were not.
    pub not_rehydrated: u64,
    /// Rehydrations of tokens that were not returned in the session.
    pub others_rehydrated: u64,
}

/// The number of tokens that need a key generation.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionTokens {
    /// The key id.
    pub kid: String,
    /// The fingerprint of the generation: 16 hex digits, or the 8 of the token if no known generation matches.
    pub fingerprint: String,
    /// The number of tokens.
    pub tokens: u64,
}

/// `GET /api/v1/sessions`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct SessionList {
    /// Sessions in the order of opening: all for callers with `sessions:read`, otherwise their own.
    pub sessions: Vec<SessionInfo>,
    /// The `cursor` of the next page, if there may be one.
    pub next_cursor: Option<String>,
}
