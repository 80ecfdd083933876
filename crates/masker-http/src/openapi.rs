//! The OpenAPI document. A test holds it against the route table, and answers of the running daemon against it.

use utoipa::OpenApi;

use masker_api::{
    Answer, ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus, AuditEvents, AuditHead,
    CheckReport, CompactReport, ErrorBody, ForgetResult, Health, Honeytoken, HoneytokenList, HoneytokenPlant,
    HoneytokenPlanted, ImportReport, KeyList, KeysReloadReport, LookupResult, PolicyDescription, PolicyList,
    PurgeReport, PurgeRequest, RehydrateRequest, RehydrateResult, ReloadReport, RewrapResult, Rotation, RotationBegin,
    RotationList, SessionInfo, SessionList, SessionOpen, TokenizeRequest, TokenizeResult, VaultStats, WhoAmI,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "masker",
        description = "Swaps personal data for tokens and back. HTTP/1.1 over a Unix socket; every answer carries \
                       `X-Request-Id`; failures of whole requests are RFC 9457 problem details with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "http://localhost", description = "The Unix socket, whatever host is named")),
    paths(
        tokenize, rehydrate, lookup, rewrap, forget, keys, keys_reload, vault_stats, vault_check, vault_export, vault_import, vault_purge, vault_compact, rotation_begin, rotations,
        rotation, rotation_cancel, policies, policy, policies_reload,
        api_key_create, api_keys, api_key, api_key_change, api_key_revoke, api_key_rotate,
        session_open, sessions, session, session_close, honeytoken_plant, honeytokens, honeytoken_remove,
        audit_events, audit_head, whoami, openapi, health, metrics,
    ),
)]
struct OpenApiDocument;

/// The document as JSON.
///
/// # Errors
/// Only if it did not serialize: a bug.
pub fn document() -> Result<String, serde_json::Error> {
    OpenApiDocument::openapi().to_json()
}

macro_rules! described {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        // The attribute above is the description; the handler itself is in the router's dispatch.
        #[expect(dead_code, reason = "carries the OpenAPI description of a route")]
        fn $name() {}
    )*};
}

