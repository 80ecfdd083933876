//! API keys: creating, changing, rotating and revoking them.

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::{
    Service,
    api_key_rights::{check_holds_all, check_mode, check_not_exceeding_own},
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{
    ApiKey, ApiKeyId, ApiKeySecret, ApiKeySpec, ApiKeyUpdate, ApiKeysAdmin, KeyRevoked, KeyRights, Permit,
    SecretRotationError, UnstoredChange,
};
use masker_api::{
    ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus, ApiKeyUse, SecretInGrace,
};
use masker_types::{
    error_code::Code,
    grant::{ContextPattern, Grant, Limits, Scope, ScopeSet},
    limits::{API_KEY_GRACE_SECONDS_DEFAULT, API_KEY_GRACE_SECONDS_MAX},
    mode::Mode,
    quote::is_unseen,
};
use masker_vault::{KeepKeyError, check_api_key_lengths};

/// Longest name of a key, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest name of an owner, in characters.
const OWNER_CHARS_MAX: usize = 128;
/// Longest name of a workspace, in bytes.
const WORKSPACE_BYTES_MAX: usize = 64;
/// The default workspace.
const WORKSPACE_DEFAULT: &str = "default";

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: api_key_create / __path_api_key_create,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyCreate),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: api_keys / __path_api_keys,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyList),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: api_key / __path_api_key,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyList),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: api_key_change / __path_api_key_change,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyChange),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: api_key_rotate / __path_api_key_rotate,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyRotate),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: api_key_revoke / __path_api_key_revoke,
            access: Scope(ApiKeysAdmin),
            audit: Operation(ApiKeyRevoke),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Create an API key. Its secret is in this response and in no other.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    request_body(content = ApiKeyCreate, example = json!({
        "name": "billing", "owner": "ops", "scopes": ["tokenize"], "limits": {"requests_per_second": 50}
    })),
    responses((
        status = 201,
        description = "The key with its secret",
        body = ApiKeyIssued,
        example = json!({"key": "masker_live_5Q2MEXAMPLEexampleEXAMPLEexampleEXAMPLEexample", "api_key": example_api_key("active")})
    )),
)]
async fn api_key_create(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<ApiKeysAdmin>,
    input: &Input,
) -> Outcome {
    let request: ApiKeyCreate = input.json()?;
    let now_ms = service.now_ms();
    let (_guard, permit) = service.lock_keys(ctx).await?;
    let spec = service.key_spec(ctx, request, now_ms)?;
    service.check_key_count(&spec.workspace, (spec.parent, &ctx.caller.principal().name), now_ms)?;
    let secret = ApiKeySecret::generate(spec.mode, &mut rand::rng());
    let id = ApiKeyId::new(now_ms, &mut rand::rng());
    let key = ApiKey::create(id, spec, &secret.presented(), &ctx.caller.principal().name, now_ms);
    service.store_key(ctx, &permit, vec![key], Some(secret)).await
}

/// List the API keys, without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    responses((status = 200, description = "The keys", body = ApiKeyList, example = json!({"api_keys": [example_api_key("active")]}))),
)]
async fn api_keys(
    service: &Service,
    _ctx: &mut RequestContext,
    _permit: Permit<ApiKeysAdmin>,
    _input: &Input,
) -> Outcome {
    let now_ms = service.now_ms();
    Reply::json(&ApiKeyList {
        api_keys: service.access.keys().list().iter().map(|key| key_status(key, now_ms)).collect(),
    })
}

/// Show an API key.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/{id}",
    params(("id" = String, Path, description = "The key's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The key", body = ApiKeyStatus, example = json!(example_api_key("active")))),
)]
async fn api_key(service: &Service, ctx: &mut RequestContext, _permit: Permit<ApiKeysAdmin>, input: &Input) -> Outcome {
    Reply::json(&key_status(&service.find_key(ctx, &input.parameter)?, service.now_ms()))
}

