//! The roles of the configuration: which client certificate acts as which principal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Principal, usage::OwnUsage};
use masker_config::RoleConfig;
use masker_types::{
    certificate::{CertificateIdentity, PublicKeyDigest},
    grant::ROLE_NAME_PREFIX,
    limits::ROLE_CERTIFICATES_MAX,
};

/// The client certificate of a caller, as its gateway has verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    public_key: PublicKeyDigest,
    identities: Vec<CertificateIdentity>,
}

impl Certificate {
    /// Returns a certificate with these identities; `None` unless exactly one of them is a public key.
    pub fn new(identities: Vec<CertificateIdentity>) -> Option<Self> {
        let mut keys = identities.iter().filter_map(|identity| match identity {
            CertificateIdentity::PublicKey(digest) => Some(*digest),
            _ => None,
        });
        match (keys.next(), keys.next()) {
            (Some(public_key), None) => Some(Certificate { public_key, identities }),
            _ => None,
        }
    }

    /// Returns the digest of its public key, which tells it from all others.
    pub fn public_key(&self) -> PublicKeyDigest {
        self.public_key
    }
}

/// Why a certificate has no rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoleRejection {
    /// None of its identities is a member of a role.
    NoRole,
    /// Its identities are members of several roles.
    SeveralRoles,
}

/// The roles in force.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    /// The principals of each role's certificates.
    roles: Vec<OwnUsage<PublicKeyDigest>>,
    /// The position of the role that each identity is a member of.
    members: BTreeMap<CertificateIdentity, usize>,
}

impl Roles {
    /// Resolves the roles of the configuration. `policies` are those that will be in force.
    pub(super) fn resolve(config: &[RoleConfig], policies: &BTreeSet<&str>, problems: &mut Vec<String>) -> Self {
        let mut resolved = Roles { roles: Vec::new(), members: BTreeMap::new() };
        for (place, role) in config.iter().enumerate() {
            for name in role.grant.policies.iter().flatten().filter(|name| !policies.contains(name.as_str())) {
                let RoleConfig { place, name: role, .. } = role;
                problems.push(format!("{place}: the role `{role}` names the policy `{name}`, which is not loaded"));
            }
            let name = format!("{ROLE_NAME_PREFIX}{}", role.name);
            let principal = Principal::local(&name, role.grant.clone(), role.limits);
            resolved.roles.push(OwnUsage::new(principal, ROLE_CERTIFICATES_MAX));
            resolved.members.extend(role.members.iter().map(|member| (member.clone(), place)));
        }
        resolved
    }

    /// Returns the principal that a certificate acts as.
    ///
    /// # Errors
    /// [`RoleRejection`] unless its identities are members of one role.
    pub(super) fn find(&self, certificate: &Certificate) -> Result<Arc<Principal>, RoleRejection> {
        let mut places = certificate.identities.iter().filter_map(|identity| self.members.get(identity));
        let place = *places.next().ok_or(RoleRejection::NoRole)?;
        if places.any(|other| *other != place) {
            return Err(RoleRejection::SeveralRoles);
        }
        let role = self.roles.get(place).ok_or(RoleRejection::NoRole)?;
        Ok(role.of(certificate.public_key))
    }

    /// Returns these roles with the usage of those of the same names in `before`.
    pub(super) fn following(self, before: &Roles) -> Self {
        let inherit = |role: OwnUsage<PublicKeyDigest>| {
            let known = before.roles.iter().find(|known| known.shared().name == role.shared().name);
            match known {
                Some(known) => role.inheriting(known),
                None => role,
            }
        };
        Roles { roles: self.roles.into_iter().map(inherit).collect(), members: self.members }
    }

    /// Returns a principal of each role, which has its name, rights and limits.
    pub(super) fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.roles.iter().map(OwnUsage::shared)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Timestamps;
    use masker_types::grant::{Grant, Limit, Limits};

    fn identity(text: &str) -> CertificateIdentity {
        CertificateIdentity::parse(text).unwrap()
    }

    fn certificate(number: u8, names: &[&str]) -> Certificate {
        let key = identity(&format!("sha256:{}", format!("{number:02x}").repeat(32)));
        Certificate::new(names.iter().map(|name| identity(name)).chain([key]).collect()).unwrap()
    }

    fn roles() -> Roles {
        let key = format!("sha256:{}", "07".repeat(32));
        let limits = Limits::new([(Limit::RequestsPerHour, 5)]).unwrap();
        let ci = RoleConfig::for_tests("ci", Grant::none(), &["san:dns:ci.example", "san:dns:ci2.example"]);
        let config = [RoleConfig { limits, ..ci }, RoleConfig::for_tests("staff", Grant::none(), &[&key])];
        Roles::resolve(&config, &BTreeSet::new(), &mut Vec::new())
    }

    #[test]
    fn a_certificate_has_exactly_one_public_key() {
        let key = |digit: &str| identity(&format!("sha256:{}", digit.repeat(64)));
        assert!(Certificate::new(vec![identity("san:dns:a")]).is_none());
        assert!(Certificate::new(vec![key("1"), key("2")]).is_none());
        assert!(Certificate::new(vec![key("1"), key("1")]).is_none());
        assert!(Certificate::new(vec![key("1"), identity("san:dns:a")]).is_some());
    }

    #[test]
    fn the_identities_of_a_certificate_are_members_of_one_role() {
        let roles = roles();
        let found = |certificate: &Certificate| roles.find(certificate).map(|principal| principal.name.clone());
        assert_eq!(found(&certificate(1, &["san:dns:ci.example", "san:dns:x"])), Ok("role:ci".to_owned()));
        assert_eq!(found(&certificate(1, &["san:dns:ci.example", "san:dns:ci2.example"])), Ok("role:ci".to_owned()));
        assert_eq!(found(&certificate(7, &[])), Ok("role:staff".to_owned()));
        assert_eq!(found(&certificate(7, &["san:dns:ci.example"])), Err(RoleRejection::SeveralRoles));
        for names in [&[][..], &["san:dns:x"], &["san:uri:ci.example"], &["san:dns:a.ci.example"]] {
            assert_eq!(found(&certificate(1, names)), Err(RoleRejection::NoRole), "{names:?}");
        }
    }

    #[test]
    fn each_certificate_has_limits_of_its_own_and_keeps_its_usage() {
        let before = roles();
        let of = |roles: &Roles, number| roles.find(&certificate(number, &["san:dns:ci.example"])).unwrap();
        let now = Timestamps { monotonic: Duration::from_secs(1), unix: 1 };
        let use_up = |principal: &Principal| (0..5).all(|_| principal.limiter.admit(now, 0).is_ok());
        assert!(use_up(&of(&before, 1)));
        assert!(!use_up(&of(&before, 1)) && use_up(&of(&before, 2)));
        let after = roles().following(&before);
        assert!(!use_up(&of(&after, 1)) && use_up(&of(&after, 3)));
    }

    #[test]
    fn reports_policies_that_are_not_loaded() {
        let grant = Grant { policies: Some(["a", "b"].map(str::to_owned).into()), ..Grant::none() };
        let mut problems = Vec::new();
        Roles::resolve(&[RoleConfig::for_tests("ci", grant, &[])], &BTreeSet::from(["a"]), &mut problems);
        assert_eq!(problems, ["masker.toml:1: the role `ci` names the policy `b`, which is not loaded"]);
    }
}
