//! Keys, policies and clients, loaded and validated before anything is opened.

use std::{collections::BTreeSet, sync::Arc};

use tracing::warn;

use super::{
    clients::resolve,
    policies::{PolicySource, policies_without_key, unused_kids, warn_if_open_to_all},
    start_error::StartError,
    users::Users,
};
use masker_access::ClientRules;
use masker_config::{Config, Credentials, KeySources, SeccompMode};
use masker_core::{
    crypto::SecretKey,
    keyring::{Keyring, Role},
    policy::PolicySet,
};

/// Validated keys, policies and clients, and the sources that a reload reads again.
pub(super) struct Inputs {
    pub(super) keyring: Keyring,
    pub(super) policies: PolicySet,
    pub(super) clients: ClientRules,
    /// The users that a reload resolves clients with.
    pub(super) users: Arc<Users>,
    pub(super) key_sources: KeySources,
    pub(super) policy_source: PolicySource,
    pub(super) audit_key: Option<SecretKey>,
}

impl Inputs {
    /// Builds the keyring, and loads the policies and the clients.
    ///
    /// # Errors
    /// Every problem of all of them, so that an operator can fix them in one go.
    pub(super) fn load(config: &Config, credentials: Credentials) -> Result<Self, StartError> {
        for warning in &credentials.warnings {
            warn!("{warning}");
        }
        if credentials.audit_key.is_none() {
            warn!("MASKER_AUDIT_HMAC_KEY is not set: there is no audit log");
        }
        warn_if_open_to_all(config.file.as_deref());
        let active = credentials.keys.iter().filter(|key| key.role == Role::Active);
        let kids: BTreeSet<_> = active.map(|key| key.kid).collect();
        let policy_source = PolicySource { path: config.policy.path.clone(), default: config.policy.default.clone() };
        let users = Arc::new(Users::of_host(config.sandbox.seccomp == SeccompMode::Enforce));
        let policies = policy_source.load().and_then(|policies| match policies_without_key(&policies, &kids) {
            missing if missing.is_empty() => Ok((resolve(&config.access, &users, &policies)?, policies)),
            missing => Err(missing),
        });
        match (Keyring::build(credentials.keys, 1), policies) {
            (Ok(keyring), Ok((clients, policies))) => {
                for kid in unused_kids(&policies, &kids) {
                    warn!(%kid, "this key is loaded but no policy names it; it only opens existing tokens");
                }
                let (key_sources, audit_key) = (credentials.sources, credentials.audit_key);
                Ok(Inputs { keyring, policies, clients, users, key_sources, policy_source, audit_key })
            }
            (keyring, policies) => Err(StartError::of_inputs(
                keyring.err().into_iter().flatten().map(|error| error.to_string()).collect(),
                policies.err().into_iter().flatten().collect(),
            )),
        }
    }
}
