//! The source of the client rules.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{policies::warn_if_open_to_all, users::Users};
use masker_access::ClientRules;
use masker_config::{AccessConfig, Config};
use masker_core::policy::PolicySet;

/// The file with the clients, the users that they name, and the daemon's own user.
pub(super) struct ClientSource {
    pub(super) file: Option<PathBuf>,
    pub(super) users: Arc<Users>,
    pub(super) own_uid: u32,
}

impl ClientSource {
    /// Reads the clients again, and resolves them with the host's users and the policies that will be in force.
    ///
    /// # Errors
    /// A message for each problem.
    pub(super) fn load(&self, policies: &PolicySet) -> Result<ClientRules, Vec<String>> {
        warn_if_open_to_all(self.file.as_deref());
        let config = match &self.file {
            None => AccessConfig::default(),
            Some(file) => Config::reload_access(file)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?,
        };
        Ok(self.with_unrestricted(resolve(&config, &self.users, policies)?))
    }

    /// Adds the callers that are unrestricted unless a client names them.
    pub(super) fn with_unrestricted(&self, clients: ClientRules) -> ClientRules {
        clients.with_unrestricted(self.own_uid)
    }
}

/// Resolves the clients of a configuration with the host's users and these policies.
///
/// # Errors
/// A message for each name that does not exist.
pub(super) fn resolve(config: &AccessConfig, users: &Users, policies: &PolicySet) -> Result<ClientRules, Vec<String>> {
    let names: BTreeSet<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    ClientRules::resolve(config, users, &names)
}
