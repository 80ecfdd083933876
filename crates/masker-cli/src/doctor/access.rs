//! Access: which callers have rights by default.

use nix::unistd::{Uid, User};

use super::{files::user_name, finding::Finding, finding_id::FindingId};
use masker_config::{AccessConfig, ClientConfig, GatewayConfig};
use masker_types::grant::ScopeSet;

/// `access.default` and `access.root`: what callers may do that no client names, and whether one names root or the daemon's user.
/// `access.gateway`: how far the credentials go that each gateway passes on.
pub(super) fn judge(access: &AccessConfig, daemon_uid: u32) -> Vec<Finding> {
    let mut findings = vec![unlisted(access), owners(access, daemon_uid)];
    let gateways = access.clients.iter().filter_map(|client| Some((client, client.gateway.as_ref()?)));
    findings.extend(gateways.map(|(client, gateway)| judge_gateway(client, gateway, daemon_uid)));
    findings
}

fn judge_gateway(client: &ClientConfig, gateway: &GatewayConfig, daemon_uid: u32) -> Finding {
    const CHECK: &str = "access.gateway";
    let ClientConfig { name, place, .. } = client;
    if let Some(owner) = [0, daemon_uid].into_iter().find(|uid| is_user(client, *uid)) {
        let found = format!(
            "the gateway `{name}` ({place}) is {}, and neither root nor the daemon's own user can be a gateway: requests through it \
             are refused or have all rights of that user",
            user_name(owner)
        );
        let remedy = "give the gateway a user of its own: name it in `user` and run the gateway as it";
        return Finding::error(CHECK, FindingId::GatewayIgnored, found, remedy);
    }
    let asserted: Vec<&str> = gateway.assertions.iter().map(|assertion| assertion.as_str()).collect();
    let asserts =
        if asserted.is_empty() { "asserts nothing".to_owned() } else { format!("asserts {}", asserted.join(", ")) };
    let opened = gateway.opened();
    if opened.is_empty() {
        let found = format!("the gateway `{name}` ({place}) {asserts}, and passes on no more than the default ceiling");
        return Finding::ok(CHECK, found);
    }
    let found = format!(
        "the gateway `{name}` ({place}) {asserts}, and its ceiling opens {}: with a credential that has them, these are possible from \
         beyond this host",
        opened.join(", ")
    );
    let remedy = "if that is not intended, remove them from `ceiling`, then `systemctl reload masker.service`";
    Finding::warning(CHECK, FindingId::GatewayOpened, found, remedy)
}

/// `access.root`: root and the daemon's own user can administer it.
fn owners(access: &AccessConfig, daemon_uid: u32) -> Finding {
    const CHECK: &str = "access.root";
    let clients = || access.clients.iter().filter(|client| client.gateway.is_none());
    let limits = |uid: u32| clients().find(|client| names(client, uid)).filter(|client| is_limited(client));
    let limited: Vec<(u32, &ClientConfig)> = if daemon_uid == 0 { vec![0] } else { vec![0, daemon_uid] }
        .into_iter()
        .filter_map(|uid| Some((uid, limits(uid)?)))
        .collect();
    let Some((_, first)) = limited.first() else {
        return Finding::ok(CHECK, "root and the daemon's own user may do everything");
    };
    let who = limited.iter().map(|(uid, _)| user_name(*uid)).collect::<Vec<_>>().join(" and ");
    let found = format!(
        "the client `{}` ({}) is {who}, who therefore may only do what it grants: {}",
        first.name,
        first.place,
        first.grant.scopes.to_texts().join(", ")
    );
    let remedy = "if that is not intended, give this client the scopes that are missing or another user, then `systemctl reload masker.service`, \
                  or send the daemon SIGHUP: root can do that in any case";
    Finding::warning(CHECK, FindingId::RootLimited, found, remedy)
}

/// Returns whether a client names a user, with any unit.
fn names(client: &ClientConfig, uid: u32) -> bool {
    is_user(client, uid) && client.unit.is_none() && client.group.is_none() && client.gid.is_none()
}

/// Returns whether a client can only be this user.
fn is_user(client: &ClientConfig, uid: u32) -> bool {
    let by_name = client.user.as_deref().map(|name| User::from_name(name).ok().flatten().map(|user| user.uid));
    client.uid == Some(uid) || by_name == Some(Some(Uid::from_raw(uid)))
}

/// Returns whether a client may do less than everything.
fn is_limited(client: &ClientConfig) -> bool {
    let grant = &client.grant;
    grant.scopes.to_texts() != ScopeSet::all().to_texts() || grant.policies.is_some() || grant.contexts.is_some()
}