/// Change the name, scopes, limits or expiry of an API key, suspend it or resume it, at once.
#[utoipa::path(
    patch,
    path = "/api/v1/api-keys/{id}",
    params(("id" = String, Path, description = "The key's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    request_body(content = ApiKeyPatch, example = json!({"scopes": ["tokenize", "rehydrate:PHONE"], "expires_at": null})),
    responses((status = 200, description = "The changed key", body = ApiKeyStatus, example = json!(example_api_key("active")))),
)]
async fn api_key_change(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<ApiKeysAdmin>,
    input: &Input,
) -> Outcome {
    let request: ApiKeyPatch = input.json()?;
    let (_guard, permit) = service.lock_keys(ctx).await?;
    let key = service.find_key(ctx, &input.parameter)?;
    let now_ms = service.now_ms();
    service.check_comes_from(ctx, &key)?;
    let change = ApiKeyUpdate {
        name: request.name.map(|name| service.key_name(name)).transpose()?,
        scopes: request.scopes.map(|scopes| parse_scopes(&scopes)).transpose()?,
        limits: request.limits,
        expires_at_ms: request.expires_at.map(|at| at.map(|at| expiry(&at, now_ms)).transpose()).transpose()?,
        suspended: request.suspended,
    };
    check_holds_all(ctx, &key)?;
    service.check_stored(&key, UnstoredChange::Rights)?;
    let changed = key.changed(change)?;
    check_not_exceeding_own(ctx, &changed.rights())?;
    check_mode(changed.grant(), changed.is_test_key())?;
    if !key.is_active(now_ms) && changed.is_active(now_ms) {
        service.check_key_count(changed.workspace(), (changed.parent(), changed.created_by()), now_ms)?;
    }
    service.store_key(ctx, &permit, vec![changed], None).await
}

/// Revoke an API key with all keys that it has created, at once and for good.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{id}",
    params(
        ("id" = String, Path, description = "The key's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80"),
        ("keep_descendants" = Option<bool>, Query, description = "Whether the keys that it has created live on: `false` by default")
    ),
    responses((status = 200, description = "The revoked key", body = ApiKeyStatus, example = json!(example_api_key("revoked")))),
)]
async fn api_key_revoke(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<ApiKeysAdmin>,
    input: &Input,
) -> Outcome {
    let keep = input.query.read("keep_descendants", "`true` or `false`", |text| text.parse::<bool>().ok())?;
    let (_guard, permit) = service.lock_keys(ctx).await?;
    let key = service.find_key(ctx, &input.parameter)?;
    let keys = service.access.keys();
    // A request without `keep_descendants` may have failed before.
    let kept = if keep == Some(true) { keys.unstored_revocations_with(&key) } else { Vec::new() };
    let created = if keep == Some(true) { Vec::new() } else { keys.descendants(key.id()) };
    let lives = |key: &ApiKey| key.revoked_at_ms().is_none() || !keys.is_stored(key.id());
    let created: Vec<ApiKey> = created.into_iter().filter(lives).collect();
    ctx.number("descendants", created.len() as u64);
    let now_ms = service.now_ms();
    let revoked = std::iter::once(&key).chain(&created).map(|key| key.revoked(now_ms)).chain(kept).collect();
    service.store_key(ctx, &permit, revoked, None).await
}

/// Give an API key another secret. The former one works on for a grace period.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys/{id}/rotate",
    params(("id" = String, Path, description = "The key's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    request_body(content = ApiKeyRotate, example = json!({"grace_seconds": 3600})),
    responses((
        status = 200,
        description = "The key with its new secret",
        body = ApiKeyIssued,
        example = json!({"key": "masker_live_5Q2MEXAMPLEexampleEXAMPLEexampleEXAMPLEexample", "api_key": example_api_key("active")})
    )),
)]
async fn api_key_rotate(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<ApiKeysAdmin>,
    input: &Input,
) -> Outcome {
    let request: ApiKeyRotate = input.json_or_default()?;
    let grace_seconds = request.grace_seconds.unwrap_or(API_KEY_GRACE_SECONDS_DEFAULT);
    if grace_seconds > API_KEY_GRACE_SECONDS_MAX {
        let detail = format!("`grace_seconds` is at most {API_KEY_GRACE_SECONDS_MAX}, which is 30 days");
        return Err(Problem::new(Code::RequestInvalid, detail));
    }
    let (_guard, permit) = service.lock_keys(ctx).await?;
    let key = service.find_key(ctx, &input.parameter)?;
    service.check_comes_from(ctx, &key)?;
    // The caller learns the secret, and so can do what the key can.
    check_holds_all(ctx, &key)?;
    service.check_stored(&key, UnstoredChange::Rotation)?;
    let secret = ApiKeySecret::generate(key.mode(), &mut rand::rng());
    let rotated = key.rotated(&secret.presented(), grace_seconds, service.now_ms())?;
    ctx.number("grace_seconds", grace_seconds);
    service.store_key(ctx, &permit, vec![rotated], Some(secret)).await
}

