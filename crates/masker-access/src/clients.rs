//! The clients of the configuration: which local process acts as which principal.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use nix::unistd::{Group, User};

use crate::{
    Certificate, Peer, Principal, ShareHolder,
    gateway::Gateway,
    roles::{RoleRejection, Roles},
    usage::OwnUsage,
};
use masker_config::{AccessConfig, ClientConfig};
use masker_types::{
    grant::{Grant, Limits, UNLISTED_NAME, UNRESTRICTED_NAME},
    limits::UNLISTED_USERS_MAX,
    share::Share,
};

/// The client rules in force. Every user, group and policy that they name existed when they were resolved.
#[derive(Clone, Debug)]
pub struct ClientRules {
    rules: Vec<ClientRule>,
    /// The principals of users that no client matches.
    unlisted: OwnUsage<u32>,
    roles: Roles,
    unrestricted: Option<Unrestricted>,
    /// Differs from that of the rules before them.
    version: u64,
}

/// The callers that may do everything unless a client names them. On the wire their name is `trusted`.
#[derive(Clone, Debug)]
struct Unrestricted {
    own_uid: u32,
    principal: Arc<Principal>,
}

/// One client. A process must match everything that it specifies.
#[derive(Clone, Debug)]
struct ClientRule {
    uids: Vec<u32>,
    gids: Vec<u32>,
    unit: Option<String>,
    principal: Arc<Principal>,
    /// What it is if it passes on the requests of others.
    gateway: Option<Arc<Gateway>>,
    share: Option<Share>,
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
        let mut rules: Vec<ClientRule> =
            config.clients.iter().map(|client| ClientRule::resolve(client, users, policies, &mut problems)).collect();
        // Otherwise a client that matches it too, such as one that is only a group, would give it rights and no ceiling.
        rules.sort_by_key(|rule| rule.gateway.is_none());
        let roles = Roles::resolve(&config.roles, policies, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let unlisted = Grant { scopes: config.unlisted_scopes(), ..Grant::none() };
        Ok(ClientRules {
            rules,
            unlisted: OwnUsage::new(
                Principal::local(UNLISTED_NAME, unlisted, config.unlisted_limits),
                UNLISTED_USERS_MAX,
            ),
            roles,
            unrestricted: None,
            version: 0,
        })
    }

    /// Allows everything to root and to the daemon's own user, unless a client names them.
    pub fn with_unrestricted(self, own_uid: u32) -> Self {
        let principal = Principal::local(UNRESTRICTED_NAME, Grant::all(), Limits::none());
        ClientRules { unrestricted: Some(Unrestricted { own_uid, principal }), ..self }
    }

    /// Returns these rules as those that follow `before`, with the usage of its clients of the same names.
    pub(super) fn following(mut self, before: &ClientRules) -> Self {
        self.version = before.version.wrapping_add(1);
        for rule in &mut self.rules {
            let known = before.rules.iter().find(|known| known.principal.name == rule.principal.name);
            if let Some(known) = known {
                rule.principal = Arc::new(rule.principal.inheriting_usage(&known.principal));
            }
        }
        self.unlisted = self.unlisted.inheriting(&before.unlisted);
        self.roles = self.roles.following(&before.roles);
        self
    }

    /// Returns which rules these are, of all that were in force.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the client or the role of this name, or the principal of callers that no client matches.
    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<Principal>> {
        self.all().find(|principal| principal.name == name)
    }

    /// Returns the principals of all clients and roles, and that of callers that no client matches.
    fn all(&self) -> impl Iterator<Item = &Arc<Principal>> {
        let clients = self.rules.iter().map(|rule| &rule.principal);
        clients.chain(self.roles.principals()).chain([self.unlisted.shared()])
    }

    /// Returns whether a user is root or the daemon's own.
    pub(super) fn is_owner(&self, uid: u32) -> bool {
        uid == 0 || self.unrestricted.as_ref().is_some_and(|rule| rule.own_uid == uid)
    }

