//! `[[clients]]` and `[access]`: what callers may do. [`super::gateway`] and [`super::roles`] read the rest of it.

use std::{collections::BTreeSet, path::Path};

use super::{
    fields::name,
    gateway::{self, GatewayConfig},
    roles::{self, RoleConfig},
};
use masker_core::document::{Located, Section};
use masker_types::{
    grant::{ContextPattern, Grant, Limit, Limits, LimitsError, Scope, ScopeSet},
    limits::GUARANTEED_PERCENT_MAX,
    quote::quoted,
    share::Share,
};

/// The default number of active API keys of a workspace.
const API_KEYS_MAX_DEFAULT: u32 = 10;
/// The greatest number of active API keys of a workspace.
const API_KEYS_MAX_UPPER: u64 = 10_000;
/// The longest name of a client, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What callers may do, as configured. `masker-access` checks whether the users, groups and policies exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// `[[clients]]`, in the order of the file: the first that matches decides.
    pub clients: Vec<ClientConfig>,
    /// `[roles.<name>]`: what callers with a client certificate may do.
    pub roles: Vec<RoleConfig>,
    /// `[access] unlisted`: the scopes of callers that match no client; `None` if it is not set. See
    /// [`unlisted_scopes`](Self::unlisted_scopes).
    pub unlisted: Option<ScopeSet>,
    /// `[access] unlisted_limits`: the limits of each user whose processes match no client.
    pub unlisted_limits: Limits,
    /// `[access] api_keys_per_workspace`: how many active API keys a workspace can have.
    pub api_keys_per_workspace: u32,
}

impl Default for AccessConfig {
    fn default() -> Self {
        AccessConfig {
            clients: Vec::new(),
            roles: Vec::new(),
            unlisted: None,
            unlisted_limits: Limits::none(),
            api_keys_per_workspace: API_KEYS_MAX_DEFAULT,
        }
    }
}

impl AccessConfig {
    /// Returns the scopes of callers that match no client: those of `unlisted`; while no client is listed either, the
    /// operations that applications need; else none.
    pub fn unlisted_scopes(&self) -> ScopeSet {
        let default = || {
            let used = [
                Scope::Tokenize,
                Scope::Rehydrate,
                Scope::Lookup,
                Scope::Rewrap,
                Scope::TextMask,
                Scope::TextRestore,
                Scope::TextDetect,
            ];
            if self.clients.is_empty() { ScopeSet::of(&used) } else { ScopeSet::default() }
        };
        self.unlisted.clone().unwrap_or_else(default)
    }
}

/// One client. At least one of `user`, `uid`, `group`, `gid` and `unit` is given, and all that are given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// File and line, for messages.
    pub place: String,
    /// The name, which is unique: `[a-z0-9][a-z0-9._-]{0,63}`.
    pub name: String,
    /// The user, by name.
    pub user: Option<String>,
    /// The user, by number.
    pub uid: Option<u32>,
    /// The primary group or a supplementary group, by name.
    pub group: Option<String>,
    /// The same, by number.
    pub gid: Option<u32>,
    /// The unit of the system's service manager, such as `billing.service`.
    pub unit: Option<String>,
    /// What it may do. The scopes of a gateway are empty; its policies and contexts are those of its ceiling.
    pub grant: Grant,
    /// Whether it is a gateway, and how far it goes.
    pub gateway: Option<GatewayConfig>,
    /// Its limits.
    pub limits: Limits,
    /// Its share of connections and memory; `None` if it has the share of its user.
    pub share: Option<Share>,
}

#[cfg(any(test, feature = "testing"))]
impl ClientConfig {
    /// Returns a client with a grant only.
    pub fn for_tests(name: &str, grant: Grant) -> Self {
        ClientConfig {
            place: "masker.toml:1".to_owned(),
            name: name.to_owned(),
            user: None,
            uid: None,
            group: None,
            gid: None,
            unit: None,
            grant,
            gateway: None,
            limits: Limits::none(),
            share: None,
        }
    }
}

/// Reads both sections.
pub(super) fn read(root: &Section<'_>, file: &Path) -> AccessConfig {
    let mut access = AccessConfig::default();
    if let Some(section) = root.section("access") {
        access.unlisted = scopes(&section, "unlisted");
        access.unlisted_limits = limits(&section, "unlisted_limits");
        if let Some(keys) = section.integer("api_keys_per_workspace", 1..=API_KEYS_MAX_UPPER) {
            access.api_keys_per_workspace = u32::try_from(keys.value).unwrap_or(API_KEYS_MAX_DEFAULT);
        }
        if access.unlisted_scopes().allows(Scope::ApiKeysAdmin) && !access.unlisted_limits.is_unlimited() {
            section.report(
                section.line(),
                "`unlisted` has `api-keys:admin`, and `unlisted_limits` are set: the keys that such callers create would share one \
                 set of limits; list those who create keys as clients"
                    .to_owned(),
            );
        }
        section.finish();
    }
    let mut names = BTreeSet::new();
    let mut guaranteed = 0;
    for section in root.list("clients") {
        if let Some(client) = client(&section, file) {
            if !names.insert(client.name.clone()) {
                section.report(
                    section.line(),
                    format!("there are two clients `{}`: give each a different name", client.name),
                );
            }
            let own = client.share.map_or(0, |share| u64::from(share.guaranteed_percent));
            guaranteed += own;
            if own > 0 && guaranteed > GUARANTEED_PERCENT_MAX {
                section.report(
                    section.line(),
                    format!("the clients are guaranteed {guaranteed} percent together, and at most {GUARANTEED_PERCENT_MAX} are possible"),
                );
            }
            access.clients.push(client);
        }
        section.finish();
    }
    access.roles = roles::read(root, file);
    access
}

