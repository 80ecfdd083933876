//! `masker vault`.

mod backup;
mod honeytokens;
mod maintenance;
mod purge;
mod rotation;

pub(super) use self::backup::{ExportDescription, ExportKey, download, missing_keys};
use super::values::{self, ValueOperation};
use crate::{
    args::VaultCommand,
    context::{CommandContext, CommandError},
    exit::Exit,
    lines::LineEnd,
};

/// Runs a command of the group.
pub(super) async fn run(command: VaultCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        VaultCommand::Stats => maintenance::stats(ctx).await,
        VaultCommand::Check => maintenance::check(ctx).await,
        VaultCommand::Compact => maintenance::compact(ctx).await,
        VaultCommand::NewControlKey => maintenance::new_control_key(ctx).await,
        VaultCommand::Migrate { to } => maintenance::migrate(to, ctx),
        VaultCommand::Forget(args) => {
            let end = LineEnd::of_values(args.null_separated);
            values::run(ValueOperation::Forget(&args), end, ctx).await
        }
        VaultCommand::Purge(args) => purge::run(&args, ctx).await,
        VaultCommand::Export(args) => backup::export(&args, ctx).await,
        VaultCommand::Import(args) => backup::import(&args, ctx).await,
        VaultCommand::Inspect { file } => backup::inspect(&file, ctx),
        VaultCommand::RotateKey(args) => rotation::rotate(&args, ctx).await,
        VaultCommand::Rotations => rotation::list(ctx).await,
        VaultCommand::CancelRotation { id } => rotation::cancel(&id, ctx).await,
        VaultCommand::PlantHoneytoken(args) => honeytokens::plant(&args, ctx).await,
        VaultCommand::Honeytokens => honeytokens::list(ctx).await,
        VaultCommand::RemoveHoneytoken { id } => honeytokens::remove(&id, ctx).await,
    }
}