    /// Returns who takes shares of connections and memory for a process, and which. Root and the daemon's own user have a
    /// reserve, and no other share.
    pub(super) fn share(&self, peer: &Peer) -> (ShareHolder, Share) {
        if self.is_owner(peer.uid()) {
            return (ShareHolder::Owner, Share::default());
        }
        let rule = self.rules.iter().find(|rule| rule.matches(peer));
        match rule.and_then(|rule| Some((rule, rule.share?))) {
            Some((rule, share)) => (ShareHolder::Client(rule.principal.name.clone()), share),
            None => (ShareHolder::User(peer.uid()), Share::default()),
        }
    }

    /// Returns what all clients are guaranteed together, in percent.
    pub(super) fn guaranteed_percent(&self) -> u64 {
        self.rules.iter().filter_map(|rule| rule.share).map(|share| u64::from(share.guaranteed_percent)).sum()
    }

    /// Returns the clients and roles by name, with the principal of callers that no client matches. Who may do everything is
    /// not among them.
    pub(super) fn principals(&self) -> HashMap<String, Arc<Principal>> {
        self.all().map(|principal| (principal.name.clone(), Arc::clone(principal))).collect()
    }

    /// Returns the principal that a process acts as, and whether it is a gateway. The first client that matches decides, and
    /// gateways come before all other clients. A client that is only a group names no user, so it takes nothing from those who may do everything. Root and the daemon's
    /// own user are never gateways.
    pub(super) fn identify(&self, peer: &Peer) -> (Arc<Principal>, Option<Arc<Gateway>>) {
        let is_owner = self.is_owner(peer.uid());
        let unrestricted = self.unrestricted.as_ref().filter(|rule| rule.matches(peer)).map(|rule| &rule.principal);
        let applies = |rule: &&ClientRule| {
            rule.matches(peer)
                && (unrestricted.is_none() || !rule.is_group_alone())
                && !(is_owner && rule.gateway.is_some())
        };
        match self.rules.iter().find(applies) {
            Some(rule) => (Arc::clone(&rule.principal), rule.gateway.clone()),
            None => (unrestricted.map_or_else(|| self.unlisted.of(peer.uid()), Arc::clone), None),
        }
    }

    /// Returns the principal that the holder of a certificate acts as.
    ///
    /// # Errors
    /// [`RoleRejection`] unless the certificate has one role.
    pub(super) fn role(&self, certificate: &Certificate) -> Result<Arc<Principal>, RoleRejection> {
        self.roles.find(certificate)
    }
}

impl Unrestricted {
    fn matches(&self, peer: &Peer) -> bool {
        peer.uid() == 0 || peer.uid() == self.own_uid
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
        let uids: Vec<u32> = [user, client.uid].into_iter().flatten().collect();
        if client.gateway.is_some() && uids.contains(&0) {
            problem("is a gateway and names root, who cannot be one: give the gateway a user of its own".to_owned());
        }
        let gateway = client.gateway.as_ref().map(|gateway| {
            let ceiling = Grant { scopes: gateway.ceiling.clone(), ..client.grant.clone() };
            Arc::new(Gateway { name: client.name.clone(), assertions: gateway.assertions.clone(), ceiling })
        });
        // The ceiling is that of its callers: it has no rights of its own.
        let grant = if gateway.is_some() { Grant::none() } else { client.grant.clone() };
        ClientRule {
            uids,
            gids: [group, client.gid].into_iter().flatten().collect(),
            unit: client.unit.clone(),
            principal: Principal::local(&client.name, grant, client.limits),
            gateway,
            share: client.share,
        }
    }

    fn is_group_alone(&self) -> bool {
        self.uids.is_empty() && self.unit.is_none()
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
    use masker_config::GatewayConfig;
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
        ClientRules::resolve(config, &Users, &BTreeSet::from(["a"])).map(|clients| clients.with_unrestricted(100))
    }

    fn name(clients: &ClientRules, peer: &Peer) -> String {
        clients.identify(peer).0.name.clone()
    }

