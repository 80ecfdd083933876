//! The commands that ask a daemon, or that need none. One module for each command or group of commands.

mod api_keys;
mod audit;
mod backup;
mod bulk;
mod init;
mod keys;
mod policy;
mod recover;
mod report;
mod sessions;
mod status;
mod text;
mod values;
mod vault;

use self::values::ValueOperation;
use crate::{
    args::ClientCommand,
    completion,
    context::{CommandContext, CommandError},
    doctor,
    exit::Exit,
    lines::LineEnd,
    live,
};

/// Starts the daemon of the package, also after starts that failed so often that systemd makes no other.
const START_AFTER_FAILURES: &str = "systemctl reset-failed 'masker.*'; systemctl start masker.socket masker.service";

/// Runs a command.
pub(crate) async fn run(command: ClientCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        ClientCommand::Tokenize(args) if args.bulk.is_wanted() => bulk::tokenize(&args, ctx).await,
        ClientCommand::Rehydrate(args) if args.bulk.is_wanted() => bulk::rehydrate(&args, ctx).await,
        ClientCommand::Tokenize(args) => {
            let end = LineEnd::of_values(args.null_separated);
            values::run(ValueOperation::Tokenize(&args.into()), end, ctx).await
        }
        ClientCommand::Rehydrate(args) => {
            let end = LineEnd::of_values(args.null_separated);
            values::run(ValueOperation::Rehydrate(&args.tokens), end, ctx).await
        }
        ClientCommand::Lookup(args) => {
            let end = LineEnd::of_values(args.null_separated);
            values::run(ValueOperation::Lookup(&args), end, ctx).await
        }
        ClientCommand::Text(command) => text::run(command, ctx).await,
        ClientCommand::Init(args) => init::run(&args, ctx),
        ClientCommand::Recover(args) => recover::run(&args, ctx),
        ClientCommand::ApiKeys(command) => api_keys::run(command, ctx).await,
        ClientCommand::Keys(command) => keys::run(command, ctx).await,
        ClientCommand::Vault(command) => vault::run(command, ctx).await,
        ClientCommand::Backup(command) => backup::run(command, ctx).await,
        ClientCommand::Sessions(command) => sessions::run(command, ctx).await,
        ClientCommand::Audit(command) => audit::run(command, ctx).await,
        ClientCommand::Report(args) => report::run(&args, ctx).await,
        ClientCommand::Policy(command) => policy::run(command, ctx).await,
        ClientCommand::Health => status::health(ctx).await,
        ClientCommand::Whoami => status::whoami(ctx).await,
        ClientCommand::Status(args) => live::run(&args, ctx).await,
        ClientCommand::Doctor => doctor::command::run(ctx).await,
        ClientCommand::Completions { shell } => {
            ctx.output.bytes(&completion::script(shell).map_err(CommandError::Output)?)?;
            Ok(Exit::Done)
        }
    }
}
