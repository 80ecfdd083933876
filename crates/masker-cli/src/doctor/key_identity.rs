//! Keys: whether each file has the key that it is named after, by the fingerprints that a daemon or the audit log knows.
//!
//! A key that is missing, swapped or overwritten is valid in every other respect, so that only a comparison finds it.

use std::{collections::BTreeSet, path::Path};

use super::{
    daemon,
    finding::Finding,
    finding_id::FindingId,
    keys::{KeyFacts, variable},
};
use crate::key_files::{fingerprint_of, quoted};
use masker_api::KeyList;
use masker_audit::RecordedKey;
use masker_core::{crypto::SecretKey, keyring::Role};
use masker_types::kind::Kid;

const CHECK: &str = "keys.identity";

/// Who knows which keys are the right ones.
pub(super) enum KeyWitness<'a> {
    /// The running daemon, with what makes it load changed keys.
    Daemon(&'a KeyList),
    /// The audit log: the keys of starts and reloads.
    Log(&'a [RecordedKey]),
    /// Nobody, because there is no vault yet.
    NoVault,
    /// Nobody, for this reason.
    Nobody(&'static str),
}

/// A key that is known.
struct KnownKey {
    kid: Kid,
    fingerprint: String,
    role: Role,
    /// Whether a running daemon has it, or the last one had it.
    loaded: bool,
    records: u64,
    index_rows: u64,
    /// Its place in the order in which the keys were seen first.
    order: usize,
}

impl KnownKey {
    /// Returns whether a key rather belongs here than to another key id, which also had it for a while: daemons may have served with
    /// keys that were swapped.
    fn is_rather(&self, other: &KnownKey) -> bool {
        (self.needs(), other.order) > (other.needs(), self.order)
    }

    /// Returns how much of the vault needs it.
    fn needs(&self) -> u64 {
        self.records + self.index_rows
    }

    /// Returns what needs it, for the end of a sentence.
    fn needed_by(&self) -> String {
        match (self.records, self.index_rows) {
            (0, 0) => String::new(),
            (records, index_rows) => format!("; {}", daemon::needed_by(records, index_rows)),
        }
    }
}

impl KeyWitness<'_> {
    fn known(&self) -> Vec<KnownKey> {
        match self {
            KeyWitness::Daemon(list) => {
                let mut keys: Vec<_> = list.keys.iter().collect();
                keys.sort_by_key(|key| &key.first_seen);
                let known = keys.into_iter().enumerate().filter_map(|(order, key)| {
                    let role = if key.generation == Role::Active.as_str() { Role::Active } else { Role::Old };
                    let (kid, fingerprint) = (Kid::parse(&key.kid)?, key.fingerprint.clone());
                    let (records, index_rows) = (key.vault_records, key.vault_index_rows);
                    Some(KnownKey { kid, fingerprint, role, loaded: key.loaded, records, index_rows, order })
                });
                known.collect()
            }
            KeyWitness::Log(keys) => {
                let known = keys.iter().enumerate().map(|(order, key)| KnownKey {
                    kid: key.kid,
                    fingerprint: key.fingerprint.to_string(),
                    role: key.role,
                    loaded: key.is_loaded,
                    records: key.records,
                    index_rows: 0,
                    order,
                });
                known.collect()
            }
            KeyWitness::NoVault | KeyWitness::Nobody(_) => Vec::new(),
        }
    }

    /// Returns what loads changed keys of a key id.
    fn apply(&self, kid: Kid) -> Option<&str> {
        let KeyWitness::Daemon(list) = self else { return None };
        list.advice.iter().find(|advice| advice.kid == kid.as_str()).map(|advice| &*advice.apply)
    }

    fn name(&self) -> &'static str {
        match self {
            KeyWitness::Daemon(_) => "the running daemon",
            KeyWitness::Log(_) | KeyWitness::NoVault | KeyWitness::Nobody(_) => "the audit log",
        }
    }
}

/// `keys.identity`: each file has the key that the vault was served with. `of_log` is the variable that has the key of the audit
/// log, if another one than its own has it: `audit.chain` says what to do then.
pub(super) fn judge(keys: &KeyFacts, witness: &KeyWitness<'_>, of_log: Option<&str>) -> Vec<Finding> {
    // `keys.read` reports what this user does not see.
    let is_seen = keys.has_place && keys.all_known() && keys.unreadable.is_empty();
    if keys.credentials.keys.is_empty() && !is_seen {
        return Vec::new();
    }
    if let KeyWitness::Nobody(why) = witness {
        let remedy = "start the daemon, or provide the key of the audit log, and run doctor again; `masker recover` names keys that a \
                      start refuses";
        return vec![Finding::not_checked(
            CHECK,
            format!("the keys were not compared with those of the vault: {why}"),
            remedy,
        )];
    }
    if let KeyWitness::NoVault = witness {
        return vec![Finding::ok(CHECK, "there is no vault and no audit log yet to compare the keys with")];
    }
    let comparison = KeyComparison { keys, witness, known: witness.known(), of_log };
    let kids: BTreeSet<Kid> =
        comparison.known.iter().map(|key| key.kid).chain(keys.credentials.keys.iter().map(|key| key.kid)).collect();
    let findings: Vec<Finding> = kids.into_iter().flat_map(|kid| comparison.judge(kid)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let count = keys.credentials.keys.len();
    vec![Finding::ok(CHECK, format!("the {count} keys are those that {} knows", witness.name()))]
}

struct KeyComparison<'a> {
    keys: &'a KeyFacts,
    witness: &'a KeyWitness<'a>,
    known: Vec<KnownKey>,
    of_log: Option<&'a str>,
}

