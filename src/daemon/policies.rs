//! The policies in force, and their reload: all or nothing.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{api::ReloadReport, config::load_policies, http::ReloadError, kind::Kid, policy::PolicySet, vault::Vault};

/// Where the policies come from, and what they need.
pub(super) struct PolicySource {
    pub(super) path: PathBuf,
    pub(super) default: Option<String>,
    /// The kids whose keys are loaded.
    pub(super) kids: BTreeSet<Kid>,
}

impl PolicySource {
    /// Reads and validates them.
    ///
    /// # Errors
    /// Every problem of every file, and every kid that a policy names and that has no key.
    pub(super) fn load(&self) -> Result<PolicySet, Vec<String>> {
        let policies = load_policies(&self.path, self.default.as_deref())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let missing: BTreeSet<(&str, Kid)> = policies.kids().filter(|(_, kid)| !self.kids.contains(kid)).collect();
        if missing.is_empty() {
            return Ok(policies);
        }
        let problem = |(policy, kid): (&str, Kid)| {
            format!(
                "the policy `{policy}` names the key {kid}, which is not loaded: set MASKER_KEY_{kid} \
                 (`masker keys generate --kid {kid}` makes one), or take the kid out of the policy"
            )
        };
        Err(missing.into_iter().map(problem).collect())
    }

    /// The loaded keys that no policy names: a rotation may need them.
    pub(super) fn unnamed(&self, policies: &PolicySet) -> Vec<Kid> {
        let named: BTreeSet<Kid> = policies.kids().map(|(_, kid)| kid).collect();
        self.kids.difference(&named).copied().collect()
    }
}

/// Loads policies again into the place that requests read them from.
pub(super) struct Reloader {
    pub(super) source: PolicySource,
    pub(super) current: Arc<ArcSwap<PolicySet>>,
    pub(super) vault: Arc<Vault>,
    /// One reload at a time: the last to start is the last to be in force.
    pub(super) turn: Mutex<()>,
}

impl Reloader {
    /// Reads, validates, remembers in the vault, and only then puts into force. Requests in flight finish on the
    /// policies that they began with.
    ///
    /// # Errors
    /// [`ReloadError`]; those in force stay.
    pub(super) async fn reload(self: Arc<Self>) -> Result<ReloadReport, ReloadError> {
        let _turn = self.turn.lock().await;
        let reloader = Arc::clone(&self);
        let loaded = tokio::task::spawn_blocking(move || reloader.source.load());
        let policies = match loaded.await {
            Ok(Ok(policies)) => policies,
            Ok(Err(problems)) => {
                warn!(?problems, "the policies were not reloaded; those before stay in force");
                return Err(ReloadError::Invalid(problems));
            }
            Err(panicked) => return Err(ReloadError::Invalid(vec![format!("reading them failed: {panicked}")])),
        };
        let warnings = self.vault.adopt_policies(&policies).await?;
        for warning in &warnings {
            warn!("{warning}");
        }
        let report = ReloadReport { policies: policies.len(), warnings };
        self.current.store(Arc::new(policies));
        info!(policies = report.policies, "the policies were reloaded");
        Ok(report)
    }
}
