//! Restores a backup while no daemon serves.

mod directory;
mod later_changes;

use std::{collections::BTreeSet, fs::File, future::Future, path::Path, sync::Arc, thread};

use jiff::Timestamp;
use nix::unistd::geteuid;

use super::{
    acceptance, audit::recorded_position, effective_user::FileOwner, engines::driver, inputs::Inputs, run::key_rules,
};
use directory::RestoreDirectory;
use later_changes::{LogFindings, Logs};
use masker_cli::{ExportContents, ExportReading, MissingKey, RestoreReport, RestoreSource, SuspendedApiKey};
use masker_config::{AcceptableState, AcceptedStates, Config, Credentials};
use masker_core::{
    crypto::Fingerprint,
    keyring::{Keyring, Role},
};
use masker_store::{
    Store,
    embedded::{EmbeddedStore, StoreOptions},
};
use masker_types::{kind::Kid, vault_position::VaultId};
use masker_vault::{
    ExportSummary, ImportRules, KeyRules, LaterChanges, LongReads, RestoreOutcome, SessionId, SuspendedKey, Vault,
    VaultImportError, VaultMetrics,
};

/// Reads the export of a backup to its end. Blocks.
pub fn read_export(path: &Path, credentials: Credentials) -> ExportReading {
    if credentials.keys.is_empty() {
        return ExportReading::KeysMissing("no key is provided".to_owned());
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return ExportReading::Wrong(format!("failed to read {}: {error}", path.display())),
    };
    let keyring = match Keyring::build(credentials.keys, 1) {
        Ok(keyring) => keyring,
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return ExportReading::KeysMissing(errors.join("; "));
        }
    };
    let read = on_own_runtime(async || Ok(masker_vault::read_export(file, &keyring).await));
    match read {
        Ok(Ok(summary)) => ExportReading::Sound(contents(summary)),
        Ok(Err(closed @ VaultImportError::Closed(_))) => ExportReading::KeysMissing(closed.to_string()),
        Ok(Err(wrong)) => ExportReading::Wrong(wrong.to_string()),
        Err(failed) => ExportReading::Wrong(failed),
    }
}

fn contents(summary: ExportSummary) -> ExportContents {
    let ExportSummary { records, api_keys, honeytokens, sessions, missing_keys } = summary;
    let missing = |((kid, fingerprint), records): ((Kid, Fingerprint), u64)| MissingKey {
        kid: kid.to_string(),
        fingerprint: fingerprint.to_string(),
        records,
    };
    ExportContents {
        records: records.records,
        damaged: records.damaged,
        tombstones: records.tombstones,
        api_keys,
        honeytokens,
        sessions,
        missing_keys: missing_keys.into_iter().map(missing).collect(),
    }
}

/// Restores a backup. Blocks.
///
/// # Errors
/// A message for the user. A restore that has begun can be repeated, and until then no daemon opens a vault in the directory.
pub fn restore(config: &Config, credentials: Credentials, source: &RestoreSource<'_>) -> Result<RestoreReport, String> {
    let inputs = Inputs::load(config, credentials).map_err(|refused| refused.problems.join("\n"))?;
    let export =
        File::open(source.export).map_err(|error| format!("failed to read {}: {error}", source.export.display()))?;
    let data_dir = &config.vault.data_dir;
    let owner = FileOwner::of([data_dir, &config.audit.path]).filter(|owner| owner.uid != 0);
    let directory = RestoreDirectory::open(data_dir, owner.or_else(|| FileOwner::of_service(source.service_uid)))?;
    let logs = Logs { own: &config.audit.path, copy: source.log, head: source.head, began_ms: source.began_ms };
    let LogFindings { changes, events, notes } = later_changes::read(&logs, inputs.audit_key.as_ref())?;
    let closed: Vec<_> = changes.closed.iter().copied().collect();

    let user = directory.become_owner()?;
    // Fails if a daemon writes the log.
    let recorded = recorded_position(&config.audit, inputs.audit_key.as_ref(), data_dir)
        .map_err(|refused| refused.problems.join("\n"))?;
    if recorded.is_some() && config.file.is_none() {
        return Err(
            "there is no configuration file, and so no place for what is accepted: `masker init` makes one".to_owned()
        );
    }
    directory.begin()?;
    let rules = ImportRules { skip_missing_keys: source.skip_missing_keys, ..ImportRules::default() };
    let export = RestoredExport { file: export, rules };
    let filled = fill(config, inputs, &directory, export, changes, &closed).and_then(|filled| {
        directory.put_in_place()?;
        Ok(filled)
    });
    let built = match filled {
        Ok(built) => built,
        Err(why) => {
            // Nothing of it is of use. If that fails, the next attempt begins with it.
            let _ = directory.abandon();
            return Err(why);
        }
    };
    drop(user);
    if let (Some(recorded), Some(file)) = (recorded, &config.file) {
        accept(file, acceptance::new_vault(recorded, built.vault_id, false))?;
    }
    directory.finish()?;
    Ok(report(built, events, notes, recorded.is_some()))
}