    #[test]
    fn without_clients_root_and_the_owner_may_do_everything_and_others_use_values() {
        let clients = resolve(&AccessConfig::default()).unwrap();
        for (uid, gid) in [(0, 0), (0, 7), (100, 1)] {
            let principal = clients.identify(&Peer::for_tests(uid, gid, &[])).0;
            assert_eq!((principal.name.as_str(), &principal.grant), (UNRESTRICTED_NAME, &Grant::all()));
        }
        let texts = ["text:mask", "text:restore", "text:detect"];
        let scopes = ScopeSet::parse(&[&["tokenize", "rehydrate", "lookup", "rewrap"][..], &texts].concat()).unwrap();
        for gid in [7, 500] {
            let other = clients.identify(&Peer::for_tests(7, gid, &[0, 100, 500])).0;
            assert_eq!((other.name.as_str(), &other.grant.scopes), (UNLISTED_NAME, &scopes));
        }
    }

    #[test]
    fn only_a_client_that_names_them_limits_root_and_the_owner() {
        let config = AccessConfig {
            clients: vec![
                ClientConfig { gid: Some(500), ..client("group", "tokenize") },
                ClientConfig { unit: Some("backup.service".into()), ..client("unit", "vault:admin") },
                ClientConfig { uid: Some(100), gid: Some(9), ..client("owner", "keys:read") },
            ],
            ..AccessConfig::default()
        };
        let clients = resolve(&config).unwrap();
        for (peer, expected) in [
            (Peer::for_tests(0, 500, &[]), UNRESTRICTED_NAME),
            (Peer::for_tests(100, 500, &[]), UNRESTRICTED_NAME),
            (Peer::for_tests(7, 500, &[]), "group"),
            (Peer::for_tests(7, 7, &[]), UNLISTED_NAME),
            (Peer::for_tests(0, 500, &[]).in_unit("backup.service"), "unit"),
            (Peer::for_tests(100, 500, &[9]), "owner"),
        ] {
            assert_eq!(name(&clients, &peer), expected, "{peer:?}");
        }
        assert!(clients.identify(&Peer::for_tests(7, 7, &[])).0.grant.scopes.is_empty());
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
        for (uid, expected) in [(0, UNRESTRICTED_NAME), (100, UNRESTRICTED_NAME), (7, UNLISTED_NAME)] {
            assert_eq!(name(&clients, &Peer::for_tests(uid, 500, &[])), expected);
        }
    }

    #[test]
    fn unlisted_scopes_apply_to_all_other_callers() {
        let unlisted = Some(ScopeSet::parse(&["tokenize"]).unwrap());
        let clients = resolve(&AccessConfig { unlisted, ..AccessConfig::default() }).unwrap();
        let principal = clients.identify(&Peer::for_tests(7, 7, &[])).0;
        assert!(principal.grant.scopes.allows(Scope::Tokenize) && !principal.grant.scopes.allows(Scope::Rehydrate));
        assert_eq!(name(&clients, &Peer::for_tests(0, 0, &[])), UNRESTRICTED_NAME);
    }

    fn gateway(name: &str) -> ClientConfig {
        let gateway = GatewayConfig { assertions: BTreeSet::new(), ceiling: ScopeSet::all() };
        ClientConfig { gateway: Some(gateway), ..ClientConfig::for_tests(name, Grant::all()) }
    }

    #[test]
    fn no_other_client_takes_a_gateway_its_ceiling() {
        let staff = ClientConfig { gid: Some(50), ..ClientConfig::for_tests("staff", Grant::all()) };
        let config = AccessConfig {
            clients: vec![staff, ClientConfig { uid: Some(7), ..gateway("gateway") }],
            ..AccessConfig::default()
        };
        let clients = resolve(&config).unwrap();
        for (uid, expected) in [(7, ("gateway", true)), (8, ("staff", false))] {
            let (principal, gateway) = clients.identify(&Peer::for_tests(uid, 50, &[50]));
            assert_eq!((&*principal.name, gateway.is_some()), expected);
        }
    }