described! {
    /// Swap values for tokens.
    #[utoipa::path(post, path = "/api/v1/tokenize", params(
        ("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")), request_body = TokenizeRequest<'_>, responses(
        (status = 200, description = "One result for each item, in order", body = Answer<TokenizeResult<'_>>),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    tokenize;
    /// Swap tokens back for values.
    #[utoipa::path(post, path = "/api/v1/rehydrate", params(
        ("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")), request_body = RehydrateRequest<'_>, responses(
        (status = 200, description = "One result for each token, in order", body = Answer<RehydrateResult<'_>>),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    rehydrate;
    /// Find every token by which values may be stored. Mints nothing.
    #[utoipa::path(post, path = "/api/v1/lookup", request_body = TokenizeRequest<'_>, responses(
        (status = 200, description = "One result for each item, in order", body = Answer<LookupResult>),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    lookup;
    /// Mint tokens that carry their value again under the active key.
    #[utoipa::path(post, path = "/api/v1/rewrap", request_body = RehydrateRequest<'_>, responses(
        (status = 200, description = "One result for each token, in order", body = Answer<RewrapResult>),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    rewrap;
    /// Erase vault records with their aliases.
    #[utoipa::path(post, path = "/api/v1/forget", request_body = RehydrateRequest<'_>, responses(
        (status = 200, description = "One result for each token, in order", body = Answer<ForgetResult>),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    forget;
    /// List the key generations that are loaded or remembered.
    #[utoipa::path(get, path = "/api/v1/keys", responses(
        (status = 200, description = "Every generation, by fingerprint", body = KeyList),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    keys;
    /// Load the keys again that come from files, all or nothing.
    #[utoipa::path(post, path = "/api/v1/keys/reload", responses(
        (status = 200, description = "They are in force", body = KeysReloadReport),
        (status = "default", description = "Those before stay in force", body = ErrorBody, content_type = "application/problem+json")))]
    keys_reload;
    /// The vault in numbers.
    #[utoipa::path(get, path = "/api/v1/vault/stats", responses(
        (status = 200, description = "Counts and sizes", body = VaultStats),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    vault_stats;
    /// Read every row, open every record, verify every alias. Changes nothing.
    #[utoipa::path(post, path = "/api/v1/vault/check", responses(
        (status = 200, description = "What was found", body = CheckReport),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    vault_check;
    /// All records in one encrypted, authenticated file, while the daemon serves. One that is cut short is refused by an import.
    #[utoipa::path(post, path = "/api/v1/vault/export", responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    vault_export;
    /// Merge an export into the vault, once all of it is verified. Nothing that is there is overwritten.
    #[utoipa::path(post, path = "/api/v1/vault/import", params(
        ("restore_erased" = Option<bool>, Query, description = "Whether records come back that were erased")),
        request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"), responses(
        (status = 200, description = "What was merged", body = ImportReport),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    vault_import;
    /// Erase the records minted before a time, or sealed under a key that is not active; or count them.
    #[utoipa::path(post, path = "/api/v1/vault/purge", request_body = PurgeRequest<'_>, responses(
        (status = 200, description = "What was erased, or would be", body = PurgeReport),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    vault_purge;
    /// Write the vault's files anew, while it serves: what was erased or replaced before is in none of them afterwards.
    #[utoipa::path(post, path = "/api/v1/vault/compact", responses(
        (status = 200, description = "What came of it", body = CompactReport),
        (status = "default", description = "The files are as they were", body = ErrorBody, content_type = "application/problem+json")))]
    vault_compact;
    /// Move records to the active key of a key id, while serving. One rotation runs at a time.
    #[utoipa::path(post, path = "/api/v1/vault/rotations", request_body = RotationBegin, responses(
        (status = 202, description = "It goes on by itself", body = Rotation),
        (status = 409, description = "Another one is running", body = ErrorBody, content_type = "application/problem+json"),
        (status = "default", description = "It was not begun", body = ErrorBody, content_type = "application/problem+json")))]
    rotation_begin;
    /// List the rotations that are remembered, the latest first.
    #[utoipa::path(get, path = "/api/v1/vault/rotations", responses(
        (status = 200, description = "The rotations", body = RotationList),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    rotations;
    /// How a rotation stands.
    #[utoipa::path(get, path = "/api/v1/vault/rotations/{id}", params(("id" = String, Path, description = "The rotation's id")), responses(
        (status = 200, description = "The rotation", body = Rotation),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    rotation;
    /// End a rotation before its time. What it has moved stays moved.
    #[utoipa::path(delete, path = "/api/v1/vault/rotations/{id}", params(("id" = String, Path, description = "The rotation's id")), responses(
        (status = 200, description = "The rotation, cancelled", body = Rotation),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    rotation_cancel;
    /// List the policies in force.
    #[utoipa::path(get, path = "/api/v1/policies", responses(
        (status = 200, description = "By name", body = PolicyList),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    policies;
    /// One policy with every default filled in.
    #[utoipa::path(get, path = "/api/v1/policies/{name}", params(("name" = String, Path, description = "The policy's name")), responses(
        (status = 200, description = "The policy", body = PolicyDescription),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    policy;
    /// Load the policies again, all or nothing.
    #[utoipa::path(post, path = "/api/v1/policies/reload", responses(
        (status = 200, description = "They are in force", body = ReloadReport),
        (status = "default", description = "Those before stay in force", body = ErrorBody, content_type = "application/problem+json")))]
    policies_reload;
    /// Make an API key. Its secret is in this answer and in no other.
    #[utoipa::path(post, path = "/api/v1/api-keys", request_body = ApiKeyCreate, responses(
        (status = 201, description = "The key with its secret", body = ApiKeyIssued),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_key_create;
    /// The API keys, without their secrets.
    #[utoipa::path(get, path = "/api/v1/api-keys", responses(
        (status = 200, description = "The keys", body = ApiKeyList),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_keys;
    /// One API key.
    #[utoipa::path(get, path = "/api/v1/api-keys/{id}", params(("id" = String, Path, description = "The key's id")), responses(
        (status = 200, description = "The key", body = ApiKeyStatus),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_key;
    /// Change the name, scopes, limits or end of an API key, at once.
    #[utoipa::path(patch, path = "/api/v1/api-keys/{id}", params(("id" = String, Path, description = "The key's id")), request_body = ApiKeyPatch, responses(
        (status = 200, description = "The key as it is now", body = ApiKeyStatus),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_key_change;
    /// Revoke an API key, at once and for good.
    #[utoipa::path(delete, path = "/api/v1/api-keys/{id}", params(("id" = String, Path, description = "The key's id")), responses(
        (status = 200, description = "The key as it is now", body = ApiKeyStatus),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_key_revoke;
    /// Give an API key another secret. The former one works on for a grace period.
    #[utoipa::path(post, path = "/api/v1/api-keys/{id}/rotate", params(("id" = String, Path, description = "The key's id")), request_body = ApiKeyRotate, responses(
        (status = 200, description = "The key with its new secret", body = ApiKeyIssued),
        (status = "default", description = "The request as a whole failed", body = ErrorBody, content_type = "application/problem+json")))]
    api_key_rotate;
    /// Open a session, to be named in requests by the header `X-Masker-Session`.
    #[utoipa::path(post, path = "/api/v1/sessions", request_body = SessionOpen, responses(
        (status = 201, description = "The session", body = SessionInfo),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    session_open;
    /// List sessions: all of them for callers with `sessions:read`, else the caller's own.
    #[utoipa::path(get, path = "/api/v1/sessions", params(
        ("since" = Option<String>, Query, description = "Those opened at this time (RFC 3339) or later"),
        ("status" = Option<String>, Query, description = "`open` or `closed`"),
        ("limit" = Option<u32>, Query, description = "How many at most: 1 to 1,000; 100 where nothing is given"),
        ("cursor" = Option<String>, Query, description = "What the page before had as `next_cursor`")), responses(
        (status = 200, description = "A page of sessions", body = SessionList),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    sessions;
    /// One session, with the key generations that its tokens need.
    #[utoipa::path(get, path = "/api/v1/sessions/{id}", params(("id" = String, Path, description = "The session's id")), responses(
        (status = 200, description = "The session", body = SessionInfo),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    session;
    /// Close a session: it takes no requests any more, and its counts are kept.
    #[utoipa::path(delete, path = "/api/v1/sessions/{id}", params(("id" = String, Path, description = "The session's id")), responses(
        (status = 200, description = "The session as it is now", body = SessionInfo),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    session_close;
    /// Mint a token that nobody should ever use. To have it rehydrated is an event of its own in the audit log.
    #[utoipa::path(post, path = "/api/v1/vault/honeytokens", request_body = HoneytokenPlant<'_>, responses(
        (status = 201, description = "The token", body = HoneytokenPlanted<'_>),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    honeytoken_plant;
    /// The honeytokens, without their tokens.
    #[utoipa::path(get, path = "/api/v1/vault/honeytokens", responses(
        (status = 200, description = "The honeytokens", body = HoneytokenList),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    honeytokens;
    /// Make a honeytoken a token like any other. Its record stays.
    #[utoipa::path(delete, path = "/api/v1/vault/honeytokens/{id}", params(("id" = String, Path, description = "The id of its mark")), responses(
        (status = 200, description = "The honeytoken that it was", body = Honeytoken),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    honeytoken_remove;
    /// Events of the audit log, oldest first: a page of them.
    #[utoipa::path(get, path = "/api/v1/audit/events", params(
        ("since" = Option<String>, Query, description = "From this time on (RFC 3339, or a date)"),
        ("until" = Option<String>, Query, description = "Before this time"),
        ("caller" = Option<String>, Query, description = "Of the caller with this name"),
        ("op" = Option<String>, Query, description = "Of this operation"),
        ("limit" = Option<usize>, Query, description = "So many at most: 1 to 1,000; 100 where nothing is said"),
        ("cursor" = Option<String>, Query, description = "Where the page before ended")), responses(
        (status = 200, description = "The events", body = AuditEvents),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    audit_events;
    /// The last event of the audit log: its number and its hash, to be kept where the log is not.
    #[utoipa::path(get, path = "/api/v1/audit/head", responses(
        (status = 200, description = "Where the log stands", body = AuditHead),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    audit_head;
    /// Who the caller is, as the kernel attests it, and what it may do.
    #[utoipa::path(get, path = "/api/v1/auth/whoami", responses(
        (status = 200, description = "The caller", body = WhoAmI),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    whoami;
    /// This document.
    #[utoipa::path(get, path = "/api/v1/openapi.json", responses(
        (status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value)))]
    openapi;
    /// Whether the daemon can do all of its work.
    #[utoipa::path(get, path = "/health", responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It is degraded; a component says why", body = Health)))]
    health;
    /// The daemon's counters, in Prometheus' text format.
    #[utoipa::path(get, path = "/metrics", responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain", body = String),
        (status = "default", description = "The request failed", body = ErrorBody, content_type = "application/problem+json")))]
    metrics;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::document;
    use crate::ROUTES;

    #[test]
    fn the_document_and_the_route_table_name_the_same_routes() {
        let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let routed: BTreeSet<(String, String)> =
            ROUTES.iter().map(|(_, method, path, _)| (path.to_string(), method.to_string())).collect();
        assert_eq!(described, routed);
    }
}
