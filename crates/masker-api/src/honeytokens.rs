//! The wire types of honeytokens.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Text;

/// `POST /api/v1/vault/honeytokens`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoneytokenPlant<'a> {
    /// The entity kind, as the policy names it.
    #[serde(borrow)]
    #[schema(value_type = String, example = "PHONE")]
    pub kind: Text<'a>,
    /// The value of the token, which must be fictitious. If absent, one is generated.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub value: Option<Text<'a>>,
    /// The context of the token.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
    /// The policy; the configured default if absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy: Option<Text<'a>>,
    /// The purpose of the honeytoken: at most 128 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Text<'a>>,
}

/// A newly planted honeytoken.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct HoneytokenPlanted<'a> {
    /// The token, to be placed where a thief would look. No other response contains it.
    #[schema(value_type = String)]
    pub token: Cow<'a, str>,
    /// The honeytoken, as later responses describe it.
    pub honeytoken: Honeytoken,
}

/// A honeytoken, without its token.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Honeytoken {
    /// The id, which the audit log contains: 32 hex digits.
    pub id: String,
    /// The kind in the token.
    pub kind: String,
    /// The key id in the token.
    pub kid: String,
    /// Whether the token is reversible. Otherwise the vault has a record of it.
    pub carries_value: bool,
    /// The time of planting (RFC 3339).
    pub planted_at: Option<String>,
    /// The caller that planted it.
    pub planted_by: String,
    /// The purpose of the honeytoken.
    pub label: String,
}

/// `GET /api/v1/vault/honeytokens`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct HoneytokenList {
    /// The honeytokens, in the order of planting.
    pub honeytokens: Vec<Honeytoken>,
}
