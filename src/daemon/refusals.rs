//! What a start would refuse or report until an operator accepts it.
//!
//! The same steps as a start, as the same user, up to the point where a start would change something. Nothing is accepted, and
//! nothing is written. While a daemon serves, the steps that need its locks are replaced by those that need none.

use std::{fs::File, path::Path, sync::Arc, thread};

use jiff::Timestamp;

use super::{
    acceptance,
    audit::earlier_position,
    effective_user::{EffectiveUser, FileOwner},
    engines::driver,
    inputs::Inputs,
    run::{StoreOpening, key_rules, recorded_control, store_opening},
    second_database::explain,
};
use masker_audit::{AuditOpenError, LogCondition, TornTail};
use masker_cli::Refusals;
use masker_config::{AcceptableState, AcceptedStates, Config, Credentials};
use masker_core::{
    crypto::{ChainKey, SecretKey},
    keyring::Keyring,
};
use masker_store::{
    Store,
    embedded::{EmbeddedStore, StoreOpenError, StoreOptions, check_served, vault_exists},
};
use masker_vault::{KeyRefusals, KeyRules, VaultMetrics};

/// Memory for the store's cache.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Finds what a start with this configuration and these keys refuses or reports. Blocks.
pub fn find(config: &Config, credentials: Credentials, service_uid: Option<u32>) -> Refusals {
    let mut found = Refusals::default();
    let owner = FileOwner::of([&config.vault.data_dir, &config.audit.path]);
    // As the daemon: root can read what the daemon cannot. Only the keys were read before, which systemd reads as root.
    let user = EffectiveUser::take(FileOwner::of_service(service_uid).or(owner));
    let _user = match user {
        Ok(user) => user,
        Err(error) => {
            found.problem(error);
            return found;
        }
    };
    if let Some(problem) = config.file.as_deref().and_then(unreadable) {
        found.problem(problem);
    }
    match Inputs::load(config, credentials) {
        Ok(inputs) => examine(&mut found, config, &inputs),
        Err(refused) => found.problems.extend(refused.problems),
    }
    found
}

/// Returns what is wrong if the daemon's user cannot read its configuration.
fn unreadable(file: &Path) -> Option<String> {
    let error = File::open(file).err()?;
    Some(format!(
        "the daemon's user cannot read {}: {error}. It has no secret: `chmod a+r` for the file, and `chmod a+rx` for its directories, \
         which `namei --modes` shows",
        file.display()
    ))
}

fn examine(found: &mut Refusals, config: &Config, inputs: &Inputs) {
    if let Some(key) = &inputs.audit_key {
        match masker_audit::condition(&config.audit.path, key) {
            Ok(log) => examine_log(found, &log),
            Err(error) => found.problem(error.to_string()),
        }
        // A daemon has locked its log.
        if let Err(AuditOpenError::Locked { .. }) = masker_audit::recorded_position(&config.audit.path, key) {
            return examine_served(found, config);
        }
        match torn_line(&config.audit.path, key) {
            Ok(torn) => found.repairs.extend(torn),
            Err(error) => found.problem(error.to_string()),
        }
    }
    let options = match store_opening(config, inputs, &AcceptedStates::default()) {
        Ok(StoreOpening { options, .. }) => StoreOptions { cache_bytes: CACHE_BYTES, ..options },
        Err(refused) => return refused.problems.into_iter().for_each(|problem| found.problem(problem)),
    };
    let data_dir = &config.vault.data_dir;
    let missing = options.check_recorded_vault_exists(data_dir).err();
    if missing.is_none() && !vault_exists(data_dir) {
        return;
    }
    let opened = match missing {
        Some(missing) => Err(missing),
        None => EmbeddedStore::open(data_dir, options),
    };
    match opened {
        Ok(store) => {
            let recorded = recorded_control(&options, &store.position(), None);
            let rules = key_rules(config, inputs, recorded);
            // On another thread, because the caller may be within a runtime.
            let keys = thread::scope(|scope| scope.spawn(|| examine_keys(store, &inputs.keyring, &rules)).join());
            match keys.unwrap_or_else(|_| Err("failed to read the vault".to_owned())) {
                Ok(KeyFindings { refused, problems, missing }) => {
                    found.problems.extend(problems);
                    refused.into_iter().for_each(|(state, why)| found.refuse(state, why));
                    found.missing_keys = missing;
                }
                Err(error) => found.problem(error),
            }
        }
        Err(StoreOpenError::Locked { .. }) => examine_served(found, config),
        Err(error) => {
            let why = explain(&error, data_dir);
            let state = match (&error, options.recorded) {
                (StoreOpenError::VaultMissing { .. }, Some(recorded)) => {
                    Some(acceptance::new_vault(recorded, rand::random(), true))
                }
                (StoreOpenError::OtherVault { found: other, .. }, Some(recorded)) => {
                    examine_earlier_vault(found, config, inputs, options, other.0);
                    Some(acceptance::new_vault(recorded, other.0, false))
                }
                _ => acceptance::loss(&error, data_dir, options.recorded),
            };
            match state {
                Some(state) => found.refuse(state, why),
                None => found.problem(why),
            }
        }
    }
}

