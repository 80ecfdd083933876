//! The command line, and `masker doctor`.
//!
//! - [`args`] describes every command and argument, with its help.
//! - `commands` runs the commands that ask a daemon, `live` is the view of `masker status`, and [`doctor`] examines a host.
//! - [`run`] runs one command to its end and returns an exit code.
//!
//! The command line reaches a daemon as every client does, through its HTTP interface, and has no access to a vault.
//! Nothing that it prints, except results, contains a value, a token or a key. `masker serve` and `masker demo` are
//! parsed here and run by the root package. The root package and `xtask` may use this crate.

pub mod args;
mod closed_output;
mod commands;
mod completion;
mod context;
mod credential;
mod destination;
pub mod doctor;
mod endpoint;
mod exit;
mod file_kind;
mod format;
mod key_files;
mod lines;
mod live;
mod offline;
mod output;
mod progress;
mod read_ahead;
pub mod scrape;
mod signals;
mod times;
mod url;

use masker_config::HostEnvironment;
use tokio::runtime;

use self::{
    args::{ClientCommand, Global, RehydrateArgs, TokenizeArgs},
    context::{CommandContext, CommandError},
};
pub use self::{
    completion::complete_if_asked,
    credential::{CredentialError, authorization},
    exit::Exit,
    offline::{
        ExportContents, ExportReading, FindRefusals, Migrate, MigrationSizes, MissingKey, OfflineTools, ReadAuditHead,
        ReadExport, Refusal, Refusals, Restore, RestoreReport, RestoreSource, SuspendedApiKey,
    },
};

/// Runs a command to its end, writes its results or its error, and returns the exit code. Must not be called from within a
/// tokio runtime.
pub fn run(command: ClientCommand, global: &Global, host: HostEnvironment<'_>, offline: OfflineTools) -> Exit {
    let mut ctx = CommandContext::new(global, host, offline);
    // A command with one connection needs no second thread.
    let mut threads = match &command {
        ClientCommand::Tokenize(TokenizeArgs { bulk, .. }) | ClientCommand::Rehydrate(RehydrateArgs { bulk, .. })
            if bulk.is_wanted() =>
        {
            runtime::Builder::new_multi_thread()
        }
        _ => runtime::Builder::new_current_thread(),
    };
    let outcome = endpoint::check_place(&command, global, host.environment)
        .and_then(|()| threads.enable_all().build().map_err(CommandError::Runtime))
        .and_then(|runtime| runtime.block_on(commands::run(command, &mut ctx)));
    // Results that a failed command has produced are written too.
    let flushed = ctx.output.flush();
    match outcome.and_then(|exit| flushed.map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) if error.is_broken_pipe() => Exit::Done,
        Err(error) => {
            ctx.output.error(&format!("masker: {error}"));
            error.exit()
        }
    }
}
