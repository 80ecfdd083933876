//! `masker keys rotate` and `masker keys remove-old`: the key files of a rotation.
//!
//! A rotation makes `KID_OLD` of `KID`, then puts a new key into the place of `KID`. Between the two steps both files have the
//! same key. A daemon refuses that, and repeating the command completes it. No key is ever without a name.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use serde::Serialize;

use super::parse_kid;
use crate::{
    args::{RemoveOldArgs, RotateKeyFileArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    key_files::{self, ExistingKeyFile, KeyPaths, failed_to_write, fingerprint_of, quoted},
};
use masker_api::{KeyList, KeyStatus};
use masker_types::kind::Kid;

#[derive(Serialize)]
struct RotatedKey<'a> {
    kid: &'a str,
    active: &'a str,
    old: &'a str,
    next: Vec<String>,
}

#[derive(Serialize)]
struct RemovedKey<'a> {
    kid: &'a str,
    old: &'a str,
    removed: bool,
    next: Vec<String>,
}

/// What a running daemon says about the keys of a key id.
struct DaemonKeys {
    keys: Vec<KeyStatus>,
    /// What loads changed keys, such as "run `masker keys reload`".
    apply: String,
}

/// Runs `masker keys rotate`.
pub(super) async fn rotate(args: &RotateKeyFileArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let kid = parse_kid(&args.kid)?;
    let daemon = ask(kid, ctx).await;
    let _lock = lock(&args.dir)?;
    let paths = KeyPaths::find(&args.dir, kid)?;
    let (active, old) = (ExistingKeyFile::read(&paths.active)?, ExistingKeyFile::read(&paths.old)?);
    let Some(active) = active else {
        return Err(CommandError::Other(match old {
            Some(_) => paths.only_old_text(),
            None if kid.as_str().starts_with("AUDIT") => {
                "the key of the audit log is not rotated: the log cannot be verified or \
                                                          continued with another one"
                    .to_owned()
            }
            None => format!(
                "there is no key {kid} in {}{}. Put it back from its copy. If it never had one, `masker keys generate --kid {kid} \
                 --output {}` makes the first",
                args.dir.display(),
                others(&args.dir),
                quoted(&paths.active)
            ),
        }));
    };
    let active_fingerprint = fingerprint_of(kid, &active.key);
    match &old {
        // An earlier run was interrupted between its two steps.
        Some(old) if old.key.ct_eq(&active.key) => {}
        Some(old) => {
            let old_fingerprint = fingerprint_of(kid, &old.key);
            return Err(begun(kid, &paths, &active_fingerprint, &old_fingerprint, &daemon));
        }
        None => {
            match &daemon {
                Ok(daemon) => daemon.check_before(kid, &active_fingerprint, &args.dir)?,
                Err(reason) => ctx.output.note(&format!("not compared with the keys of the daemon: {reason}")),
            }
            key_files::create(&paths.old, &active.key, Some(active.owner))?;
        }
    }
    let new = key_files::generate()?;
    let fingerprint = fingerprint_of(kid, &new);
    key_files::prepare(&paths.active, &new, Some(active.owner))?
        .persist(true)
        .map_err(|error| failed_to_write(&paths.active, &error))?;
    // What an interrupted run has left, which was never in use.
    for path in [&paths.active, &paths.old] {
        masker_files::remove_unnamed(path).map_err(|error| failed_to_write(path, &error))?;
    }

    let next = vec![
        format!(
            "store a copy of {} where the copy of the previous key is, before anything else",
            paths.active.display()
        ),
        apply(&daemon),
        format!("masker vault rotate-key --new-kid {kid} --dry-run, then the same without --dry-run"),
        format!("when `masker keys status` says so: masker keys remove-old --dir {} --kid {kid}", quoted(&args.dir)),
    ];
    let rotated = RotatedKey { kid: kid.as_str(), active: &fingerprint, old: &active_fingerprint, next };
    if ctx.output.is_json() {
        ctx.output.json(&rotated)?;
        return Ok(Exit::Done);
    }
    let row = |generation: &str, fingerprint: &str, path: &Path| {
        [kid.as_str(), fingerprint, generation, &path.display().to_string()].map(str::to_owned).to_vec()
    };
    let rows = vec![row("active", &fingerprint, &paths.active), row("old", &active_fingerprint, &paths.old)];
    ctx.output.table(&["KID", "FINGERPRINT", "GENERATION", "FILE"], rows)?;
    ctx.output.flush()?;
    show_next(&rotated.next, ctx);
    Ok(Exit::Done)
}

