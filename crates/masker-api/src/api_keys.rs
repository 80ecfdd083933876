//! The wire types of API keys.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use masker_types::grant::Limits;

/// `POST /api/v1/api-keys`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// The name of the key, for people: 1 to 64 characters.
    pub name: String,
    /// The workspace of the key; `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The owner: a person, or the organization; the caller if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The scopes, such as `["tokenize", "rehydrate:PHONE"]`.
    pub scopes: Vec<String>,
    /// The policies that the key may use; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// The contexts that the key may use, such as `["clinic-7", "clinic-7/*"]`; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Vec<String>>,
    /// The time of expiry (RFC 3339); never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// `live` (the default) or `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `"standard"` (the default), `"none"`, or an object of limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub limits: Option<Limits>,
}

/// `PATCH /api/v1/api-keys/{id}`. Absent fields stay unchanged.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyPatch {
    /// The name of the key, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub limits: Option<Limits>,
    /// The time of expiry (RFC 3339); `null` for never.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Option<String>>,
    /// Whether the key is suspended: it is refused until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// Distinguishes a field that is `null` from an absent field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `POST /api/v1/api-keys/{id}/rotate`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRotate {
    /// How long the replaced secret remains valid, in seconds: 0 to 2,592,000; 86,400 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// An API key, without its secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyStatus {
    /// The id: 32 hex digits.
    pub id: String,
    /// The name of the key, for people.
    pub name: String,
    /// The first 16 characters of the secret, which may be shown.
    pub prefix: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// Whether the key is active but was not used for 90 days.
    pub inactive: bool,
    /// `live` or `test`.
    pub mode: String,
    /// The workspace of the key.
    pub workspace: String,
    /// The owner.
    pub owner: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The policies that the key may use; absent for all.
    pub policies: Option<Vec<String>>,
    /// The contexts that the key may use; absent for all.
    pub contexts: Option<Vec<String>>,
    /// The limits: `"none"`, `"standard"` or an object of limits.
    #[schema(value_type = serde_json::Value)]
    pub limits: Limits,
    /// The caller that created the key.
    pub created_by: String,
    /// The id of the API key that created the key, if it was one.
    pub parent_id: Option<String>,
    /// The time of creation (RFC 3339).
    pub created_at: Option<String>,
    /// The time of expiry.
    pub expires_at: Option<String>,
    /// The time of the last rotation.
    pub rotated_at: Option<String>,
    /// The time until which a replaced secret remains valid, if there is one.
    pub grace_ends: Option<String>,
    /// The replaced secrets that remain valid, the oldest first.
    pub secrets_in_grace: Vec<SecretInGrace>,
    /// The time of revocation.
    pub revoked_at: Option<String>,
    /// The last use.
    pub last_used: Option<ApiKeyUse>,
}

/// A replaced secret of an API key that remains valid.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SecretInGrace {
    /// The first 16 characters of the secret.
    pub prefix: String,
    /// The time until which it remains valid.
    pub ends: Option<String>,
}

/// The last use of an API key.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyUse {
    /// The time (RFC 3339), to the second.
    pub at: Option<String>,
    /// The user id of the process.
    pub uid: u32,
    /// The systemd unit of the process.
    pub unit: Option<String>,
    /// The first 16 characters of the secret that it presented.
    pub prefix: Option<String>,
}

/// An API key with a new secret, which is shown only once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyIssued {
    /// The secret, for the `Authorization` header. It cannot be shown again.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub key: SecretString,
    /// The key.
    pub api_key: ApiKeyStatus,
}

/// Writes a secret, which `secrecy` does not serialize on its own.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// `GET /api/v1/api-keys`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    /// The keys, in the order of their creation.
    pub api_keys: Vec<ApiKeyStatus>,
}
