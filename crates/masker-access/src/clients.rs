//! The clients of the configuration: which local process acts as which principal.

use std::{collections::BTreeSet, sync::Arc};

use nix::unistd::{Group, User};

use crate::{Peer, Principal};
use masker_config::{AccessConfig, ClientConfig};
use masker_types::grant::{Grant, Limits, UNLISTED_NAME, UNRESTRICTED_NAME};

/// The client rules in force. Every user, group and policy that they name existed when they were resolved.
#[derive(Clone, Debug)]
pub struct ClientRules {
    rules: Vec<ClientRule>,
    unlisted: Arc<Principal>,
    /// Whether the configuration has clients or sets `unlisted`.
    configured: bool,
    unrestricted: Option<Unrestricted>,
}

/// The callers that may do everything while nothing is configured. On the wire their name is `trusted`.
#[derive(Clone, Debug)]
struct Unrestricted {
    own_uid: u32,
    group: Option<u32>,
    principal: Arc<Principal>,
}

/// One client. A process must match everything that it specifies.
#[derive(Clone, Debug)]
struct ClientRule {
    uids: Vec<u32>,
    gids: Vec<u32>,
    unit: Option<String>,
    principal: Arc<Principal>,
}

/// Users and groups. A trait, so that tests need no users of the host.
pub trait UserDatabase {
    /// Returns the uid of a user; `None` if there is no user of this name.
    ///
    /// # Errors
    /// The lookup failed.
    fn uid(&self, name: &str) -> Result<Option<u32>, String>;

    /// Returns the gid of a group; `None` if there is no group of this name.
    ///
    /// # Errors
    /// The lookup failed.
    fn gid(&self, name: &str) -> Result<Option<u32>, String>;
}

/// The users and groups of this host: `getpwnam(3)` and `getgrnam(3)`.
pub struct HostUsers;

impl UserDatabase for HostUsers {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())).map_err(|error| error.to_string())
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())).map_err(|error| error.to_string())
    }
}

impl ClientRules {
    /// Resolves the names of the configuration. `policies` are those that will be in force.
    ///
    /// # Errors
    /// A message for each name that does not exist.
    pub fn resolve(
        config: &AccessConfig,
        users: &dyn UserDatabase,
        policies: &BTreeSet<&str>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let rules =
            config.clients.iter().map(|client| ClientRule::resolve(client, users, policies, &mut problems)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let configured = config.unlisted.is_some() || !config.clients.is_empty();
        let unlisted = config.unlisted.clone().unwrap_or_default();
        Ok(ClientRules {
            rules,
            unlisted: Principal::local(UNLISTED_NAME, Grant { scopes: unlisted, ..Grant::none() }, Limits::none()),
            configured,
            unrestricted: None,
        })
    }

    /// Allows everything to root, the daemon's own user and the socket's group, but only if the configuration neither
    /// has clients nor sets `unlisted`.
    pub fn with_unrestricted(self, own_uid: u32, group: Option<u32>) -> Self {
        let unrestricted = Unrestricted {
            own_uid,
            group,
            principal: Principal::local(UNRESTRICTED_NAME, Grant::all(), Limits::none()),
        };
        ClientRules { unrestricted: (!self.configured).then_some(unrestricted), ..self }
    }

    /// Returns these rules with the usage of the clients of the same names in `before`.
    pub(super) fn inheriting_usage(mut self, before: &ClientRules) -> Self {
        for rule in &mut self.rules {
            let known = before.rules.iter().find(|known| known.principal.name == rule.principal.name);
            if let Some(known) = known {
                rule.principal = Arc::new(rule.principal.inheriting_usage(&known.principal));
            }
        }
        self
    }

    /// Returns the principal that a process acts as. The first client that matches decides.
    pub(super) fn principal(&self, peer: &Peer) -> &Arc<Principal> {
        let rule = self.rules.iter().find(|rule| rule.matches(peer)).map(|rule| &rule.principal);
        let unrestricted = || self.unrestricted.as_ref().filter(|rule| rule.matches(peer)).map(|rule| &rule.principal);
        rule.or_else(unrestricted).unwrap_or(&self.unlisted)
    }
}

impl Unrestricted {
    fn matches(&self, peer: &Peer) -> bool {
        peer.uid() == 0 || peer.uid() == self.own_uid || self.group.is_some_and(|gid| peer.in_group(gid))
    }
}

impl ClientRule {
    fn resolve(
        client: &ClientConfig,
        users: &dyn UserDatabase,
        policies: &BTreeSet<&str>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut problem =
            |text: String| problems.push(format!("{}: the client `{}` {text}", client.place, client.name));
        let mut id = |what: &str, name: &Option<String>, look_up: &dyn Fn(&str) -> Result<Option<u32>, String>| {
            let name = name.as_deref()?;
            match look_up(name) {
                Ok(Some(id)) => return Some(id),
                Ok(None) => problem(format!("names the {what} `{name}`, which does not exist on this host")),
                Err(error) => problem(format!("names the {what} `{name}`, but the lookup failed: {error}")),
            }
            None
        };
        let user = id("user", &client.user, &|name| users.uid(name));
        let group = id("group", &client.group, &|name| users.gid(name));
        for name in client.grant.policies.iter().flatten().filter(|name| !policies.contains(name.as_str())) {
            problem(format!("names the policy `{name}`, which is not loaded"));
        }
        ClientRule {
            uids: [user, client.uid].into_iter().flatten().collect(),
            gids: [group, client.gid].into_iter().flatten().collect(),
            unit: client.unit.clone(),
            principal: Principal::local(&client.name, client.grant.clone(), client.limits),
        }
    }