/// Builds the vault.
fn fill(
    config: &Config,
    inputs: Inputs,
    directory: &RestoreDirectory,
    export: RestoredExport,
    changes: LaterChanges,
    closed: &[SessionId],
) -> Result<FilledVault, String> {
    let rules = key_rules(config, &inputs, None);
    let building = directory.building();
    let options = StoreOptions {
        engine: driver(config.vault.engine, &building).map_err(|error| error.to_string())?,
        cache_bytes: config.vault.cache_bytes(),
        ..StoreOptions::default()
    };
    let vault = VaultOfBackup { path: &building, options, rules };
    on_own_runtime(async || vault.fill(inputs.keyring, export, changes, closed).await)
}

/// Accepts a state in `recover.toml`, which is beside the configuration.
fn accept(config: &Path, state: AcceptableState) -> Result<(), String> {
    let path = AcceptedStates::path(config);
    let mut accepted =
        AcceptedStates::read(config, geteuid().as_raw()).map_err(|error| format!("{} {error}", path.display()))?;
    accepted.add(state);
    accepted.write(config).map_err(|error| format!("{} was not written: {error}", path.display()))
}

fn report(built: FilledVault, events_since: Option<u64>, notes: Vec<String>, is_accepted: bool) -> RestoreReport {
    let FilledVault { vault_id, outcome, records, closed_since } = built;
    let suspended = |key: SuspendedKey| SuspendedApiKey {
        id: key.id.to_string(),
        name: key.name,
        prefix: key.prefix.as_str().to_owned(),
    };
    RestoreReport {
        vault_id: VaultId(vault_id).to_string(),
        records,
        erased_since: outcome.records.erased_since,
        damaged: outcome.records.damaged,
        key_missing: outcome.records.key_missing,
        left_out: outcome.records.merged.rows_failed,
        tombstones: outcome.records.merged.tombstones_added,
        api_keys: outcome.api_keys,
        revoked_since: outcome.revoked_since,
        suspended: outcome.suspended.into_iter().map(suspended).collect(),
        honeytokens: outcome.honeytokens,
        sessions: outcome.sessions,
        closed_since,
        events_since,
        is_accepted,
        notes,
    }
}

/// The export of a backup, and how it is restored.
struct RestoredExport {
    file: File,
    rules: ImportRules,
}

/// A vault that is being made of a backup.
struct VaultOfBackup<'n> {
    path: &'n Path,
    options: StoreOptions,
    rules: KeyRules,
}

/// A vault that was made of a backup.
struct FilledVault {
    vault_id: [u8; 16],
    outcome: RestoreOutcome,
    records: u64,
    closed_since: u64,
}

impl VaultOfBackup<'_> {
    async fn fill(
        &self,
        keyring: Keyring,
        export: RestoredExport,
        later: LaterChanges,
        closed: &[SessionId],
    ) -> Result<FilledVault, String> {
        let text = |error: &dyn ToString| error.to_string();
        let (vault, vault_id) = self.open(keyring).await?;
        let filled = vault.restore(export.file, export.rules, later).await;
        let loaded = vault.generations().into_iter().filter_map(|key| Some((key.kid, key.loaded?)));
        let all: BTreeSet<(_, Role)> = loaded.collect();
        let keyring = vault.next_keyring(Vec::new(), &all);
        vault.close().await.map_err(|error| text(&error))?;
        let outcome = filled.map_err(|error| text(&error))?;
        let keyring = keyring.map_err(|errors| text(&format!("{} keys are invalid", errors.len())))?;
        // It reads the control rows, and refuses an active key that another one had replaced.
        let (vault, _) = self.open(keyring).await?;
        let mut closed_since = 0;
        for id in closed {
            if vault.enter_session(*id).is_some() {
                vault.close_session(*id, &LongReads::default()).await.map_err(|error| text(&error))?;
                closed_since += 1;
            }
        }
        let stats = vault.stats().await.map_err(|error| text(&error))?;
        let problem = vault.control_problem();
        vault.close().await.map_err(|error| text(&error))?;
        match problem {
            Some(problem) => Err(problem),
            None => Ok(FilledVault { vault_id, outcome, records: stats.records, closed_since }),
        }
    }

    async fn open(&self, keyring: Keyring) -> Result<(Vault, [u8; 16]), String> {
        let store = EmbeddedStore::open(self.path, self.options).map_err(|error| error.to_string())?;
        let vault_id = store.vault_id();
        let store: Arc<dyn Store> = Arc::new(store);
        let metrics = Arc::new(VaultMetrics::new().map_err(|error| error.to_string())?);
        let vault = Vault::open(store, keyring, self.rules.clone(), metrics, Arc::new(Timestamp::now)).await;
        Ok((vault.map_err(|error| error.to_string())?, vault_id))
    }
}

/// Runs work on a runtime of its own, on another thread, because the caller may be within one.
fn on_own_runtime<T: Send, F: Future<Output = Result<T, String>>>(
    work: impl FnOnce() -> F + Send,
) -> Result<T, String> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(work())
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| {
        Err("an internal error, which is written above, ended the work on the backup: the vault was not changed. Please report it".to_owned())
    })
}