    #[test]
    fn a_gateway_has_no_rights_and_is_neither_root_nor_the_owner() {
        let config = AccessConfig {
            clients: vec![
                ClientConfig { unit: Some("gateway.service".into()), ..gateway("gateway") },
                ClientConfig { uid: Some(100), ..gateway("own") },
                ClientConfig { uid: Some(7), ..gateway("other") },
            ],
            ..AccessConfig::default()
        };
        let clients = resolve(&config).unwrap();
        for (uid, unit, expected) in [
            (0, Some("gateway.service"), (UNRESTRICTED_NAME, None)),
            (100, Some("gateway.service"), (UNRESTRICTED_NAME, None)),
            (100, None, (UNRESTRICTED_NAME, None)),
            (8, Some("gateway.service"), ("gateway", Some("gateway"))),
            (7, None, ("other", Some("other"))),
            (8, None, (UNLISTED_NAME, None)),
        ] {
            let peer = Peer::for_tests(uid, uid, &[]);
            let peer = unit.into_iter().fold(peer, Peer::in_unit);
            let (principal, gateway) = clients.identify(&peer);
            assert_eq!((&*principal.name, gateway.as_ref().map(|gateway| &*gateway.name)), expected, "{peer:?}");
            assert!(gateway.is_none() || principal.grant == Grant::none());
        }
        let root = ClientConfig { uid: Some(0), ..gateway("root") };
        let problems = resolve(&AccessConfig { clients: vec![root], ..AccessConfig::default() }).unwrap_err();
        assert_eq!(
            problems,
            [
                "masker.toml:1: the client `root` is a gateway and names root, who cannot be one: give the gateway a user of its own"
            ]
        );
    }

    #[test]
    fn an_answer_is_withheld_once_its_gateway_or_its_role_is_gone() {
        use crate::{Access, ApiKeys, AuthError, Certificate};
        use masker_config::RoleConfig;
        use masker_types::{certificate::CertificateIdentity, grant::GatewayAssertion};

        let role = |name: &str| RoleConfig::for_tests(name, Grant::none(), &["san:dns:ci.example"]);
        let rules = |assertions: &[GatewayAssertion], roles: Vec<RoleConfig>| {
            let gateway = GatewayConfig { assertions: assertions.iter().copied().collect(), ceiling: ScopeSet::all() };
            let client = ClientConfig {
                uid: Some(7),
                gateway: Some(gateway),
                ..ClientConfig::for_tests("gateway", Grant::none())
            };
            resolve(&AccessConfig { clients: vec![client], roles, ..AccessConfig::default() }).unwrap()
        };
        let certificate = || {
            let names = [format!("sha256:{}", "07".repeat(32)), "san:dns:ci.example".to_owned()];
            Certificate::new(names.iter().map(|name| CertificateIdentity::parse(name).unwrap()).collect()).unwrap()
        };
        let assertions = [GatewayAssertion::Certificate];
        let check_after = |next: ClientRules| {
            let access = Access::new(rules(&assertions, vec![role("ci")]), Arc::new(ApiKeys::default()));
            let local = access.local_caller(&Arc::new(Peer::for_tests(7, 7, &[])));
            let caller = access.authenticate_certificate(&local, certificate()).unwrap();
            assert!(access.check_may_be_answered(&caller).is_ok());
            access.replace_clients(next);
            access.check_may_be_answered(&caller)
        };
        assert!(check_after(rules(&assertions, vec![role("ci")])).is_ok());
        assert!(matches!(check_after(rules(&assertions, vec![])), Err(AuthError::NoRole)));
        assert!(matches!(check_after(rules(&assertions, vec![role("other")])), Err(AuthError::NoRole)));
        assert!(matches!(check_after(rules(&[], vec![role("ci")])), Err(AuthError::GatewayChanged)));
        assert!(matches!(check_after(resolve(&AccessConfig::default()).unwrap()), Err(AuthError::GatewayChanged)));
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
