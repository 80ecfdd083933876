//! Answers about the daemon itself: health, keys, vault, policies, the caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use masker_types::grant::Limits;

/// A failure of a whole request: RFC 9457 problem details, as `application/problem+json`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A URI that names the kind of problem; not meant to be fetched.
    #[serde(rename = "type")]
    #[schema(example = "urn:masker:problem:request.invalid")]
    pub kind: String,
    /// A short summary, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for a person.
    pub detail: String,
    /// A stable code.
    #[schema(example = "request.invalid")]
    pub code: String,
    /// Finds the request in the daemon's log.
    pub request_id: String,
}

/// Whether the daemon can do all of its work.
#[derive(Deserialize, Serialize, ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It can.
    Ok,
    /// Something is wrong; the component says what.
    Degraded,
    /// The component is not configured.
    Off,
}

/// `GET /health`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: HealthStatus,
    /// The daemon's version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Its parts.
    pub components: Components,
}

/// The parts of the daemon that can fail.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Components {
    /// The store: it takes writes and answers reads.
    pub vault: Component,
    /// The keys: every one that the vault or a policy needs is loaded.
    pub keys: Component,
    /// The audit log.
    pub audit_log: Component,
    /// The policies: the last reload was accepted.
    pub policies: Component,
}

/// One part's state.
#[derive(Deserialize, Serialize, ToSchema, Clone)]
pub struct Component {
    /// `ok`, `degraded` or `off`.
    pub status: HealthStatus,
    /// What is wrong and what to do, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /api/v1/keys`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyList {
    /// Every key generation that is loaded or that the vault remembers.
    pub keys: Vec<KeyStatus>,
    /// What to do next, for each kid.
    pub advice: Vec<KeyAdvice>,
}

/// What an operator is to do about the keys of one kid.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyAdvice {
    /// The key id.
    pub kid: String,
    /// One line, for a person.
    pub text: String,
}

/// `POST /api/v1/keys/reload`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeysReloadReport {
    /// Every key generation that is loaded now or that the vault remembers.
    pub keys: Vec<KeyStatus>,
    /// What the change brings that an operator should know, such as records whose key is not loaded any more.
    pub warnings: Vec<String>,
}

/// One key generation, named by its fingerprint and never by the key.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyStatus {
    /// The key id.
    pub kid: String,
    /// The generation's public name: 16 hex digits.
    pub fingerprint: String,
    /// `active` or `old`.
    pub generation: String,
    /// Whether the key is loaded now.
    pub loaded: bool,
    /// When the vault first saw it (RFC 3339).
    pub first_seen: Option<String>,
    /// When it became old.
    pub old_since: Option<String>,
    /// When its grace period ends.
    pub grace_ends: Option<String>,
    /// Days until then, a begun one counted; 0 or less once it is over. Of an old key that is loaded.
    pub grace_days_left: Option<i64>,
    /// Vault records sealed under it.
    pub vault_records: u64,
    /// Aliases made under it, by which records are found that were minted under another key.
    pub vault_aliases: u64,
    /// When it last opened something, to the minute.
    pub last_used: Option<String>,
    /// When it last opened a token that carries its own value, to the minute.
    pub tokens_last_opened: Option<String>,
    /// How many such tokens it opened in the last 30 days. Those that nobody shows cannot be counted.
    pub tokens_opened_30_days: u64,
    /// When a full pass over the vault found nothing that needs it, if nothing has come to need it since.
    pub proven_at: Option<String>,
    /// Open sessions with tokens that need it; of an old key that is loaded, and not in the answer to a reload.
    pub open_sessions: Option<u64>,
    /// Whether it can go: it is old, and a full pass has proven that no record and no alias of the vault needs it.
    pub removable: bool,
    /// Why, or why not.
    pub reason: String,
}

/// `GET /api/v1/vault/stats`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct VaultStats {
    /// Records held.
    pub records: u64,
    /// Aliases held.
    pub aliases: u64,
    /// Bytes that the store takes on disk.
    pub bytes_on_disk: u64,
    /// When the oldest record was minted (RFC 3339); absent from an empty vault.
    pub oldest: Option<String>,
    /// When the newest record was minted.
    pub newest: Option<String>,
    /// The records of each key generation.
    pub by_kid: Vec<KidRecords>,
}

