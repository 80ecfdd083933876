//! Responses about the daemon: health, keys, vault, policies, the caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use masker_types::grant::Limits;

/// The failure of a whole request: RFC 9457 problem details, as `application/problem+json`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A URI that identifies the kind of problem. It cannot be fetched.
    #[serde(rename = "type")]
    #[schema(example = "urn:masker:problem:request.invalid")]
    pub kind: String,
    /// A short summary, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for people.
    pub detail: String,
    /// A stable code.
    #[schema(example = "request.invalid")]
    pub code: String,
    /// The id of the request in the daemon's log.
    pub request_id: String,
}

/// The state of the daemon or of a component.
#[derive(Deserialize, Serialize, ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Everything works.
    Ok,
    /// Something is wrong; `detail` of the component says what.
    Degraded,
    /// The component is not configured.
    Off,
}

/// `GET /health`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: HealthStatus,
    /// The daemon's version, for callers with the scope `keys:read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Seconds since the daemon started, for the same callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<u64>,
    /// The components, for the same callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// Which daemon this is and where its files are, for the same callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<DaemonConfiguration>,
}

/// Which daemon this is and where its files are, as it sees them.
#[derive(Default, Deserialize, Serialize, ToSchema, Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfiguration {
    /// Its process id.
    pub process_id: u32,
    /// Its user id.
    pub uid: u32,
    /// The path of its socket.
    pub socket: String,
    /// The configuration file; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The data directory.
    pub data_dir: String,
    /// The directory of the audit log.
    pub audit_log: String,
    /// The policies: a file or a directory.
    pub policies: String,
    /// The variables that say where its keys are, and their values: `CREDENTIALS_DIRECTORY`, and those whose name ends in `_FILE`.
    pub key_files: BTreeMap<String, String>,
    /// The variables that contained a key, without it.
    pub key_variables: Vec<String>,
}

impl Components {
    /// Returns the components with their names.
    pub fn named(&self) -> [(&'static str, &Component); 4] {
        [("vault", &self.vault), ("keys", &self.keys), ("audit log", &self.audit_log), ("policies", &self.policies)]
    }
}

/// The components of the daemon.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Components {
    /// The store: whether it accepts writes and reads.
    pub vault: Component,
    /// The keys: whether all keys that the vault or a policy needs are loaded.
    pub keys: Component,
    /// The audit log.
    pub audit_log: Component,
    /// The policies: whether the last reload succeeded.
    pub policies: Component,
}

/// The state of a component.
#[derive(Deserialize, Serialize, ToSchema, Clone)]
pub struct Component {
    /// `ok`, `degraded` or `off`.
    pub status: HealthStatus,
    /// What is wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /api/v1/keys`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyList {
    /// All key generations that are loaded or that the vault remembers.
    pub keys: Vec<KeyStatus>,
    /// What to do next, for each kid.
    pub advice: Vec<KeyAdvice>,
}

/// Advice for an operator about the keys of a kid.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyAdvice {
    /// The key id.
    pub kid: String,
    /// The kind of advice.
    pub action: KeyAction,
    /// One line of text.
    pub text: String,
    /// What makes changes of its keys take effect, such as "run `masker keys reload`".
    pub apply: String,
}

/// What an operator should do next with the keys of a kid.
#[derive(Deserialize, Serialize, ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum KeyAction {
    /// Load a key that the vault needs.
    Load,
    /// Move the vault's records to the active key.
    Rotate,
    /// Prove that nothing needs the old key.
    Prove,
    /// Remove the old key.
    Remove,
    /// Nothing.
    None,
}

/// `POST /api/v1/keys/reload`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeysReloadReport {
    /// All key generations that are loaded now or that the vault remembers.
    pub keys: Vec<KeyStatus>,
    /// Effects that an operator should know, such as records whose key is no longer loaded.
    pub warnings: Vec<String>,
}

/// A key generation. It is identified by its fingerprint; the key is never shown.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KeyStatus {
    /// The key id.
    pub kid: String,
    /// The fingerprint of the generation: 16 hex digits.
    pub fingerprint: String,
    /// `active` or `old`.
    pub generation: String,
    /// Whether the key is loaded now.
    pub loaded: bool,
    /// The time when the vault first saw the generation (RFC 3339).
    pub first_seen: Option<String>,
    /// The time when it became old.
    pub old_since: Option<String>,
    /// The end of its grace period.
    pub grace_ends: Option<String>,
    /// Days until then, rounded up; 0 or less once it is over. Only for an old key that is loaded.
    pub grace_days_left: Option<i64>,
    /// Vault records sealed under it.
    pub vault_records: u64,
    /// Index rows under it, which lead from values and forms to tokens.
    pub vault_index_rows: u64,
    /// The time when it last opened a record or token, to the minute.
    pub last_used: Option<String>,
    /// The time when it last opened a reversible token, to the minute.
    pub tokens_last_opened: Option<String>,
    /// Reversible tokens that it opened in the last 30 days. Tokens that were not presented cannot be counted.
    pub tokens_opened_30_days: u64,
    /// The time when a full pass over the vault found nothing that needs it; absent if something has needed it since.
    pub proven_at: Option<String>,
    /// Open sessions with tokens that need it. Only for an old key that is loaded, and absent after a reload.
    pub open_sessions: Option<u64>,
    /// Whether it can be removed: it is old, and a full pass has proven that no record and no index row needs it.
    pub removable: bool,
    /// The reason why it can or cannot be removed.
    pub reason: String,
}