fn unlisted(access: &AccessConfig) -> Finding {
    let scopes = access.unlisted_scopes().to_texts().join(", ");
    let others = match (&access.unlisted, access.clients.is_empty()) {
        (Some(_), _) if scopes.is_empty() => "others have no scope (`[access] unlisted`)".to_owned(),
        (Some(_), _) => format!("others have the scopes {scopes} (`[access] unlisted`)"),
        (None, true) => format!(
            "no client is listed, so everyone else who can connect has the scopes {scopes}: list clients in masker.toml to \
             limit them"
        ),
        (None, false) => "others who match no client have no scope".to_owned(),
    };
    Finding::ok("access.default", others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use masker_config::ClientConfig;
    use masker_types::grant::{GatewayAssertion, Grant, Limits, ScopeSet};

    #[test]
    fn a_client_that_limits_root_is_a_warning() {
        let mut client = ClientConfig::for_tests("ops", Grant::none());
        client.grant.scopes = ScopeSet::parse(&["tokenize"]).unwrap();
        let judged = |client: &ClientConfig, daemon_uid| {
            owners(&AccessConfig { clients: vec![client.clone()], ..AccessConfig::default() }, daemon_uid)
        };
        assert_eq!(judged(&client, 7).status, Severity::Ok);
        for (uid, user, daemon_uid, expected) in [
            (Some(0), None, 7, Severity::Warning),
            (None, Some("root"), 7, Severity::Warning),
            (Some(7), None, 7, Severity::Warning),
            (Some(7), None, 8, Severity::Ok),
        ] {
            let client = ClientConfig { uid, user: user.map(str::to_owned), ..client.clone() };
            assert_eq!(judged(&client, daemon_uid).status, expected, "{uid:?} {user:?}");
            let of_unit = ClientConfig { unit: Some("x.service".to_owned()), ..client.clone() };
            assert_eq!(judged(&of_unit, daemon_uid).status, Severity::Ok);
            let all = ClientConfig { grant: Grant::all(), ..client };
            assert_eq!(judged(&all, daemon_uid).status, Severity::Ok);
        }
    }

    #[test]
    fn says_which_default_holds() {
        let found = |scopes: Option<&[&str]>, clients: usize| {
            let client = ClientConfig {
                place: String::new(),
                name: "app".to_owned(),
                user: None,
                uid: Some(7),
                group: None,
                gid: None,
                unit: None,
                grant: Grant::none(),
                gateway: None,
                limits: Limits::none(),
                share: None,
            };
            let access = AccessConfig {
                unlisted: scopes.map(|texts| ScopeSet::parse(texts).unwrap()),
                clients: vec![client; clients],
                ..AccessConfig::default()
            };
            unlisted(&access).found
        };
        assert!(found(None, 0).contains("who can connect has the scopes tokenize, rehydrate, lookup, rewrap"));
        assert!(found(None, 1).ends_with("others who match no client have no scope"));
        assert!(found(Some(&["lookup"]), 0).contains("others have the scopes lookup ("));
        assert!(found(Some(&[]), 0).contains("others have no scope ("));
    }

    #[test]
    fn names_each_gateway_and_what_its_ceiling_opens() {
        let gateway = |scopes: &[&str]| GatewayConfig {
            assertions: [GatewayAssertion::Address, GatewayAssertion::Login].into(),
            ceiling: ScopeSet::parse(scopes).unwrap(),
        };
        let client = |uid, scopes: &[&str]| ClientConfig {
            uid: Some(uid),
            gateway: Some(gateway(scopes)),
            ..ClientConfig::for_tests("gateway", Grant::none())
        };
        let judged = |clients: Vec<ClientConfig>| {
            let findings = judge(&AccessConfig { clients, ..AccessConfig::default() }, 8);
            assert_eq!(findings[1].status, Severity::Ok, "a gateway takes nothing from root");
            findings.into_iter().skip(2).collect::<Vec<Finding>>()
        };
        assert!(judged(Vec::new()).is_empty());
        let found = judged(vec![
            client(7, &["tokenize", "reports:read"]),
            client(7, &["tokenize", "rehydrate:PHONE", "lookup"]),
        ]);
        assert_eq!(found.iter().map(|finding| finding.status).collect::<Vec<_>>(), [Severity::Ok, Severity::Warning]);
        assert!(
            found[0].found.contains("asserts gateway:login, gateway:address, and passes on no more"),
            "{}",
            found[0].found
        );
        assert!(found[1].found.contains("its ceiling opens lookup, rehydrate:PHONE:"), "{}", found[1].found);
        for uid in [0, 8] {
            let [finding] = judged(vec![client(uid, &[])]).try_into().ok().unwrap();
            assert_eq!((finding.status, finding.finding), (Severity::Error, Some(FindingId::GatewayIgnored)), "{uid}");
        }
    }
}
