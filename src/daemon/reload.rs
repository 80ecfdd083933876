//! The keys and the policies in force, and their reload: all or nothing.
//!
//! Whatever is loaded again is read and validated as a whole first, and held against what stays. What is found wrong is
//! reported together, and then nothing has changed. Keys and policies that are loaded together come into force together:
//! a rotation to a kid that is new needs both.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    clients::ClientSource,
    policies::{PolicySource, policies_without_key, unnamed},
};
use masker_access::{Access, ClientRules};
use masker_config::{KeySources, ReloadedKeys};
use masker_core::{keyring::Keyring, policy::PolicySet};
use masker_http::{ReloadError, ReloadOutcome, ReloadTarget};
use masker_types::kind::Kid;
use masker_vault::{KeyLoadError, Vault};

/// Loads keys and policies again into the places that requests read them from.
pub(super) struct Reloader {
    pub(super) keys: KeySources,
    pub(super) policies: PolicySource,
    pub(super) clients: ClientSource,
    pub(super) current: Arc<ArcSwap<PolicySet>>,
    pub(super) access: Arc<Access>,
    pub(super) vault: Arc<Vault>,
    /// One reload at a time: the last to start is the last to be in force.
    pub(super) reload_lock: Mutex<()>,
}

/// What was read, and has nothing wrong with it.
struct ReloadData {
    keyring: Option<Keyring>,
    /// Policies, and the clients that were held against them.
    policies: Option<(PolicySet, ClientRules)>,
    warnings: Vec<String>,
}

impl Reloader {
    /// Reads, validates, remembers in the vault, and only then puts into force. Requests in flight finish on what they
    /// began with.
    ///
    /// # Errors
    /// [`ReloadError`]; what is in force stays.
    pub(super) async fn reload(self: Arc<Self>, what: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let _guard = self.reload_lock.lock().await;
        let reloaded = self.attempt(what).await;
        let (keys, policies) = (what != ReloadTarget::Policies, what != ReloadTarget::Keys);
        match &reloaded {
            Ok(reloaded) => {
                if keys {
                    info!(keys = self.vault.keys_loaded(), "the keys were reloaded");
                }
                if policies {
                    info!(policies = reloaded.policies, "the policies were reloaded");
                }
            }
            Err(ReloadError::Invalid { keys: of_keys, policies: of_policies }) => {
                let problems = [of_keys.as_slice(), of_policies.as_slice()].concat();
                if keys {
                    warn!(?problems, "the keys were not reloaded; those before stay in force");
                }
                if policies {
                    warn!(?problems, "the policies were not reloaded; those before stay in force");
                }
            }
            Err(failed) => warn!(error = %failed, "nothing was reloaded; what was in force before stays so"),
        }
        reloaded
    }

    async fn attempt(self: &Arc<Self>, what: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let reloader = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || reloader.read(what)).await;
        let ReloadData { keyring, policies: rules, mut warnings } = read.unwrap_or_else(|panicked| {
            let problems = vec![format!("reading failed: {panicked}")];
            Err(match what {
                ReloadTarget::Policies => ReloadError::Invalid { keys: Vec::new(), policies: problems },
                ReloadTarget::Keys | ReloadTarget::Both => {
                    ReloadError::Invalid { keys: problems, policies: Vec::new() }
                }
            })
        })?;
        let (policies, clients) = rules.unzip();
        let replaced = match (keyring, &policies) {
            (Some(keyring), Some(policies)) => self.vault.replace_keys_and_policies(keyring, policies).await,
            (Some(keyring), None) => self.vault.replace_keys(keyring).await,
            (None, Some(policies)) => self.vault.adopt_policies(policies).await.map_err(KeyLoadError::from),
            (None, None) => Ok(Vec::new()),
        };
        warnings.extend(replaced.map_err(|refused| match refused {
            KeyLoadError::Vault(failed) => ReloadError::Vault(failed),
            refused => ReloadError::Invalid { keys: vec![refused.to_string()], policies: Vec::new() },
        })?);
        for warning in &warnings {
            warn!("{warning}");
        }
        if let Some(policies) = policies {
            self.current.store(Arc::new(policies));
        }
        if let Some(clients) = clients {
            self.access.replace_clients(clients);
        }
        Ok(ReloadOutcome { policies: self.current.load().len(), warnings })
    }

    /// Reads and validates everything that is asked for, before anything is done with it. It blocks.
    fn read(&self, what: ReloadTarget) -> Result<ReloadData, ReloadError> {
        let (mut of_keys, mut of_policies, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let keyring = match what {
            ReloadTarget::Policies => None,
            ReloadTarget::Keys | ReloadTarget::Both => {
                self.read_keys(&mut warnings).map_err(|problems| of_keys.extend(problems)).ok()
            }
        };
        let rules = match what {
            ReloadTarget::Keys => None,
            ReloadTarget::Policies | ReloadTarget::Both => {
                self.read_rules().map_err(|problems| of_policies.extend(problems)).ok()
            }
        };
        let policies = rules.as_ref().map(|(policies, _)| policies);

        // Each is held against its counterpart as it will be: where that could not be read, it has been said.
        let in_force = self.current.load();
        match (what, &keyring, &policies) {
            (ReloadTarget::Keys, Some(keyring), _) => of_keys.extend(policies_without_key(&in_force, &kids(keyring))),
            (ReloadTarget::Policies, _, Some(policies)) => {
                of_policies.extend(policies_without_key(policies, &self.vault.kids()))
            }
            (ReloadTarget::Both, Some(keyring), Some(policies)) => {
                of_policies.extend(policies_without_key(policies, &kids(keyring)))
            }
            _ => {}
        }
        if let Some(keyring) = &keyring {
            of_keys.extend(self.vault.validate_keyring(keyring));
            let policies = policies.unwrap_or(&in_force);
            let unnamed = unnamed(policies, &kids(keyring)).into_iter();
            warnings.extend(unnamed.map(|kid| format!("the key {kid} is loaded and no policy names it")));
        }
        if of_keys.is_empty() && of_policies.is_empty() {
            Ok(ReloadData { keyring, policies: rules, warnings })
        } else {
            Err(ReloadError::Invalid { keys: of_keys, policies: of_policies })
        }
    }

    /// The policies, and the clients with them: what a client may do can name a policy.
    fn read_rules(&self) -> Result<(PolicySet, ClientRules), Vec<String>> {
        let policies = self.policies.load()?;
        let clients = self.clients.load(&policies)?;
        Ok((policies, clients))
    }

    fn read_keys(&self, warnings: &mut Vec<String>) -> Result<Keyring, Vec<String>> {
        let told = |problem: &dyn ToString| problem.to_string();
        let ReloadedKeys { keys, kept, warnings: of_keys } =
            self.keys.reload().map_err(|problems| problems.iter().map(|p| told(p)).collect::<Vec<_>>())?;
        warnings.extend(of_keys);
        self.vault.next_keyring(keys, &kept).map_err(|problems| problems.iter().map(|p| told(p)).collect())
    }
}

fn kids(keyring: &Keyring) -> BTreeSet<Kid> {
    keyring.iter().map(|(kid, _)| kid).collect()
}