/// `GET /api/v1/vault/stats`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct VaultStats {
    /// The number of records.
    pub records: u64,
    /// The number of index rows, which lead from values and forms to tokens.
    pub index_rows: u64,
    /// The size of the store on disk, in bytes.
    pub bytes_on_disk: u64,
    /// The time when the oldest record was minted (RFC 3339); absent if the vault is empty.
    pub oldest: Option<String>,
    /// The time when the newest record was minted.
    pub newest: Option<String>,
    /// The records of each key generation.
    pub by_kid: Vec<KidRecords>,
}

/// The records sealed under one key generation.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct KidRecords {
    /// The key id.
    pub kid: String,
    /// The fingerprint of the generation.
    pub fingerprint: String,
    /// `active`, `old`, or `unloaded` if the key is not loaded.
    pub generation: String,
    /// Records sealed under it.
    pub records: u64,
}

/// `POST /api/v1/vault/check`, which reads every row, opens every record and verifies every index row.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CheckReport {
    /// Whether no problem was found.
    pub ok: bool,
    /// Records read.
    pub records: u64,
    /// Records that opened under a loaded key.
    pub opened: u64,
    /// Records that could not be checked because their key is not loaded.
    pub key_not_loaded: u64,
    /// Records that cannot be decoded, or do not open under their own key.
    pub damaged_records: u64,
    /// Index rows read.
    pub index_rows: u64,
    /// Index rows that do not verify, belong to no record, or do not list a record that names them.
    pub damaged_index_rows: u64,
    /// Tombstones of erased records.
    pub tombstones: u64,
    /// Whether the counts that the vault maintains are right.
    pub counts_agree: bool,
    /// The first problems, with row ids and without values.
    pub problems: Vec<String>,
}

/// `GET /api/v1/policies`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicyList {
    /// The policies in force, in the order of names.
    pub policies: Vec<PolicySummary>,
}

/// A policy in a list.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicySummary {
    /// The name.
    pub name: String,
    /// The version, as the author counts.
    pub version: u32,
    /// The description.
    pub description: String,
    /// Whether requests that name no policy use it.
    pub default: bool,
    /// The number of kinds that it names.
    pub entities: usize,
}

/// `GET /api/v1/policies/{name}`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PolicyDescription {
    /// The name.
    pub name: String,
    /// The version, as the author counts.
    pub version: u32,
    /// The description.
    pub description: String,
    /// Whether requests that name no policy use it.
    pub default: bool,
    /// The treatment of each kind, with all defaults filled in.
    pub entities: BTreeMap<String, EntityDescription>,
    /// How texts are searched: settings by their keys in the policy's file, such as `text.languages` or
    /// `recognizer.ticket.regex`, with all defaults filled in. Lists of values have only their length.
    #[serde(default)]
    pub text: BTreeMap<String, String>,
}

/// The treatment of one kind.
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
    /// The normalizer, which decides which spellings match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<String>,
    /// The check that values must pass, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<String>,
    /// `optional` or `required`.
    pub context: String,
}

/// `POST /api/v1/policies/reload`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ReloadReport {
    /// The number of policies in force now.
    pub policies: usize,
    /// Effects that an operator should know, such as values that will get new tokens.
    pub warnings: Vec<String>,
}

/// `GET /api/v1/auth/whoami`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct WhoAmI {
    /// The name of the client or API key, or `role:` and the name of the role; otherwise `trusted` or `unlisted`.
    pub name: String,
    /// The name of the user, if the host knows it.
    pub user: Option<String>,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The process id when the connection was made.
    pub pid: Option<i32>,
    /// How the caller was identified: by `peer-credentials`, which the kernel attests, by an `api-key`, or by a
    /// `client-certificate`, which a gateway attests.
    pub attested_by: String,
    /// The SHA-256 of the public key of the client certificate.
    #[serde(default)]
    pub certificate: Option<String>,
    /// The gateway that the request came through. The scopes, policies and contexts are those within its ceiling.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The address that the request came from, as the gateway attests it.
    #[serde(default)]
    pub address: Option<String>,
    /// The systemd unit of the process.
    pub unit: Option<String>,
    /// `live` or `test`. Tokens of one mode are unknown in the other.
    pub mode: String,
    /// The workspace of the API key.
    pub workspace: Option<String>,
    /// The prefix of the API key, which may be shown.
    pub key_prefix: Option<String>,
    /// The caller's limits: `"none"`, `"standard"` or an object.
    #[schema(value_type = serde_json::Value)]
    pub limits: Limits,
    /// The remaining amount of each limit now.
    pub limits_left: BTreeMap<String, u64>,
    /// All scopes, with whether the caller has the whole scope; and its scopes for single kinds.
    pub scopes: BTreeMap<String, bool>,
    /// The policies that the caller may use; absent for all.
    pub policies: Option<Vec<String>>,
    /// The contexts that the caller may use; absent for all.
    pub contexts: Option<Vec<String>>,
}
