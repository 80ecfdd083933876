//! `masker audit`.

mod events;
mod verify;

use crate::{
    args::AuditCommand,
    context::{CommandContext, CommandError},
    exit::Exit,
};

/// Runs a command of the group.
pub(super) async fn run(command: AuditCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        AuditCommand::Verify(args) => verify::verify(&args, ctx).await,
        AuditCommand::Show(args) => events::show(&args, ctx).await,
        AuditCommand::Tail(args) => events::tail(&args, ctx).await,
    }
}