/// Returns an API key for the OpenAPI document.
fn example_api_key(state: &str) -> Value {
    json!({
        "id": "0198b2c4d5e6f708192a3b4c5d6e7f80",
        "name": "billing",
        "prefix": "masker_live_5Q2M",
        "state": state,
        "inactive": false,
        "mode": "live",
        "workspace": "default",
        "owner": "ops",
        "scopes": ["tokenize"],
        "policies": null,
        "contexts": null,
        "limits": "standard",
        "created_by": "trusted",
        "parent_id": null,
        "created_at": "2026-01-31T12:00:00Z",
        "expires_at": null,
        "rotated_at": null,
        "grace_ends": null,
        "secrets_in_grace": [],
        "revoked_at": (state == "revoked").then_some("2026-02-01T12:00:00Z"),
        "last_used": null
    })
}

impl Service {
    /// Waits for other changes of API keys, one of which may end the caller's own, or take rights from it.
    async fn lock_keys(&self, ctx: &mut RequestContext) -> Result<(MutexGuard<'_, ()>, Permit<ApiKeysAdmin>), Problem> {
        let guard = self.key_changes.lock().await;
        let permit = self.renew(ctx)?;
        Ok((guard, permit))
    }

    /// Checks that another key can be active: in its workspace, and among those of its creators in all workspaces. `creator`
    /// is the API key that creates it, or else the name of the client.
    ///
    /// # Errors
    /// `api_key.limit`.
    fn check_key_count(
        &self,
        workspace: &str,
        (parent, client): (Option<ApiKeyId>, &str),
        now_ms: u64,
    ) -> Result<(), Problem> {
        let (keys, most) = (self.access.keys(), self.api_keys_per_workspace);
        let check = |active: usize, whose: &str| {
            if active < most {
                return Ok(());
            }
            let detail = format!(
                "{whose} {active} active keys, and at most {most} at once (`[access] api_keys_per_workspace`): revoke a \
                 key that is not needed"
            );
            Err(Problem::new(Code::ApiKeyLimit, detail))
        };
        check(keys.active_in(workspace, now_ms), "this workspace has")?;
        let creators: Vec<ApiKeyId> =
            parent.into_iter().flat_map(|parent| std::iter::once(parent).chain(keys.ancestors(parent))).collect();
        for creator in &creators {
            let created = keys.descendants(*creator);
            let active = created.iter().filter(|key| key.is_active(now_ms)).count();
            check(active, "its creator, an API key, has created in all workspaces")?;
        }
        let root = creators.last().and_then(|root| keys.get(*root));
        let client = root.as_ref().map_or(client, ApiKey::created_by);
        if self.access.is_limited_client(client) {
            check(keys.active_of_client(client, now_ms), "its creator, a client, has created in all workspaces")?;
        }
        Ok(())
    }

    /// Stores keys, the first of which the request is about. What they withdraw is in force at once, and stays so if they
    /// cannot be stored; what they give is in force once they are stored.
    async fn store_key(
        &self,
        ctx: &mut RequestContext,
        permit: &Permit<ApiKeysAdmin>,
        keys: Vec<ApiKey>,
        secret: Option<ApiKeySecret>,
    ) -> Outcome {
        let Some(key) = keys.first() else { return Err(Problem::internal("no key to store")) };
        ctx.fact("api_key_id", key.id().to_string());
        ctx.fact("api_key_prefix", key.prefix().as_str());
        check_api_key_lengths(&keys, |id| self.access.keys().get(id))?;
        let withdrawn = self.access.keys().restrict(&keys);
        if let Err(failed) = self.vault.keep_api_keys(permit, &keys).await {
            let problem = Problem::from(failed);
            if !withdrawn {
                return Err(problem);
            }
            ctx.flag("withdrawn_until_restart", true);
            let detail = "the vault failed to store this. What it withdraws is refused all the same, but only until the \
                          daemon starts again: send the request again until it succeeds, and ask the operator to look at \
                          `masker health` and the daemon's log";
            return Err(Problem { detail: detail.to_owned(), ..problem });
        }
        let status = key_status(key, self.now_ms());
        self.access.keys().put_all(keys);
        // Nothing else can have ended it: `lock_keys` has checked it.
        ctx.ended_own_key = self.access.check_not_ended(&ctx.caller).is_err();
        match secret {
            Some(secret) => Reply::json(&ApiKeyIssued { key: secret.into_text(), api_key: status }),
            None => Reply::json(&status),
        }
    }

