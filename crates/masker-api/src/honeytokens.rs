//! The wire types of honeytokens.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Text;

/// `POST /api/v1/vault/honeytokens`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoneytokenPlant<'a> {
    /// The kind, as the policy names it.
    #[serde(borrow)]
    #[schema(value_type = String, example = "PHONE")]
    pub kind: Text<'a>,
    /// The value behind the token: one that nobody has. Without one, a fictitious one is made up.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub value: Option<Text<'a>>,
    /// What the token is bound to.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub context: Option<Text<'a>>,
    /// The policy; the default one where none is given.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy: Option<Text<'a>>,
    /// What it is for: at most 128 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Text<'a>>,
}

/// A honeytoken that was planted.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct HoneytokenPlanted<'a> {
    /// The token, to be laid where a thief would look. No other answer has it.
    #[schema(value_type = String)]
    pub token: Cow<'a, str>,
    /// What is known of it from now on.
    pub honeytoken: Honeytoken,
}

/// A honeytoken, without its token.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Honeytoken {
    /// The id of its mark, by which the audit log names it: 32 hex digits.
    pub id: String,
    /// The kind in the token.
    pub kind: String,
    /// The key id in the token.
    pub kid: String,
    /// Whether the token carries its value; else the vault has a record of it.
    pub carries_value: bool,
    /// When it was planted (RFC 3339).
    pub planted_at: Option<String>,
    /// Who planted it.
    pub planted_by: String,
    /// What it is for.
    pub label: String,
}

/// `GET /api/v1/vault/honeytokens`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct HoneytokenList {
    /// The honeytokens, those planted first first.
    pub honeytokens: Vec<Honeytoken>,
}