impl KeyComparison<'_> {
    fn provided(&self, kid: Kid, role: Role) -> Option<&SecretKey> {
        self.keys.credentials.keys.iter().find(|key| (key.kid, key.role) == (kid, role)).map(|key| &key.key)
    }

    /// Returns a known key of this key id.
    fn find(&self, kid: Kid, role: Role) -> Option<&KnownKey> {
        self.known.iter().find(|known| known.kid == kid && known.role == role && known.loaded)
    }

    /// Returns what is known of a key under a key id.
    fn known_as(&self, kid: Kid, key: &SecretKey) -> Option<&KnownKey> {
        let fingerprint = fingerprint_of(kid, key);
        self.known.iter().find(|known| known.kid == kid && known.fingerprint == fingerprint)
    }

    /// Returns another key id to which a key rather belongs.
    fn other_kid(&self, kid: Kid, key: &SecretKey) -> Option<&KnownKey> {
        let own = self.known_as(kid, key);
        let kids: BTreeSet<Kid> = self.known.iter().map(|known| known.kid).filter(|other| *other != kid).collect();
        let others = kids.into_iter().filter_map(|other| self.known_as(other, key));
        others.filter(|other| own.is_none_or(|own| other.is_rather(own))).max_by_key(|other| other.needs())
    }

    fn judge(&self, kid: Kid) -> Vec<Finding> {
        let fingerprint = |key: Option<&SecretKey>| key.map(|key| fingerprint_of(kid, key));
        let (active, old) = (self.provided(kid, Role::Active), self.provided(kid, Role::Old));
        let mut findings = Vec::new();
        let mut is_swapped = false;
        for (role, key) in [(Role::Active, active), (Role::Old, old)] {
            if let Some(other) = key.and_then(|key| self.other_kid(kid, key)) {
                is_swapped = true;
                findings.extend(self.of_another_kid(kid, role, other));
            }
            is_swapped |= self.of_log == Some(&*variable(kid, role));
        }
        if is_swapped {
            return findings;
        }
        let (active, old) = (fingerprint(active), fingerprint(old));
        match (active, self.find(kid, Role::Active)) {
            (None, Some(known)) => self.absent(kid, Role::Active, known).into_iter().collect(),
            (Some(active), Some(known)) if active == known.fingerprint => {
                let needed = self.find(kid, Role::Old).filter(|known| known.needs() > 0 && self.is_running());
                let lost = needed.filter(|known| old.as_ref() != Some(&known.fingerprint));
                lost.and_then(|known| self.absent(kid, Role::Old, known)).into_iter().collect()
            }
            (Some(active), Some(known)) => {
                vec![self.differs(kid, &active, old.as_deref(), known)].into_iter().flatten().collect()
            }
            (Some(active), None) => self.not_loaded(kid, &active).into_iter().collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Returns whether a key that was loaded for a key id is provided for another one, to which it rather belongs.
    fn was_swapped(&self, kid: Kid, loaded: &KnownKey) -> bool {
        self.keys.credentials.keys.iter().filter(|provided| provided.kid != kid).any(|provided| {
            let is_loaded = fingerprint_of(kid, &provided.key) == loaded.fingerprint;
            is_loaded && self.known_as(provided.kid, &provided.key).is_some_and(|own| own.is_rather(loaded))
        })
    }

    fn is_running(&self) -> bool {
        matches!(self.witness, KeyWitness::Daemon(_))
    }

    /// A key that is known is not provided.
    fn absent(&self, kid: Kid, role: Role, known: &KnownKey) -> Option<Finding> {
        let name = variable(kid, role);
        // What cannot be read may be there, and another check reports a file that is missing or invalid.
        let reported = self.keys.credentials.problems.iter().any(|problem| problem.source.contains(&name));
        if self.keys.unreadable.contains(&name) || !self.keys.all_known() || reported {
            return None;
        }
        let (who, fingerprint, needed_by) = (self.witness.name(), &known.fingerprint, known.needed_by());
        let put_back = format!("put the key {fingerprint} back from its copy, and nothing else in its place");
        let (found, remedy) = match self.is_running() {
            true => (
                format!("{name} is in no file, and {who} has its key {fingerprint} in its memory only{needed_by}"),
                format!("do not stop or restart the daemon, which loses this key; {put_back}"),
            ),
            false => (format!("{name} is not provided, and {who} knows its key {fingerprint}{needed_by}"), put_back),
        };
        // A key id whose records were all moved can end.
        Some(match known.needs() {
            0 => Finding::warning(CHECK, FindingId::KeyMissing, found, remedy),
            _ => Finding::error(CHECK, FindingId::KeyMissing, found, remedy),
        })
    }

    /// The active key is another one than is known.
    fn differs(&self, kid: Kid, active: &str, old: Option<&str>, known: &KnownKey) -> Option<Finding> {
        let (name, old_name) = (variable(kid, Role::Active), variable(kid, Role::Old));
        if self.was_swapped(kid, known) {
            return self.not_loaded(kid, active);
        }
        let current = &known.fingerprint;
        let replaced = self.known.iter().any(|known| known.kid == kid && known.fingerprint == active);
        Some(match (old == Some(current.as_str()), replaced) {
            // A rotation has begun, and the daemon reads it at the next start or reload.
            (true, false) => return self.not_loaded(kid, active),
            (true, true) => {
                let found = format!(
                    "{name} and {old_name} are swapped: {} has {current} as the active key, and {active} as one that it replaced",
                    self.witness.name()
                );
                let remedy = self.exchange((kid, Role::Active), (kid, Role::Old));
                Finding::error(CHECK, FindingId::KeysSwapped, found, remedy)
            }
            (false, true) => {
                let found = format!(
                    "{name} has the key {active}, which {} knows as one that {current} replaced, and {current} is in no file",
                    self.witness.name()
                );
                let remedy = format!(
                    "put the key {current} back from its copy as {name}; keep the file that is there now as {old_name}, and delete no key"
                );
                Finding::error(CHECK, FindingId::KeyReplaced, found, remedy)
            }
            (false, false) => {
                let found = format!(
                    "{name} has the key {active}, and {} knows {current}, which is in no file",
                    self.witness.name()
                );
                let remedy = format!(
                    "put the key {current} back from its copy; move the file that is there now aside before (`mv --no-clobber`), and delete \
                     no key"
                );
                Finding::error(CHECK, FindingId::KeyReplaced, found, remedy)
            }
        })
    }

    /// The daemon does not have the active key of the files.
    fn not_loaded(&self, kid: Kid, active: &str) -> Option<Finding> {
        if !self.is_running() {
            return None;
        }
        let found = format!("the daemon has not loaded the key {active}, which is {} now", variable(kid, Role::Active));
        let apply = self.witness.apply(kid).unwrap_or("restart the daemon");
        let remedy = format!("store a copy of the key away from this host, then {apply}");
        Some(Finding::warning(CHECK, FindingId::KeysNotLoaded, found, remedy))
    }

    /// A key of another key id is in the place of this one's. Two that are exchanged are one finding, because exchanging them twice
    /// would change nothing.
    fn of_another_kid(&self, kid: Kid, role: Role, other: &KnownKey) -> Option<Finding> {
        let (name, other_name) = (variable(kid, role), variable(other.kid, other.role));
        let found =
            format!("{name} has the key {}, which {} knows as {other_name}", other.fingerprint, self.witness.name());
        // Only if the other file has this one's key, exchanging the two puts both right.
        let has_ours = |role: &Role| {
            let theirs = self.provided(other.kid, *role);
            theirs.and_then(|key| self.other_kid(other.kid, key)).is_some_and(|known| known.kid == kid)
        };
        let remedy = match ([Role::Active, Role::Old].into_iter().find(has_ours), self.find(kid, role)) {
            (Some(_), _) if kid > other.kid => return None,
            (Some(theirs), _) => self.exchange((kid, role), (other.kid, theirs)),
            (None, Some(known)) => format!(
                "put the key {} of {name} back from its copy; if the file that is there now is the only one with the key of {other_name}, \
                 move it into that place before (`mv --no-clobber`), and delete no key",
                known.fingerprint
            ),
            (None, None) => {
                format!("compare the files with their copies: {name} needs a key of its own; delete no key")
            }
        };
        Some(Finding::error(CHECK, FindingId::KeysSwapped, found, remedy))
    }

    /// Returns how to exchange two keys.
    fn exchange(&self, one: (Kid, Role), two: (Kid, Role)) -> String {
        let files = (self.keys.file_of(one.0, one.1), self.keys.file_of(two.0, two.1));
        let command = match files {
            (Some(one), Some(two)) => exchange_files(one, two),
            _ => return "exchange the two keys; generate none and delete none".to_owned(),
        };
        match self.witness.apply(one.0) {
            Some(apply) => format!("{command}, then {apply}"),
            None => format!("{command}, then start the daemon"),
        }
    }
}

/// Returns a command that exchanges the names of two files and replaces none.
pub(super) fn exchange_files(one: &Path, two: &Path) -> String {
    let mut aside = one.as_os_str().to_owned();
    aside.push(".swap");
    let [aside, one, two] = [Path::new(&aside), one, two].map(quoted);
    format!(
        "exchange the two files, once: `mv --no-clobber {one} {aside} && mv --no-clobber {two} {one} && mv --no-clobber {aside} {two}`"
    )
}