    /// Checks that no other kind of change of a key failed to be stored: another would store half of it. A revocation is always
    /// possible.
    ///
    /// # Errors
    /// `vault.unavailable`.
    fn check_stored(&self, key: &ApiKey, next: UnstoredChange) -> Result<(), Problem> {
        let request = match self.access.keys().unstored_change(key.id()) {
            Some(unstored) if unstored != next => match unstored {
                UnstoredChange::Revocation => "revocation",
                UnstoredChange::Rotation => "rotation",
                UnstoredChange::Rights => "change",
            },
            _ => return Ok(()),
        };
        let detail = format!(
            "the vault failed to store the {request} of this key: repeat that request until it succeeds, and then this one"
        );
        Err(Problem::new(Code::VaultUnavailable, detail))
    }

    fn find_key(&self, ctx: &mut RequestContext, id: &str) -> Result<ApiKey, Problem> {
        let key = ApiKeyId::parse(id).and_then(|id| self.access.keys().get(id)).ok_or_else(|| {
            Problem::new(
                Code::ApiKeyNotFound,
                "there is no API key with this id; `masker api-keys list` or GET /api/v1/api-keys lists them",
            )
        })?;
        ctx.fact("api_key_id", key.id().to_string());
        Ok(key)
    }

    /// Checks the name of a key, which the audit log shows where it shows the names of clients.
    fn key_name(&self, name: String) -> Result<String, Problem> {
        let name = text("name", name, NAME_CHARS_MAX)?;
        if self.access.is_client_name(&name) {
            return Err(invalid("`name` is that of a client, or one that masker gives to callers: choose another"));
        }
        Ok(name)
    }

    fn key_spec(&self, ctx: &RequestContext, request: ApiKeyCreate, now_ms: u64) -> Result<ApiKeySpec, Problem> {
        let mode = match request.mode.as_deref() {
            None | Some("live") => Mode::Live,
            Some("test") => Mode::Test,
            Some(_) => return Err(invalid("`mode` is `live` or `test`")),
        };
        let policies = request.policies.map(|names| names.into_iter().collect());
        if policies.iter().flatten().any(|name: &String| ctx.policies.get(Some(name)).is_none()) {
            return Err(invalid(
                "`policies` names a policy that is not loaded; `masker policy show` or GET /api/v1/policies lists them",
            ));
        }
        let contexts = request.contexts.map(|contexts| contexts.iter().map(|text| context(text)).collect());
        let grant = Grant { scopes: parse_scopes(&request.scopes)?, policies, contexts: contexts.transpose()? };
        let limits = request.limits.unwrap_or(Limits::standard());
        let expires_at_ms = request.expires_at.map(|at| expiry(&at, now_ms)).transpose()?;
        check_mode(&grant, mode == Mode::Test)?;
        check_not_exceeding_own(ctx, &KeyRights { grant: grant.clone(), limits, expires_at_ms })?;
        let owner = request.owner.unwrap_or_else(|| ctx.caller.principal().name.clone());
        Ok(ApiKeySpec {
            name: self.key_name(request.name)?,
            workspace: workspace(request.workspace)?,
            owner: text("owner", owner, OWNER_CHARS_MAX)?,
            grant,
            limits,
            mode,
            expires_at_ms,
            parent: ctx.caller.principal().credential.as_ref().map(|credential| credential.id),
        })
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

/// Checks a name that people read, in logs as well: on one line, not blank, and without characters that are not seen.
fn text(field: &str, text: String, chars_max: usize) -> Result<String, Problem> {
    let sound = !text.trim().is_empty() && text.chars().count() <= chars_max && !text.chars().any(is_unseen);
    let detail = || format!("`{field}` is 1 to {chars_max} visible characters on one line");
    if sound { Ok(text) } else { Err(invalid(detail())) }
}

fn workspace(name: Option<String>) -> Result<String, Problem> {
    let name = name.unwrap_or_else(|| WORKSPACE_DEFAULT.to_owned());
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    if begins && name.len() <= WORKSPACE_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(name);
    }
    Err(invalid("`workspace` is a letter or digit, then at most 63 of a-z, 0-9, `.`, `_` and `-`"))
}

fn parse_scopes(texts: &[String]) -> Result<ScopeSet, Problem> {
    // An unknown scope is text of the request, and must not be quoted.
    ScopeSet::parse(texts).map_err(|_| {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let known = known.join(", ");
        invalid(format!(
            "`scopes` has an unknown scope: the scopes are `*`, {known}, and for one kind `rehydrate:PHONE`"
        ))
    })
}

fn context(text: &str) -> Result<ContextPattern, Problem> {
    ContextPattern::parse(text).ok_or_else(|| invalid("`contexts` has a context of more than 256 bytes"))
}

fn expiry(text: &str, now_ms: u64) -> Result<u64, Problem> {
    let at: Option<Timestamp> = text.parse().ok();
    let at_ms = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at_ms.filter(|at| *at > now_ms).ok_or_else(|| {
        invalid("`expires_at` is a time in the future, such as 2030-01-31T12:00:00Z; leave it out, or write `null`, for a key that does not expire")
    })
}

pub(super) fn state(key: &ApiKey, now_ms: u64) -> &'static str {
    match (key.revoked_at_ms(), key.is_active(now_ms)) {
        (Some(_), _) => "revoked",
        (None, true) if key.is_suspended() => "suspended",
        (None, true) => "active",
        (None, false) => "expired",
    }
}

