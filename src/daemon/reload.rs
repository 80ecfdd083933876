//! Reloads of keys, policies and clients: all or nothing.
//!
//! A reload first reads and validates everything, and compares it with what stays in force. It reports all problems
//! together, and then nothing has changed. Keys and policies that are reloaded together take effect together, which a
//! rotation to a new kid requires.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    clients::ClientSource,
    policies::{PolicySource, policies_without_key, unused_kids},
};
use masker_access::{Access, ClientRules};
use masker_config::{KeySources, ReloadedKeys};
use masker_core::{
    crypto::Fingerprint,
    keyring::{Keyring, Role},
    policy::PolicySet,
};
use masker_http::{ReloadError, ReloadOutcome, ReloadTarget};
use masker_types::{kind::Kid, quote::listed};
use masker_vault::{KeyLoadError, Vault};

/// Reloads keys, policies and clients into the places from which requests read them.
pub(super) struct Reloader {
    pub(super) keys: KeySources,
    pub(super) policies: PolicySource,
    pub(super) clients: ClientSource,
    pub(super) current: Arc<ArcSwap<PolicySet>>,
    pub(super) access: Arc<Access>,
    pub(super) vault: Arc<Vault>,
    /// Serializes reloads, so that the last to start is the last to take effect.
    pub(super) reload_lock: Mutex<()>,
}

/// Keys, policies and clients that were read and validated.
struct ReloadData {
    keyring: Option<Keyring>,
    /// The policies, and the clients that may name them.
    rules: Option<(PolicySet, ClientRules)>,
    warnings: Vec<String>,
}

impl Reloader {
    /// Reads and validates, records the change in the vault, and only then puts it into force. Requests in flight finish
    /// with the keys and policies that they began with.
    ///
    /// # Errors
    /// [`ReloadError`]; what was in force stays in force.
    pub(super) async fn reload(self: Arc<Self>, target: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let _guard = self.reload_lock.lock().await;
        let reloaded = self.try_reload(target).await;
        match &reloaded {
            Ok(reloaded) => {
                if target != ReloadTarget::Policies {
                    info!(keys = self.vault.keys_loaded(), "the keys were reloaded");
                }
                if target != ReloadTarget::Keys {
                    info!(policies = reloaded.policies, "the policies were reloaded");
                }
            }
            Err(ReloadError::Invalid { keys: of_keys, policies: of_policies }) => {
                let problems = [of_keys.as_slice(), of_policies.as_slice()].concat();
                match target {
                    ReloadTarget::Keys => {
                        warn!(?problems, "failed to reload the keys; the previous ones stay in force")
                    }
                    ReloadTarget::Policies => {
                        warn!(?problems, "failed to reload the policies; the previous ones stay in force");
                    }
                    ReloadTarget::Both => {
                        warn!(?problems, "failed to reload the keys and the policies; the previous ones stay in force");
                    }
                }
            }
            Err(failed) => warn!(error = %failed, "failed to reload; what was in force stays in force"),
        }
        reloaded
    }