    fn matches(&self, peer: &Peer) -> bool {
        self.uids.iter().all(|uid| *uid == peer.uid())
            && self.gids.iter().all(|gid| peer.in_group(*gid))
            && self.unit.as_deref().is_none_or(|unit| peer.unit() == Some(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_types::grant::{Scope, ScopeSet};

    struct Users;

    impl UserDatabase for Users {
        fn uid(&self, name: &str) -> Result<Option<u32>, String> {
            if name == "broken" { Err("no response".to_owned()) } else { Ok((name == "billing").then_some(1_000)) }
        }

        fn gid(&self, name: &str) -> Result<Option<u32>, String> {
            Ok((name == "clerks").then_some(2_000))
        }
    }

    fn client(name: &str, scope: &str) -> ClientConfig {
        let grant = Grant { scopes: ScopeSet::parse(&[scope]).unwrap(), ..Grant::none() };
        ClientConfig::for_tests(name, grant)
    }

    fn resolve(config: &AccessConfig) -> Result<ClientRules, Vec<String>> {
        ClientRules::resolve(config, &Users, &BTreeSet::from(["a"]))
            .map(|clients| clients.with_unrestricted(100, Some(500)))
    }

    fn name<'c>(clients: &'c ClientRules, peer: &Peer) -> &'c str {
        &clients.principal(peer).name
    }

    #[test]
    fn without_clients_root_the_owner_and_the_group_are_unrestricted() {
        let clients = resolve(&AccessConfig::default()).unwrap();
        let unrestricted = [(0, 0, &[][..]), (100, 1, &[]), (7, 500, &[]), (7, 7, &[9, 500])];
        for (uid, gid, groups) in unrestricted {
            let principal = clients.principal(&Peer::for_tests(uid, gid, groups));
            assert_eq!((principal.name.as_str(), &principal.grant), (UNRESTRICTED_NAME, &Grant::all()));
        }
        let stranger = clients.principal(&Peer::for_tests(7, 7, &[9]));
        assert_eq!((stranger.name.as_str(), &stranger.grant), (UNLISTED_NAME, &Grant::none()));
    }

    #[test]
    fn the_first_client_that_matches_decides() {
        let config = AccessConfig {
            clients: vec![
                ClientConfig {
                    user: Some("billing".into()),
                    group: Some("clerks".into()),
                    ..client("both", "tokenize")
                },
                ClientConfig { user: Some("billing".into()), ..client("user", "rehydrate") },
                ClientConfig { uid: Some(1_001), unit: Some("web.service".into()), ..client("unit", "lookup") },
                ClientConfig { gid: Some(2_000), ..client("group", "forget") },
            ],
            unlisted: None,
            ..AccessConfig::default()
        };
        let clients = resolve(&config).unwrap();
        assert_eq!(name(&clients, &Peer::for_tests(1_000, 1, &[2_000])), "both");
        assert_eq!(name(&clients, &Peer::for_tests(1_000, 2_000, &[])), "both");
        assert_eq!(name(&clients, &Peer::for_tests(1_000, 1, &[])), "user");
        assert_eq!(name(&clients, &Peer::for_tests(1_001, 1, &[]).in_unit("web.service")), "unit");
        assert_eq!(name(&clients, &Peer::for_tests(1_001, 1, &[])), UNLISTED_NAME);
        assert_eq!(name(&clients, &Peer::for_tests(1_001, 2_000, &[])), "group");
        for uid in [0, 100, 7] {
            assert_eq!(
                name(&clients, &Peer::for_tests(uid, 500, &[])),
                UNLISTED_NAME,
                "with clients, nobody is unrestricted"
            );
        }
    }

    #[test]
    fn unlisted_scopes_apply_to_all_other_callers() {
        let unlisted = Some(ScopeSet::parse(&["tokenize"]).unwrap());
        let clients = resolve(&AccessConfig { unlisted, ..AccessConfig::default() }).unwrap();
        for uid in [0, 100, 7] {
            let principal = clients.principal(&Peer::for_tests(uid, uid, &[]));
            assert!(principal.grant.scopes.allows(Scope::Tokenize) && !principal.grant.scopes.allows(Scope::Rehydrate));
        }
    }

    #[test]
    fn reports_every_name_that_does_not_exist() {
        let mut limited = ClientConfig { user: Some("nobody-here".into()), ..client("one", "*") };
        limited.grant.policies = Some(["a", "b"].map(str::to_owned).into());
        let config = AccessConfig {
            clients: vec![
                limited,
                ClientConfig { user: Some("broken".into()), group: Some("nobody-here".into()), ..client("two", "*") },
            ],
            ..AccessConfig::default()
        };
        let problems = resolve(&config).unwrap_err();
        assert_eq!(
            problems,
            [
                "masker.toml:1: the client `one` names the user `nobody-here`, which does not exist on this host",
                "masker.toml:1: the client `one` names the policy `b`, which is not loaded",
                "masker.toml:1: the client `two` names the user `broken`, but the lookup failed: no response",
                "masker.toml:1: the client `two` names the group `nobody-here`, which does not exist on this host"
            ]
        );
    }
}
