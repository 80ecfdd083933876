//! Handlers of API keys.

use hyper::body::Bytes;
use jiff::Timestamp;

use super::{Service, body::parse, exchange::RequestContext, problem::Problem, values::json};
use masker_access::{ApiKey, ApiKeyId, ApiKeySecret, ApiKeySpec, ApiKeyUpdate, ApiKeysAdmin, KeyRevoked, Permit};
use masker_api::{ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus, ApiKeyUse};
use masker_types::{
    error_code::Code,
    grant::{ContextPattern, ExcessGrant, Grant, Limits, Scope, ScopeSet},
    limits::{API_KEY_GRACE_SECONDS_DEFAULT, API_KEY_GRACE_SECONDS_MAX},
    mode::Mode,
};
use masker_vault::{KeepKeyError, VaultError};

/// Longest name of a key, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest name of an owner, in characters.
const OWNER_CHARS_MAX: usize = 128;
/// Longest name of a workspace, in bytes.
const WORKSPACE_BYTES_MAX: usize = 64;
/// The workspace of keys that are given none.
const WORKSPACE_DEFAULT: &str = "default";

impl Service {
    pub(super) async fn api_key_create(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<ApiKeysAdmin>()?;
        let request: ApiKeyCreate = parse(body)?;
        let now_ms = self.now_ms();
        let spec = self.spec(on, request, now_ms)?;
        let _guard = self.key_changes.lock().await;
        let active = self.access.keys().active_in(&spec.workspace, now_ms);
        if active >= self.api_keys_per_workspace {
            let detail = format!(
                "this workspace has {active} active keys, and at most {} at once (`[access] api_keys_per_workspace`): \
                 revoke one that is not needed",
                self.api_keys_per_workspace
            );
            return Err(Problem::new(Code::ApiKeyLimit, detail));
        }
        let secret = ApiKeySecret::generate(spec.mode, &mut rand::rng());
        let shown = secret.presented();
        let id = ApiKeyId::new(now_ms, &mut rand::rng());
        let key = ApiKey::create(id, spec, (shown.digest(), shown.prefix()), &on.caller.principal().name, now_ms);
        self.keep(on, &permit, key, Some(secret)).await
    }

    pub(super) fn api_key_list(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        on.permit::<ApiKeysAdmin>()?;
        let now_ms = self.now_ms();
        json(&ApiKeyList { api_keys: self.access.keys().list().iter().map(|key| status(key, now_ms)).collect() })
    }

    pub(super) fn api_key(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        on.permit::<ApiKeysAdmin>()?;
        json(&status(&self.key(on, id)?, self.now_ms()))
    }

    pub(super) async fn api_key_change(
        &self,
        on: &mut RequestContext,
        id: &str,
        body: &[u8],
    ) -> Result<Bytes, Problem> {
        let permit = on.permit::<ApiKeysAdmin>()?;
        let request: ApiKeyPatch = parse(body)?;
        let _guard = self.key_changes.lock().await;
        let key = self.key(on, id)?;
        let now_ms = self.now_ms();
        let change = ApiKeyUpdate {
            name: request.name.map(|name| text("name", name, NAME_CHARS_MAX)).transpose()?,
            scopes: request.scopes.map(|scopes| self::scopes(&scopes)).transpose()?,
            limits: request.limits,
            expires_at_ms: request.expires_at.map(|at| at.map(|at| expiry(&at, now_ms)).transpose()).transpose()?,
        };
        let changed = key.changed(change)?;
        check_not_exceeding_own(on, changed.grant(), changed.limits(), *changed.expires_at_ms())?;
        check_mode(changed.grant(), changed.is_test_key())?;
        self.keep(on, &permit, changed, None).await
    }

    pub(super) async fn api_key_rotate(
        &self,
        on: &mut RequestContext,
        id: &str,
        body: &[u8],
    ) -> Result<Bytes, Problem> {
        let permit = on.permit::<ApiKeysAdmin>()?;
        let request: ApiKeyRotate = if body.is_empty() { ApiKeyRotate::default() } else { parse(body)? };
        let grace_seconds = request.grace_seconds.unwrap_or(API_KEY_GRACE_SECONDS_DEFAULT);
        if grace_seconds > API_KEY_GRACE_SECONDS_MAX {
            let detail = format!("`grace_seconds` is at most {API_KEY_GRACE_SECONDS_MAX}, which is 30 days");
            return Err(Problem::new(Code::RequestInvalid, detail));
        }
        let _guard = self.key_changes.lock().await;
        let key = self.key(on, id)?;
        // Whoever is given a key's secret can do what the key can.
        check_not_exceeding_own(on, key.grant(), key.limits(), *key.expires_at_ms())?;
        let secret = ApiKeySecret::generate(*key.mode(), &mut rand::rng());
        let shown = secret.presented();
        let rotated = key.rotated((shown.digest(), shown.prefix()), grace_seconds, self.now_ms())?;
        on.number("grace_seconds", grace_seconds);
        self.keep(on, &permit, rotated, Some(secret)).await
    }