/// Runs `masker keys remove-old`.
pub(super) async fn remove_old(args: &RemoveOldArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let kid = parse_kid(&args.kid)?;
    let daemon = ask(kid, ctx).await;
    let _lock = lock(&args.dir)?;
    let paths = KeyPaths::find(&args.dir, kid)?;
    let Some(old) = ExistingKeyFile::read(&paths.old)? else {
        return Err(CommandError::Other(format!("there is no {}: nothing is to be removed", paths.old.display())));
    };
    let file = paths.old.display();
    let fingerprint = fingerprint_of(kid, &old.key);
    if ExistingKeyFile::read(&paths.active)?.is_none() {
        return Err(CommandError::Other(paths.only_old_text()));
    }
    let daemon = daemon.map_err(|reason| {
        CommandError::Other(format!(
            "{file} stays: only the daemon knows whether its vault needs the key, and it does not say so. {reason}"
        ))
    })?;
    let refused = |why: String| Err(CommandError::Other(format!("{file} stays: {why}")));
    match daemon.keys.iter().find(|key| key.fingerprint == fingerprint) {
        None => {
            return refused(format!(
                "the daemon does not know its key {fingerprint}. Is it the daemon of this directory? If the file is new, let \
                 `masker doctor` compare the keys, and if it finds no error, {}",
                daemon.apply
            ));
        }
        Some(key) if is_active(key) => {
            return refused(format!(
                "its key {fingerprint} is the daemon's active key. If a rotation has just begun, {}",
                daemon.apply
            ));
        }
        Some(key) if !key.removable => {
            return refused(format!("{}. `masker keys status` says what to do next", key.reason));
        }
        Some(key) => ctx.output.note(&format!("{kid} {fingerprint}: {}", key.reason)),
    }
    if args.yes {
        fs::remove_file(&paths.old)
            .and_then(|()| masker_files::sync_directory(&args.dir))
            .map_err(|error| CommandError::Other(format!("failed to remove {file}: {error}")))?;
    }
    let next = match args.yes {
        true => vec![
            daemon.apply,
            "keep the copy of the key as long as there are backups from before the rotation, or `MSK1` tokens that were minted \
             under it"
                .to_owned(),
        ],
        false => vec![format!(
            "nothing was removed yet. If this key opens no `MSK1` token any more that is in use: masker keys remove-old --dir \
             {} --kid {kid} --yes",
            quoted(&args.dir)
        )],
    };
    let removed = RemovedKey { kid: kid.as_str(), old: &fingerprint, removed: args.yes, next };
    if ctx.output.is_json() {
        ctx.output.json(&removed)?;
        return Ok(Exit::Done);
    }
    ctx.output.line(&format!("{}\t{fingerprint}", if args.yes { "removed" } else { "removable" }))?;
    ctx.output.flush()?;
    show_next(&removed.next, ctx);
    Ok(Exit::Done)
}