    async fn try_reload(self: &Arc<Self>, target: ReloadTarget) -> Result<ReloadOutcome, ReloadError> {
        let reloader = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || reloader.read(target)).await;
        let ReloadData { keyring, rules, mut warnings } = read.unwrap_or_else(|panicked| {
            let problems = vec![format!("reload task panicked: {panicked}")];
            Err(match target {
                ReloadTarget::Policies => ReloadError::Invalid { keys: Vec::new(), policies: problems },
                ReloadTarget::Keys | ReloadTarget::Both => {
                    ReloadError::Invalid { keys: problems, policies: Vec::new() }
                }
            })
        })?;
        let (policies, clients) = rules.unzip();
        let before = (target == ReloadTarget::Keys).then(|| self.loaded_keys());
        let replaced = match (keyring, &policies) {
            (Some(keyring), Some(policies)) => self.vault.replace_keys_and_policies(keyring, policies).await,
            (Some(keyring), None) => self.vault.replace_keys(keyring).await,
            (None, Some(policies)) => self.vault.adopt_policies(policies).await.map_err(KeyLoadError::from),
            (None, None) => Ok(Vec::new()),
        };
        warnings.extend(replaced.map_err(|error| match error {
            KeyLoadError::Vault(failed) => ReloadError::Vault(failed),
            invalid => ReloadError::Invalid { keys: vec![invalid.to_string()], policies: Vec::new() },
        })?);
        if before.is_some_and(|before| before == self.loaded_keys())
            && let Some(unit) = self.keys.unit_of_systemd()
        {
            // A restart drops a key that is in no file any more.
            warnings.push(format!(
                "no key has changed. systemd provides the keys: if their files have changed, let `masker doctor` compare them first, \
                 and if it finds no error, {unit}"
            ));
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        if let Some(policies) = policies {
            self.current.store(Arc::new(policies));
        }
        if let Some(clients) = clients {
            self.access.replace_clients(clients);
            if let Some(warning) = removed_creators(&self.access, &self.vault) {
                warn!("{warning}");
                warnings.push(warning);
            }
        }
        Ok(ReloadOutcome { policies: self.current.load().len(), warnings })
    }

    fn loaded_keys(&self) -> BTreeSet<(Kid, Role, Fingerprint)> {
        let generations = self.vault.generations().into_iter();
        generations.filter_map(|key| Some((key.kid, key.loaded?, key.fingerprint))).collect()
    }

    /// Reads and validates everything to reload, and changes nothing. Blocks.
    fn read(&self, target: ReloadTarget) -> Result<ReloadData, ReloadError> {
        let (mut of_keys, mut of_policies, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let keyring = match target {
            ReloadTarget::Policies => None,
            ReloadTarget::Keys | ReloadTarget::Both => {
                self.read_keys(&mut warnings).map_err(|problems| of_keys.extend(problems)).ok()
            }
        };
        let rules = match target {
            ReloadTarget::Keys => None,
            ReloadTarget::Policies | ReloadTarget::Both => {
                self.read_rules().map_err(|problems| of_policies.extend(problems)).ok()
            }
        };
        let policies = rules.as_ref().map(|(policies, _)| policies);

        // Compares each with its counterpart after the reload. If that could not be read, the problem is reported already.
        let in_force = self.current.load();
        match (target, &keyring, &policies) {
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
            let unused = unused_kids(policies, &kids(keyring)).into_iter();
            warnings.extend(unused.map(|kid| format!("the key {kid} is loaded but no policy names it")));
        }
        if of_keys.is_empty() && of_policies.is_empty() {
            Ok(ReloadData { keyring, rules, warnings })
        } else {
            Err(ReloadError::Invalid { keys: of_keys, policies: of_policies })
        }
    }

    /// Reads the policies and the clients. Both, because clients can name policies.
    fn read_rules(&self) -> Result<(PolicySet, ClientRules), Vec<String>> {
        let policies = self.policies.load()?;
        let clients = self.clients.load(&policies)?;
        Ok((policies, clients))
    }

    fn read_keys(&self, warnings: &mut Vec<String>) -> Result<Keyring, Vec<String>> {
        let ReloadedKeys { keys, kept, warnings: of_keys } =
            self.keys.reload().map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        warnings.extend(of_keys);
        let keyring = self.vault.next_keyring(keys, &kept);
        keyring.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }
}

/// Returns a warning of clients that have created API keys and are no longer in the configuration.
pub(super) fn removed_creators(access: &Access, vault: &Vault) -> Option<String> {
    let now_ms = u64::try_from(vault.now().as_millisecond()).unwrap_or(0);
    let names: Vec<String> = access.keys().removed_creators(now_ms).into_iter().collect();
    (!names.is_empty()).then(|| {
        format!(
            "API keys that come from clients which masker.toml does not list have no rights, until it lists them again: {}",
            listed(&names)
        )
    })
}

fn kids(keyring: &Keyring) -> BTreeSet<Kid> {
    keyring.iter().map(|(kid, _)| kid).collect()
}