    pub(super) async fn api_key_revoke(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let permit = on.permit::<ApiKeysAdmin>()?;
        let _guard = self.key_changes.lock().await;
        let revoked = self.key(on, id)?.revoked(self.now_ms());
        self.keep(on, &permit, revoked, None).await
    }

    /// Writes down when API keys were last used.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; it can be tried again.
    pub async fn note_api_key_use(&self) -> Result<(), VaultError> {
        // A key is written as a whole. Without the turn, one that is revoked meanwhile would be written as it was before,
        // and be good again after the next start.
        let _guard = self.key_changes.lock().await;
        let used = self.access.keys().unsaved_uses();
        self.vault.note_api_key_use(&used).await?;
        self.access.keys().mark_uses_saved(&used);
        Ok(())
    }

    /// Brings the gauges of API keys up to now.
    pub(super) fn measure_api_keys(&self) {
        let now_ms = self.now_ms();
        let gauge = &self.metrics.access.api_keys;
        gauge.reset();
        for key in self.access.keys().list() {
            let state = if key.is_inactive(now_ms) { "inactive" } else { state(&key, now_ms) };
            gauge.with_label_values(&[state]).inc();
        }
    }

    /// Writes a key down, and only then puts it in force.
    async fn keep(
        &self,
        on: &mut RequestContext,
        permit: &Permit<ApiKeysAdmin>,
        key: ApiKey,
        secret: Option<ApiKeySecret>,
    ) -> Result<Bytes, Problem> {
        on.fact("api_key_id", key.id().to_string());
        on.fact("api_key_prefix", key.prefix().as_str());
        self.vault.keep_api_key(permit, &key).await?;
        let status = status(&key, self.now_ms());
        self.access.keys().put(key);
        match secret {
            Some(secret) => json(&ApiKeyIssued { key: secret.into_text(), api_key: status }),
            None => json(&status),
        }
    }

    fn key(&self, on: &mut RequestContext, id: &str) -> Result<ApiKey, Problem> {
        let key = ApiKeyId::parse(id).and_then(|id| self.access.keys().get(id)).ok_or_else(|| {
            Problem::new(Code::ApiKeyNotFound, "there is no API key of this id; see GET /api/v1/api-keys")
        })?;
        on.fact("api_key_id", key.id().to_string());
        Ok(key)
    }

