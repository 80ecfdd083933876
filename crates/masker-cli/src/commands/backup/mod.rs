//! `masker backup`.

mod create;
mod directory;
mod manifest;
mod placement;
mod restore;
mod retention;
mod verify;

use std::path::Path;

use crate::{
    args::BackupCommand,
    context::{CommandContext, CommandError},
    exit::Exit,
    format::io_error,
};

/// The export, in the directory of a backup.
const EXPORT: &str = "vault.export";
/// The configuration file.
const CONFIG: &str = "masker.toml";
/// The directory of the policies.
const POLICIES: &str = "policies";
/// The directory of the audit log.
const AUDIT: &str = "audit";

/// Runs a command of the group.
pub(super) async fn run(command: BackupCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        BackupCommand::Create(args) => create::run(&args, ctx).await,
        BackupCommand::Verify { directory } => verify::run(&directory, ctx),
        BackupCommand::Restore(args) => restore::run(&args, ctx),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Other(format!("failed to {what} {}: {}", path.display(), io_error(error)))
}
