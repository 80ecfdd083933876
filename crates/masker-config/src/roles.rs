//! `[roles.<name>]`: what the holders of client certificates may do.

use std::{collections::BTreeMap, path::Path};

use super::clients::{contexts, limits, policies, scopes};
use masker_core::document::{Located, Section};
use masker_types::{
    certificate::CertificateIdentity,
    grant::{Grant, Limits, Scope},
    limits::ROLE_NAME_BYTES_MAX,
    quote::quoted,
};

/// The beginning of a member that is a certificate.
const CERTIFICATE: &str = "cert:";
/// The forms of members, for messages.
const FORMS: &str = "`cert:sha256:` and the SHA-256 of the public key as 64 digits from 0 to 9 and a to f, `cert:san:dns:NAME`, \
                     `cert:san:uri:URI` or `cert:san:email:ADDRESS`";

/// A role. Callers whose certificate a gateway asserts have the role that one of its identities is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleConfig {
    /// File and line, for messages.
    pub place: String,
    /// The name: `[a-z0-9][a-z0-9._-]{0,31}`.
    pub name: String,
    /// The identities of certificates that have it. None is a member of two roles.
    pub members: Vec<CertificateIdentity>,
    /// What it may do.
    pub grant: Grant,
    /// The limits of each certificate.
    pub limits: Limits,
}

#[cfg(any(test, feature = "testing"))]
impl RoleConfig {
    /// Returns a role without limits.
    pub fn for_tests(name: &str, grant: Grant, members: &[&str]) -> Self {
        let identity = |text: &&str| CertificateIdentity::parse(text).expect("an identity");
        RoleConfig {
            place: "masker.toml:1".to_owned(),
            name: name.to_owned(),
            members: members.iter().map(identity).collect(),
            grant,
            limits: Limits::none(),
        }
    }
}

/// Reads all roles, in the order of their names.
pub(super) fn read(root: &Section<'_>, file: &Path) -> Vec<RoleConfig> {
    let Some(sections) = root.section("roles") else { return Vec::new() };
    let mut members = BTreeMap::new();
    let mut roles = Vec::new();
    for (name, section) in sections.sections() {
        check_name(name, &section);
        roles.push(role(name, &section, file, &mut members));
        section.finish();
    }
    roles
}

fn check_name(name: &str, section: &Section<'_>) {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    let first = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    if !first || name.len() > ROLE_NAME_BYTES_MAX || !name.as_bytes().iter().all(allowed) {
        section.report(
            section.line(),
            format!(
                "the role {} has an invalid name: it must be a letter or digit, then at most {} of a-z, 0-9, `.`, `_` and `-`",
                quoted(name),
                ROLE_NAME_BYTES_MAX - 1
            ),
        );
    }
}

/// Reads a role. `known` are the members of all roles so far, with the names of their roles.
fn role(
    name: &str,
    section: &Section<'_>,
    file: &Path,
    known: &mut BTreeMap<CertificateIdentity, String>,
) -> RoleConfig {
    for (field, advice) in [
        ("scopes", "list what the role may do, such as `scopes = [\"reports:read\"]`"),
        ("members", "list the certificates that have the role, such as `members = [\"cert:san:dns:ci.example\"]`"),
    ] {
        if !section.has(field) {
            section.report_missing(field, advice);
        }
    }
    let mut members = Vec::new();
    for Located { value, line } in section.strings("members").unwrap_or_default() {
        let Some(identity) = value.strip_prefix(CERTIFICATE).and_then(|text| CertificateIdentity::parse(text).ok())
        else {
            section.report(line, format!("`members` cannot contain {}: write {FORMS}", quoted(value)));
            continue;
        };
        match known.insert(identity.clone(), name.to_owned()) {
            Some(other) if other == name => section.report(
                line,
                format!("`members` of the role {} has {} twice: remove one", quoted(name), quoted(value)),
            ),
            Some(other) => section.report(
                line,
                format!(
                    "{} is a member of the roles {} and {}: a certificate has one role, so remove it from one of them",
                    quoted(value),
                    quoted(&other),
                    quoted(name)
                ),
            ),
            None => members.push(identity),
        }
    }
    let grant = Grant {
        scopes: scopes(section, "scopes").unwrap_or_default(),
        policies: policies(section),
        contexts: contexts(section),
    };
    let limits = limits(section, "limits");
    if grant.scopes.allows(Scope::ApiKeysAdmin) && !limits.is_unlimited() {
        section.report(
            section.line(),
            format!(
                "the role {} has `api-keys:admin` and `limits`: the keys that its certificates create would share one set of \
                 limits; give those who create keys a role without limits",
                quoted(name)
            ),
        );
    }
    RoleConfig {
        place: format!("{}:{}", file.display(), section.line()),
        name: name.to_owned(),
        members,
        grant,
        limits,
    }
}