    fn spec(&self, on: &RequestContext, request: ApiKeyCreate, now_ms: u64) -> Result<ApiKeySpec, Problem> {
        let mode = match request.mode.as_deref() {
            None | Some("live") => Mode::Live,
            Some("test") => Mode::Test,
            Some(_) => return Err(invalid("`mode` is `live` or `test`")),
        };
        let policies = request.policies.map(|names| names.into_iter().collect());
        if policies.iter().flatten().any(|name: &String| on.policies.get(Some(name)).is_none()) {
            return Err(invalid("`policies` names one that is not loaded; see GET /api/v1/policies"));
        }
        let contexts = request.contexts.map(|contexts| contexts.iter().map(|text| context(text)).collect());
        let grant = Grant { scopes: scopes(&request.scopes)?, policies, contexts: contexts.transpose()? };
        let limits = request.limits.unwrap_or(Limits::standard());
        let expires_at_ms = request.expires_at.map(|at| expiry(&at, now_ms)).transpose()?;
        check_mode(&grant, mode == Mode::Test)?;
        check_not_exceeding_own(on, &grant, &limits, expires_at_ms)?;
        let owner = request.owner.unwrap_or_else(|| on.caller.principal().name.clone());
        Ok(ApiKeySpec {
            name: text("name", request.name, NAME_CHARS_MAX)?,
            workspace: workspace(request.workspace)?,
            owner: text("owner", owner, OWNER_CHARS_MAX)?,
            grant,
            limits,
            mode,
            expires_at_ms,
        })
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

/// A name that people read, in logs as well: on one line, and not blank.
fn text(field: &str, text: String, chars_max: usize) -> Result<String, Problem> {
    let sound = !text.trim().is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    if sound { Ok(text) } else { Err(invalid(format!("`{field}` is 1 to {chars_max} characters on one line"))) }
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

fn scopes(texts: &[String]) -> Result<ScopeSet, Problem> {
    // What is no scope is of the request's making, and is not repeated.
    ScopeSet::parse(texts).map_err(|_| {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let known = known.join(", ");
        invalid(format!("`scopes` holds what is no scope: there is `*`, {known}, and for one kind `rehydrate:PHONE`"))
    })
}

fn context(text: &str) -> Result<ContextPattern, Problem> {
    ContextPattern::parse(text).ok_or_else(|| invalid("`contexts` names one of more than 256 bytes"))
}

fn expiry(text: &str, now_ms: u64) -> Result<u64, Problem> {
    let at: Option<Timestamp> = text.parse().ok();
    let at_ms = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at_ms.filter(|at| *at > now_ms).ok_or_else(|| {
        invalid("`expires_at` is a time to come, such as 2030-01-31T12:00:00Z; `null`, or nothing, is never")
    })
}

/// A test key works with made-up data; what concerns the daemon as a whole concerns real data.
fn check_mode(grant: &Grant, is_test: bool) -> Result<(), Problem> {
    let administrative = Scope::ALL.iter().find(|s| s.is_administrative() && grant.scopes.allows(**s));
    match administrative.filter(|_| is_test) {
        Some(scope) => Err(invalid(format!("a test key cannot have `{scope}`, nor `*`: it would reach real data"))),
        None => Ok(()),
    }
}

/// Nobody hands out more than they have, nor for longer: a key that makes another would outlive its own end.
fn check_not_exceeding_own(
    on: &RequestContext,
    grant: &Grant,
    limits: &Limits,
    expires_at_ms: Option<u64>,
) -> Result<(), Problem> {
    let own = on.caller.principal();
    let beyond = match own.grant.excess_of(grant) {
        Some(ExcessGrant::Scope(scope)) => Some(format!("the scope `{scope}`")),
        Some(ExcessGrant::Policies) => Some("these policies".to_owned()),
        Some(ExcessGrant::Contexts) => Some("these contexts".to_owned()),
        None if !own.limiter.limits().covers(limits) => Some("such limits".to_owned()),
        None => {
            let own_end = own.credential.as_ref().and_then(|credential| credential.expires_at_ms);
            let outlives = own_end.is_some_and(|end| expires_at_ms.is_none_or(|at| at > end));
            outlives.then(|| "so much time".to_owned())
        }
    };
    match beyond {
        Some(what) => {
            let detail = format!("this caller lacks {what}, and nobody hands out more than they have");
            Err(Problem::new(Code::PermDenied, detail))
        }
        None => Ok(()),
    }
}

fn state(key: &ApiKey, now_ms: u64) -> &'static str {
    match (key.revoked_at_ms(), key.is_active(now_ms)) {
        (Some(_), _) => "revoked",
        (None, true) => "active",
        (None, false) => "expired",
    }
}

fn status(key: &ApiKey, now_ms: u64) -> ApiKeyStatus {
    let grant = key.grant();
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
        created_at: time(*key.created_at_ms()),
        expires_at: key.expires_at_ms().and_then(time),
        rotated_at: key.rotated_at_ms().and_then(time),
        grace_ends: key.grace_ends_ms(now_ms).and_then(time),
        revoked_at: key.revoked_at_ms().and_then(time),
        last_used: key.last_use().as_ref().map(|last| ApiKeyUse {
            at: time(last.at_ms),
            uid: last.uid,
            unit: last.unit.clone(),
        }),
    }
}

/// A time as answers write it; `None` for one beyond the year 9999.
fn time(ms: u64) -> Option<String> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok().map(|at| at.to_string())
}

impl From<KeyRevoked> for Problem {
    fn from(revoked: KeyRevoked) -> Self {
        Problem::new(Code::ApiKeyRevoked, revoked.to_string())
    }
}

impl From<KeepKeyError> for Problem {
    fn from(error: KeepKeyError) -> Self {
        match error {
            KeepKeyError::Vault(failed) => failed.into(),
            too_long => invalid(too_long.to_string()),
        }
    }
}