/// Finds what the next start would refuse of the files of a daemon that serves. Takes no lock.
fn examine_served(found: &mut Refusals, config: &Config) {
    found.is_serving = true;
    let data_dir = &config.vault.data_dir;
    if let Err(error) = masker_audit::check_directory(&config.audit.path) {
        found.problem(error.to_string());
    }
    let checked = driver(config.vault.engine, data_dir).and_then(|engine| check_served(data_dir, engine.kind()));
    if let Err(error) = checked {
        found.problem(explain(&error, data_dir));
    }
}

/// Finds whether a vault in the place of the recorded one is an older copy of one that the log had before.
fn examine_earlier_vault(
    found: &mut Refusals,
    config: &Config,
    inputs: &Inputs,
    options: StoreOptions,
    vault_id: [u8; 16],
) {
    let earlier = match earlier_position(&config.audit, inputs.audit_key.as_ref(), vault_id) {
        Ok(Some(earlier)) => Some(earlier),
        Ok(None) => return,
        Err(refused) => return refused.problems.into_iter().for_each(|problem| found.problem(problem)),
    };
    let data_dir = &config.vault.data_dir;
    if let Err(error) = EmbeddedStore::open(data_dir, StoreOptions { recorded: earlier, ..options })
        && let Some(state) = acceptance::loss(&error, data_dir, earlier)
    {
        found.refuse(state, error.to_string());
    }
}

/// Describes the last line of the log that a crash has cut, if there is one.
fn torn_line(log: &Path, key: &SecretKey) -> Result<Option<String>, AuditOpenError> {
    let key = ChainKey::new(key)?;
    // A log that cannot be read is a problem already.
    let torn = masker_audit::torn_tail(log, &key).ok().flatten();
    Ok(torn.map(|TornTail { segment, line, bytes }| {
        format!(
            "a crash has cut the last line of the audit log ({bytes} bytes of segment {segment}, line {line}). It was never complete: the \
             next start removes it and records that"
        )
    }))
}

fn examine_log(found: &mut Refusals, log: &LogCondition) {
    if let Some(state) = acceptance::audit_break(log) {
        let why = match state.field("segment") {
            "" => {
                "the audit log has begun anew, but the vault has noted an event of an earlier log. Where is that log?"
                    .to_owned()
            }
            segment => format!(
                "the chain of the audit log is broken: segment {segment}, line {}. `masker audit verify` says more",
                state.field("line")
            ),
        };
        found.refuse(state, why);
    }
    if let Some(state) = acceptance::clock(log, Timestamp::now()) {
        let why = format!(
            "the clock shows {}, far past the audit log's last event of {}: nothing is deleted by it",
            state.field("clock"),
            state.field("trusted_time")
        );
        found.refuse(state, why);
    }
}

/// What a start refuses of the keys.
struct KeyFindings {
    /// What an operator can accept, with the reasons.
    refused: Vec<(AcceptableState, String)>,
    /// What nobody can accept.
    problems: Vec<String>,
    /// Missing keys that do not stop a start.
    missing: Vec<String>,
}

/// Finds what a start refuses of the keys. Closes the store.
fn examine_keys(store: EmbeddedStore, keyring: &Keyring, rules: &KeyRules) -> Result<KeyFindings, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|failed| failed.to_string())?;
    let position = store.position();
    let store: Arc<dyn Store> = Arc::new(store);
    runtime.block_on(async {
        let metrics = Arc::new(VaultMetrics::new().map_err(|failed| failed.to_string())?);
        let found = KeyRefusals::find(Arc::clone(&store), keyring, rules, metrics).await;
        store.close().await.map_err(|failed| failed.to_string())?;
        let KeyRefusals { control_key, misplaced, rollbacks, missing_keys } =
            found.map_err(|failed| failed.to_string())?;
        let lost = control_key.map(|lost| (acceptance::new_control_key(position, &lost), lost.text));
        let rollbacks = rollbacks.into_iter().map(|rollback| {
            let state = acceptance::key_rollback(position, &rollback);
            (state, rollback.text)
        });
        let refused = lost.into_iter().chain(rollbacks).collect();
        Ok(KeyFindings { refused, problems: misplaced, missing: missing_keys })
    })
}