fn client(section: &Section<'_>, file: &Path) -> Option<ClientConfig> {
    let id = |name| section.integer(name, 0..=u64::from(u32::MAX - 1)).and_then(|id| u32::try_from(id.value).ok());
    let (user, uid) = (name(section, "user"), id("uid"));
    let (group, gid) = (name(section, "group"), id("gid"));
    let unit = unit(section);
    if !["user", "uid", "group", "gid", "unit"].iter().any(|field| section.has(field)) {
        let advice = "the client needs `user`, `uid`, `group`, `gid` or `unit`; set the scopes of all other callers in `[access] unlisted`";
        section.report(section.line(), advice);
    }
    if !section.has("scopes") {
        section.report_missing("scopes", "list what the client may do, such as `scopes = [\"tokenize\"]`");
    }
    let (limits, share) = (limits(section, "limits"), share(section));
    let (own, gateway) = gateway::read(section);
    let grant = Grant { scopes: own, policies: policies(section), contexts: contexts(section) };
    Some(ClientConfig {
        place: format!("{}:{}", file.display(), section.line()),
        name: client_name(section)?,
        user,
        uid,
        group,
        gid,
        unit,
        grant,
        gateway,
        limits,
        share,
    })
}

fn client_name(section: &Section<'_>) -> Option<String> {
    if !section.has("name") {
        section.report_missing("name", "give the client a name, which the audit log shows");
    }
    let Located { value, line } = section.string("name")?;
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    let first_is_valid = value.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    let problem = if value.len() > NAME_BYTES_MAX || !first_is_valid || !value.as_bytes().iter().all(allowed) {
        "must be a letter or digit, then at most 63 of a-z, 0-9, `.`, `_` and `-`"
    } else if [masker_types::grant::UNRESTRICTED_NAME, masker_types::grant::UNLISTED_NAME].contains(&value) {
        "is reserved for callers that match no client: choose another"
    } else {
        return Some(value.to_owned());
    };
    section.report(line, format!("`name` {problem}"));
    None
}

/// Reads a list of scopes.
pub(super) fn scopes(section: &Section<'_>, field: &'static str) -> Option<ScopeSet> {
    let texts = section.strings(field)?;
    let mut scopes = ScopeSet::default();
    for Located { value, line } in texts {
        if let Err(error) = scopes.add(value) {
            section.report(line, format!("`{field}`: {error}"));
        }
    }
    Some(scopes)
}

/// Reads the names of policies.
pub(super) fn policies(section: &Section<'_>) -> Option<BTreeSet<String>> {
    section.strings("policies").map(|names| names.iter().map(|name| name.value.to_owned()).collect())
}

/// Reads the patterns of contexts.
pub(super) fn contexts(section: &Section<'_>) -> Option<Vec<ContextPattern>> {
    let mut patterns = Vec::new();
    for Located { value, line } in section.strings("contexts")? {
        match ContextPattern::parse(value) {
            Some(pattern) => patterns.push(pattern),
            None => section.report(line, "`contexts` contains a context that is over 256 bytes long"),
        }
    }
    Some(patterns)
}

/// Reads the name of a unit. Without its suffix it would match other parts of the path of a control group.
fn unit(section: &Section<'_>) -> Option<String> {
    let Located { value, line } = section.string("unit")?;
    if [".service", ".scope"].iter().any(|suffix| value.len() > suffix.len() && value.ends_with(suffix)) {
        return Some(value.to_owned());
    }
    section.report(line, format!("`unit` cannot be {}: it must end in .service or .scope", quoted(value)));
    None
}

/// Reads `share`: a section `[clients.share]` of percentages.
fn share(section: &Section<'_>) -> Option<Share> {
    let section = section.section("share")?;
    let percent = |name, bounds| section.integer(name, bounds).and_then(|percent| u8::try_from(percent.value).ok());
    let share = Share {
        guaranteed_percent: percent("guaranteed_percent", 0..=GUARANTEED_PERCENT_MAX).unwrap_or_default(),
        max_percent: percent("max_percent", 1..=100).unwrap_or(100),
    };
    section.finish();
    if share.guaranteed_percent > share.max_percent {
        section.report(section.line(), "`guaranteed_percent` must not exceed `max_percent`");
    }
    Some(share)
}

/// Reads limits: the name of a preset, such as `limits = "standard"`, or a section such as `[clients.limits]` of numbers.
pub(super) fn limits(section: &Section<'_>, field: &'static str) -> Limits {
    if !section.is_section(field) {
        let presets = [("none", Limits::none()), ("standard", Limits::standard())];
        return section.choice(field, &presets).map_or(Limits::none(), |preset| preset.value);
    }
    let Some(section) = section.section(field) else { return Limits::none() };
    let number = |limit: &Limit| Some((*limit, section.integer(limit.as_str(), 1..=limit.greatest())?.value));
    let numbers: Vec<(Limit, u64)> = Limit::ALL.iter().filter_map(number).collect();
    section.finish();
    Limits::new(numbers).unwrap_or_else(|error: LimitsError| {
        section.report(section.line(), error.to_string());
        Limits::none()
    })
}
