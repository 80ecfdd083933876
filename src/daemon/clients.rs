//! Where the rules about local callers come from.

use std::{collections::BTreeSet, path::PathBuf};

use masker_access::{ClientRules, HostUsers};
use masker_config::{AccessConfig, Config};
use masker_core::policy::PolicySet;

/// Where the clients come from, and whom the daemon trusts where there are none.
pub(super) struct ClientSource {
    pub(super) file: Option<PathBuf>,
    pub(super) own_uid: u32,
    pub(super) socket_group: Option<u32>,
}

impl ClientSource {
    /// Reads them again, and holds them against the host and the policies that will be in force.
    ///
    /// # Errors
    /// Every problem there is.
    pub(super) fn load(&self, policies: &PolicySet) -> Result<ClientRules, Vec<String>> {
        let config = match &self.file {
            None => AccessConfig::default(),
            Some(file) => Config::reload_access(file)
                .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?,
        };
        Ok(self.trust(resolve(&config, policies)?))
    }

    /// Adds whom the daemon trusts where no rule is about anybody.
    pub(super) fn trust(&self, clients: ClientRules) -> ClientRules {
        clients.with_unrestricted(self.own_uid, self.socket_group)
    }
}

/// Holds what a configuration says of clients against this host and these policies.
///
/// # Errors
/// Every name that nothing is behind.
pub(super) fn resolve(config: &AccessConfig, policies: &PolicySet) -> Result<ClientRules, Vec<String>> {
    let names: BTreeSet<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    ClientRules::resolve(config, &HostUsers, &names)
}
