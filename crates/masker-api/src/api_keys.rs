//! The wire types of API keys.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use masker_types::grant::Limits;

/// `POST /api/v1/api-keys`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// What people call it: 1 to 64 characters.
    pub name: String,
    /// The workspace that it is counted in; `default` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Whose it is: a person, or the organization; the caller where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it may do, such as `["tokenize", "rehydrate:PHONE"]`.
    pub scopes: Vec<String>,
    /// The policies that it is held to; all where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// The contexts that it is held to, such as `["clinic-7", "clinic-7/*"]`; all where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Vec<String>>,
    /// When it expires (RFC 3339); never where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// `live`, where nothing is given, or `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `"standard"`, where nothing is given, `"none"`, or an object of limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub limits: Option<Limits>,
}

/// `PATCH /api/v1/api-keys/{id}`: what is absent stays.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyPatch {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// How much it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub limits: Option<Limits>,
    /// When it expires (RFC 3339); `null` for never.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Option<String>>,
}

/// Tells a field that is `null` from one that is absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `POST /api/v1/api-keys/{id}/rotate`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRotate {
    /// How long the secret that is replaced works on, in seconds: 0 to 2,592,000; 86,400 where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// An API key, without its secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyStatus {
    /// Its id: 32 hex digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The first 16 characters of its secret, which may be shown.
    pub prefix: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// Whether it is active and nobody has used it for 90 days.
    pub inactive: bool,
    /// `live` or `test`.
    pub mode: String,
    /// The workspace that it is counted in.
    pub workspace: String,
    /// Whose it is.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The policies that it is held to; absent where it may use all.
    pub policies: Option<Vec<String>>,
    /// The contexts that it is held to; absent where it may use all.
    pub contexts: Option<Vec<String>>,
    /// How much it may do: `"none"`, `"standard"` or an object of limits.
    #[schema(value_type = serde_json::Value)]
    pub limits: Limits,
    /// Who created it.
    pub created_by: String,
    /// When it was created (RFC 3339).
    pub created_at: Option<String>,
    /// When it expires.
    pub expires_at: Option<String>,
    /// When it was last given another secret.
    pub rotated_at: Option<String>,
    /// Until when a secret that was replaced still works, if one does.
    pub grace_ends: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// When it was last used, and by which process.
    pub last_used: Option<ApiKeyUse>,
}

/// Who last used an API key.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyUse {
    /// When (RFC 3339), to the second.
    pub at: Option<String>,
    /// The user id of the process.
    pub uid: u32,
    /// Its unit of the system's service manager.
    pub unit: Option<String>,
}

/// A key that has a new secret: shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyIssued {
    /// The secret, for the `Authorization` header. Nobody can show it again.
    pub key: String,
    /// What it is the secret of.
    pub api_key: ApiKeyStatus,
}

/// `GET /api/v1/api-keys`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    /// The keys, in the order of their creation.
    pub api_keys: Vec<ApiKeyStatus>,
}
