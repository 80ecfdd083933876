//! The states that a start refuses or reports until an operator accepts them, as `recover.toml` describes them.
//!
//! Each is described so that it does not come back by itself: after an acceptance the vault is in a new epoch or has another
//! control key, and the audit log has another trusted time or a later break.

use std::{os::unix::fs::MetadataExt, path::Path};

use jiff::{SignedDuration, Timestamp};
use nix::unistd::geteuid;
use tracing::warn;

use masker_audit::LogCondition;
use masker_config::{AcceptableState, AcceptedKind, AcceptedStates, Config, NONE};
use masker_store::embedded::{CommitPosition, NewVault, StoreOpenError, vault_files, witnessed_position};
use masker_types::{
    limits::CLOCK_AHEAD_DAYS_MAX,
    vault_position::{VaultId, VaultPosition},
};
use masker_vault::{KeyRollback, LostControlKey};

/// Returns what the file beside the configuration accepts. A file that cannot be used accepts nothing.
pub(super) fn read(config: &Config) -> AcceptedStates {
    let Some(file) = &config.file else { return AcceptedStates::default() };
    AcceptedStates::read(file, geteuid().as_raw()).unwrap_or_else(|error| {
        warn!("{} {error}", AcceptedStates::path(file).display());
        AcceptedStates::default()
    })
}

/// Logs that a state is accepted.
fn note(state: &AcceptableState) {
    let fields: Vec<String> = state.fields().map(|(name, value)| format!("{name} {value}")).collect();
    warn!("recover.toml accepts this state: {}: {}", state.kind.as_str(), fields.join(", "));
}

/// Returns whether this state is accepted, and logs it.
pub(super) fn accepts(accepted: &AcceptedStates, state: &AcceptableState) -> bool {
    let found = accepted.accepts(state);
    if found {
        note(state);
    }
    found
}

fn or_none<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

fn position(epoch: u64, sequence: u64) -> String {
    format!("{epoch}.{sequence}")
}

fn of_vault(at: VaultPosition) -> String {
    position(at.epoch, at.sequence)
}

/// Returns the loss that the vault in a directory was not opened for, if it can be accepted. Blocks.
pub(super) fn loss(
    error: &StoreOpenError,
    data_dir: &Path,
    recorded: Option<VaultPosition>,
) -> Option<AcceptableState> {
    let (reason, lost) = error.loss()?;
    let witness = witnessed_position(data_dir);
    let vault = witness.map(|(id, _)| id).or(recorded.map(|recorded| recorded.vault_id));
    // Without a witness, the files themselves say which state it is. They are refused before anything opens them.
    let witness = match witness {
        Some((_, CommitPosition { epoch, sequence })) => position(epoch, sequence),
        None => format!("{NONE}; {}", files(data_dir)),
    };
    Some(AcceptableState::new(
        AcceptedKind::Loss,
        [
            or_none(vault, |id| VaultId(id).to_string()),
            reason.to_owned(),
            lost.map_or_else(|| "unknown".to_owned(), |lost| lost.to_string()),
            witness,
            or_none(recorded, of_vault),
        ],
    ))
}

/// Describes the files of a vault.
fn files(data_dir: &Path) -> String {
    let (mut count, mut bytes, mut newest) = (0_u64, 0_u64, 0_i128);
    for file in vault_files(data_dir).unwrap_or_default() {
        let Ok(metadata) = file.metadata() else { continue };
        count += 1;
        bytes += metadata.len();
        newest = newest.max(i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()));
    }
    let newest = Timestamp::from_nanosecond(newest).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{count} files of {bytes} bytes, the newest of {newest}")
}

/// Returns the state in which a vault takes the place of the recorded one. `create` is whether there is none yet.
pub(super) fn new_vault(recorded: VaultPosition, vault: [u8; 16], create: bool) -> AcceptableState {
    AcceptableState::new(
        AcceptedKind::NewVault,
        [
            VaultId(vault).to_string(),
            VaultId(recorded.vault_id).to_string(),
            of_vault(recorded),
            if create { "yes" } else { "no" }.to_owned(),
        ],
    )
}

/// Returns the vault that is accepted in the place of the recorded one; the latest of several.
pub(super) fn accepted_new_vault(accepted: &AcceptedStates, recorded: VaultPosition) -> Option<NewVault> {
    accepted.iter().rev().find_map(|state| {
        let VaultId(id) = VaultId::parse(state.field("vault")).filter(|_| state.kind == AcceptedKind::NewVault)?;
        let create = state.field("create") == "yes";
        (*state == new_vault(recorded, id, create)).then_some(NewVault { id, create })
    })
}

/// Returns the state in which no loaded key opens the control key of a vault.
pub(super) fn new_control_key(vault: VaultPosition, lost: &LostControlKey) -> AcceptableState {
    let holders: Vec<String> = lost.holders.iter().map(|(kid, fingerprint)| format!("{kid} {fingerprint}")).collect();
    let holders = if holders.is_empty() { NONE.to_owned() } else { holders.join(", ") };
    AcceptableState::new(AcceptedKind::NewControlKey, [VaultId(vault.vault_id).to_string(), of_vault(vault), holders])
}

/// Returns that a key is active again.
pub(super) fn key_rollback(vault: VaultPosition, rollback: &KeyRollback) -> AcceptableState {
    AcceptableState::new(
        AcceptedKind::KeyRollback,
        [
            VaultId(vault.vault_id).to_string(),
            rollback.kid.to_string(),
            rollback.active.to_string(),
            or_none(rollback.replaced_by, |by| by.to_string()),
            rollback.since.to_string(),
        ],
    )
}

/// Returns the state of a broken chain of the audit log, if it is broken.
pub(super) fn audit_break(log: &LogCondition) -> Option<AcceptableState> {
    let place = log.broken.as_ref()?;
    let vault = or_none(log.vault, |vault| VaultId(vault.vault_id).to_string());
    Some(AcceptableState::new(AcceptedKind::AuditBreak, [vault, place.segment.clone(), place.line.to_string()]))
}

/// Returns the state of a clock that is far past the audit log's last event, if it is.
pub(super) fn clock(log: &LogCondition, now: Timestamp) -> Option<AcceptableState> {
    let trusted = log.trusted_time.filter(|_| !log.trusts(now))?;
    let vault = or_none(log.vault, |vault| VaultId(vault.vault_id).to_string());
    Some(AcceptableState::new(AcceptedKind::Clock, [vault, trusted.to_string(), now.to_string()]))
}

/// Returns whether a clock that shows `now` is accepted: one that was accepted for this trusted time, and that has gone on for at
/// most as long as a clock may be ahead.
pub(super) fn accepts_clock(accepted: &AcceptedStates, log: &LogCondition, now: Timestamp) -> bool {
    let Some(found) = clock(log, now) else { return false };
    let found = accepted.iter().find(|state| {
        let is_same = |field| state.field(field) == found.field(field);
        let ahead = SignedDuration::from_hours(24 * CLOCK_AHEAD_DAYS_MAX);
        let is_near = |accepted: Timestamp| now.duration_since(accepted) <= ahead;
        state.kind == AcceptedKind::Clock
            && is_same("vault")
            && is_same("trusted_time")
            && state.field("clock").parse().is_ok_and(is_near)
    });
    found.inspect(|state| note(state)).is_some()
}