/// The records sealed under one key generation.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KidRecords {
    /// The key id.
    pub kid: String,
    /// The generation's public name.
    pub fingerprint: String,
    /// `active`, `old`, or `unloaded` where the daemon does not have the key.
    pub generation: String,
    /// Records sealed under it.
    pub records: u64,
}

/// `POST /api/v1/vault/check`: every row read, every record opened, every alias verified.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CheckReport {
    /// Whether nothing was found wrong.
    pub ok: bool,
    /// Records read.
    pub records: u64,
    /// Records that opened under a loaded key.
    pub opened: u64,
    /// Records whose key is not loaded: nothing can be said of them.
    pub key_not_loaded: u64,
    /// Records that did not decode, or did not open under their own key.
    pub damaged_records: u64,
    /// Aliases read.
    pub aliases: u64,
    /// Aliases that do not verify, lead nowhere, or are missing.
    pub damaged_aliases: u64,
    /// Tombstones read: what is left of erased records.
    pub tombstones: u64,
    /// Whether the counts kept with every change agree with what was counted.
    pub counts_agree: bool,
    /// The first problems found, by row id and never by value.
    pub problems: Vec<String>,
}

/// `GET /api/v1/policies`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicyList {
    /// The policies in force, by name.
    pub policies: Vec<PolicySummary>,
}

/// A policy in a list.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicySummary {
    /// Its name.
    pub name: String,
    /// Its version, as its author counts.
    pub version: u32,
    /// Its description.
    pub description: String,
    /// Whether requests that name no policy use it.
    pub default: bool,
    /// How many kinds it names.
    pub entities: usize,
}

/// `GET /api/v1/policies/{name}`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicyDescription {
    /// Its name.
    pub name: String,
    /// Its version, as its author counts.
    pub version: u32,
    /// Its description.
    pub description: String,
    /// Whether requests that name no policy use it.
    pub default: bool,
    /// What it does with each kind, every default filled in.
    pub entities: BTreeMap<String, EntityDescription>,
}

/// What a policy does with one kind.
#[derive(Deserialize, Serialize, ToSchema, PartialEq, Eq, Clone)]
pub struct EntityDescription {
    /// `tokenize`, `redact` or `passthrough`.
    pub action: String,
    /// The key id; for `tokenize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `vault-deterministic` or `reversible-aead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenization: Option<String>,
    /// The cipher; for `reversible-aead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// Whether equal values get equal tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// The normalizer: which spellings are the same value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<String>,
    /// `optional` or `required`.
    pub context: String,
}

/// `POST /api/v1/policies/reload`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ReloadReport {
    /// Policies in force now.
    pub policies: usize,
    /// What the change brings that an operator should know, such as values that will get new tokens.
    pub warnings: Vec<String>,
}

/// `GET /api/v1/auth/whoami`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct WhoAmI {
    /// The name of the client or of the API key; `trusted` or `unlisted` where the caller is neither.
    pub name: String,
    /// The user's name, where the host knows one.
    pub user: Option<String>,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The process id, at the time the connection was made.
    pub pid: Option<i32>,
    /// How the daemon knows: by `peer-credentials`, which the kernel attests, or by an `api-key`.
    pub attested_by: String,
    /// The unit of the system's service manager that the process runs in.
    pub unit: Option<String>,
    /// `live`, or `test`: tokens of one are not known in the other.
    pub mode: String,
    /// The workspace of the API key.
    pub workspace: Option<String>,
    /// The part of the API key that may be shown.
    pub key_prefix: Option<String>,
    /// The caller's limits: `"none"`, `"standard"` or an object.
    #[schema(value_type = serde_json::Value)]
    pub limits: Limits,
    /// What is left of each of them now.
    pub limits_left: BTreeMap<String, u64>,
    /// Each scope, and whether the caller has it as a whole; and those that it has for single kinds.
    pub scopes: BTreeMap<String, bool>,
    /// The policies that the caller is held to; absent where it may use all.
    pub policies: Option<Vec<String>>,
    /// The contexts that the caller is held to; absent where it may use all.
    pub contexts: Option<Vec<String>>,
}