fn key_status(key: &ApiKey, now_ms: u64) -> ApiKeyStatus {
    let grant = key.grant();
    let in_grace = key.secrets_in_grace(now_ms);
    ApiKeyStatus {
        id: key.id().to_string(),
        name: key.name().to_owned(),
        prefix: key.prefix().as_str().to_owned(),
        state: state(key, now_ms).to_owned(),
        inactive: key.is_inactive(now_ms),
        mode: key.mode().as_str().to_owned(),
        workspace: key.workspace().to_owned(),
        owner: key.owner().to_owned(),
        scopes: grant.scopes.to_texts(),
        policies: grant.policies.as_ref().map(|names| names.iter().cloned().collect()),
        contexts: grant.contexts.as_ref().map(|patterns| patterns.iter().map(ContextPattern::to_text).collect()),
        limits: *key.limits(),
        created_by: key.created_by().to_owned(),
        parent_id: key.parent().map(|id| id.to_string()),
        created_at: time(key.created_at_ms()),
        expires_at: key.expires_at_ms().and_then(time),
        rotated_at: key.rotated_at_ms().and_then(time),
        grace_ends: in_grace.iter().map(|secret| secret.until_ms).max().and_then(time),
        secrets_in_grace: in_grace
            .into_iter()
            .map(|secret| SecretInGrace { prefix: secret.prefix.as_str().to_owned(), ends: time(secret.until_ms) })
            .collect(),
        revoked_at: key.revoked_at_ms().and_then(time),
        last_used: key.last_use().map(|last| ApiKeyUse {
            at: time(last.at_ms),
            uid: last.uid,
            unit: last.unit.clone(),
            prefix: last.prefix.map(|prefix| prefix.as_str().to_owned()),
        }),
    }
}

/// Returns a time as answers write it; `None` after the year 9999.
pub(super) fn time(ms: u64) -> Option<String> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok().map(|at| at.to_string())
}

impl From<KeyRevoked> for Problem {
    fn from(revoked: KeyRevoked) -> Self {
        Problem::new(Code::ApiKeyRevoked, revoked.to_string())
    }
}

impl From<SecretRotationError> for Problem {
    fn from(error: SecretRotationError) -> Self {
        let code = match error {
            SecretRotationError::Revoked(_) => Code::ApiKeyRevoked,
            SecretRotationError::TooManyInGrace => Code::ApiKeyLimit,
        };
        Problem::new(code, error.to_string())
    }
}

impl From<KeepKeyError> for Problem {
    fn from(error: KeepKeyError) -> Self {
        match error {
            KeepKeyError::Vault(failed) => failed.into(),
            void @ KeepKeyError::Void => Problem::new(Code::VaultUnavailable, void.to_string()),
            too_long => invalid(too_long.to_string()),
        }
    }
}