/// Returns which active keys a directory has, as it continues a sentence about one that it lacks.
fn others(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let active = entries.filter_map(|entry| KeyPaths::of_active(&entry.path()));
    let kids: BTreeSet<Kid> = active.filter(|(kid, _)| !kid.as_str().ends_with("_OLD")).map(|(kid, _)| kid).collect();
    match kids.is_empty() {
        true => String::new(),
        false => format!(", which has {}", kids.iter().map(Kid::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// Returns the refusal to begin a rotation beside one that has begun.
fn begun(kid: Kid, paths: &KeyPaths, active: &str, old: &str, daemon: &Result<DaemonKeys, String>) -> CommandError {
    let find = |fingerprint: &str| match daemon {
        Ok(daemon) => daemon.keys.iter().find(|key| key.fingerprint == fingerprint && key.loaded),
        Err(_) => None,
    };
    let next = match (daemon, find(active), find(old)) {
        (Ok(_), Some(first), Some(second)) if !is_active(first) && is_active(second) => format!(
            "the daemon has {old} as the active key and {active} as the old one, so the two files are swapped: exchange their names, \
             with `mv --no-clobber` and a third name"
        ),
        (Err(reason), ..) => {
            format!("start the daemon, then run `masker keys status`, which says what to do next. {reason}")
        }
        (Ok(daemon), None, _) | (Ok(daemon), _, None) => match daemon.only_in_memory(&[active, old]) {
            Some(lost) => daemon.keep(kid, lost),
            None => format!("the daemon has not loaded these keys yet: {}", daemon.apply),
        },
        (Ok(_), Some(_), Some(key)) if key.removable => format!(
            "nothing in the vault needs the old key any more: masker keys remove-old --dir {} --kid {kid}",
            quoted(paths.old.parent().unwrap_or(Path::new(".")))
        ),
        (Ok(_), Some(_), Some(key)) => {
            format!("the old key is still needed, because {}: masker vault rotate-key --new-kid {kid}", key.reason)
        }
    };
    CommandError::Other(format!(
        "a rotation of {kid} has begun: {} has the active key {active}, and {} has the old key {old}. No key was changed. Next: {next}",
        paths.active.display(),
        paths.old.display()
    ))
}

impl DaemonKeys {
    /// Returns a key that the daemon has and that none of the files has. Its next restart loses it.
    fn only_in_memory(&self, files: &[&str]) -> Option<&KeyStatus> {
        let is_used = |key: &KeyStatus| is_active(key) || key.vault_records + key.vault_index_rows > 0;
        let loaded = self.keys.iter().filter(|key| key.loaded && is_used(key));
        let in_no_file = loaded.filter(|key| !files.contains(&&*key.fingerprint));
        in_no_file.max_by_key(|key| (is_active(key), key.vault_records))
    }

    /// Returns what to do about a key that may exist only in the daemon's memory.
    fn keep(&self, kid: Kid, key: &KeyStatus) -> String {
        format!(
            "the key {} is in no file there, and the daemon has it in its memory: do not restart the daemon. Put this key back from \
             its copy, as the old key {kid}_OLD if another key replaces it, or else as {kid}, and overwrite no file; `masker doctor` \
             shows which keys are where",
            key.fingerprint
        )
    }

    /// Checks that the daemon serves under this key, and that the vault needs no older one.
    fn check_before(&self, kid: Kid, active: &str, directory: &Path) -> Result<(), CommandError> {
        let refused = |why: String| Err(CommandError::Other(format!("no key was changed: {why}")));
        match self.keys.iter().find(|key| is_active(key)) {
            Some(key) if key.fingerprint == active => {}
            Some(key) => {
                return refused(format!(
                    "the active key {kid} of the daemon is {}, and the one in {} is {active}. {}. If another daemon reads this \
                     directory, name its socket with --socket",
                    key.fingerprint,
                    directory.display(),
                    self.keep(kid, key)
                ));
            }
            None => {
                return refused(format!(
                    "the daemon has no active key {kid}. If the file is new, {}. If another daemon reads this directory, name its \
                     socket with --socket",
                    self.apply
                ));
            }
        }
        let is_needed = |key: &&KeyStatus| key.fingerprint != active && key.vault_records + key.vault_index_rows > 0;
        match self.keys.iter().find(is_needed) {
            None => Ok(()),
            Some(key) => refused(format!(
                "the vault still needs the earlier key {} of {kid}: {}. A key id has at most one old key, so bring this to an end \
                 first; `masker keys status` says how",
                key.fingerprint, key.reason
            )),
        }
    }
}

/// Returns whether new tokens are minted under a key.
fn is_active(key: &KeyStatus) -> bool {
    key.loaded && key.generation == "active"
}

/// Asks the daemon about the keys of a key id. The error says why it does not answer.
async fn ask(kid: Kid, ctx: &mut CommandContext<'_>) -> Result<DaemonKeys, String> {
    let list: KeyList = match ctx.get("/api/v1/keys").await {
        Ok(reply) => reply.json().map_err(|error| error.to_string())?,
        Err(error) => return Err(error.to_string()),
    };
    let apply = list.advice.iter().find(|advice| advice.kid == kid.as_str()).map(|advice| advice.apply.clone());
    let keys = list.keys.into_iter().filter(|key| key.kid == kid.as_str()).collect();
    Ok(DaemonKeys { keys, apply: apply.unwrap_or_else(|| UNKNOWN.to_owned()) })
}

/// How changed keys are loaded, if no daemon says so.
const UNKNOWN: &str = "restart the daemon; under systemd: `systemctl restart masker.service`";

fn apply(daemon: &Result<DaemonKeys, String>) -> String {
    match daemon {
        Ok(daemon) => daemon.apply.clone(),
        Err(_) => UNKNOWN.to_owned(),
    }
}

fn show_next(steps: &[String], ctx: &CommandContext<'_>) {
    ctx.output.note("\nNext:");
    for (number, step) in steps.iter().enumerate() {
        ctx.output.note(&format!("  {}. {step}", number + 1));
    }
}

/// Locks a directory of keys, so that two runs do not replace each other's key. The lock ends with the file.
fn lock(directory: &Path) -> Result<File, CommandError> {
    let failed =
        |error: io::Error| CommandError::Other(format!("failed to use the directory {}: {error}", directory.display()));
    let file = File::open(directory).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CommandError::Other(format!(
            "another process is changing the keys in {}: wait until it ends",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
