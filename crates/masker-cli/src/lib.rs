//! The command line.
//!
//! It knows the daemon as every client does, by its HTTP interface, and no vault.

pub mod args;
mod api_keys;
mod audit;
mod backup;
mod bulk;
mod credential;
pub mod doctor;
mod audit_events;
mod exit;
mod help;
mod honeytokens;
mod input;
mod keys;
mod live;
mod output;
mod policy;
mod progress;
mod purge;
mod percent_encoding;
mod rotation;
pub mod scrape;
mod context;
mod sessions;
mod status;
mod values;
mod vault;

use clap::CommandFactory;
use tokio::runtime;

use self::{
    args::{
        ApiKeysCommand, Arguments, AuditCommand, ClientCommand, Global, KeysCommand, PolicyCommand, RehydrateArgs,
        SessionsCommand, TokenizeArgs, VaultCommand,
    },
    context::{CommandContext, CommandError},
    values::ValueOperation,
};
pub use self::{
    audit::ReadAuditHead,
    credential::{CredentialError, authorization},
    exit::Exit,
    vault::{Migrate, MigrationSizes},
};
use masker_config::HostEnvironment;

/// What is done to a vault itself while no daemon has it. The command line knows no vault: whoever starts it gives it
/// this.
#[derive(Clone, Copy)]
pub struct OfflineTools {
    /// Reads where the audit log stood.
    pub recorded_audit_head: ReadAuditHead,
    /// Moves the vault to another engine.
    pub migrate: Migrate,
}

/// Runs a command to its end, writes its results, or why it failed, and says with what to exit. It must not be called
/// from within a tokio runtime.
pub fn run(command: ClientCommand, global: &Global, host: HostEnvironment<'_>, offline: OfflineTools) -> Exit {
    let mut session = CommandContext::new(global, host, offline);
    // One connection needs no second thread; load on many does.
    let mut threads = match &command {
        ClientCommand::Tokenize(TokenizeArgs { bulk, .. }) | ClientCommand::Rehydrate(RehydrateArgs { bulk, .. })
            if bulk.is_wanted() =>
        {
            runtime::Builder::new_multi_thread()
        }
        _ => runtime::Builder::new_current_thread(),
    };
    let outcome = threads
        .enable_all()
        .build()
        .map_err(CommandError::Output)
        .and_then(|runtime| runtime.block_on(dispatch(command, &mut session)));
    // What was made of the work so far is written also where the work failed.
    let written = session.output.flush().map_err(CommandError::Output);
    match outcome.and_then(|exit| written.map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) if error.is_enough() => Exit::Done,
        Err(error) => {
            session.output.error(&format!("masker: {error}"));
            error.exit()
        }
    }
}

async fn dispatch(command: ClientCommand, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        ClientCommand::Tokenize(args) if args.bulk.is_wanted() => bulk::tokenize(&args, session).await,
        ClientCommand::Rehydrate(args) if args.bulk.is_wanted() => bulk::rehydrate(&args, session).await,
        ClientCommand::Tokenize(args) => values::run(ValueOperation::Tokenize(&args.into()), session).await,
        ClientCommand::Lookup(args) => values::run(ValueOperation::Lookup(&args), session).await,
        ClientCommand::Rehydrate(args) => values::run(ValueOperation::Rehydrate(&args.tokens), session).await,
        ClientCommand::Vault(VaultCommand::Forget(args)) => values::run(ValueOperation::Forget(&args), session).await,
        ClientCommand::Vault(VaultCommand::Stats) => vault::stats(session).await,
        ClientCommand::Vault(VaultCommand::Check) => vault::check(session).await,
        ClientCommand::Vault(VaultCommand::Export(args)) => backup::export(&args, session).await,
        ClientCommand::Vault(VaultCommand::Import(args)) => backup::import(&args, session).await,
        ClientCommand::Vault(VaultCommand::Inspect { file }) => backup::inspect(&file, session),
        ClientCommand::Vault(VaultCommand::Compact) => vault::compact(session).await,
        ClientCommand::Vault(VaultCommand::Migrate { to }) => vault::migrate(to, session),
        ClientCommand::Vault(VaultCommand::Purge(args)) => purge::run(&args, session).await,
        ClientCommand::Vault(VaultCommand::RotateKey(args)) => rotation::rotate(&args, session).await,
        ClientCommand::Vault(VaultCommand::Rotations) => rotation::list(session).await,
        ClientCommand::Vault(VaultCommand::CancelRotation { id }) => rotation::cancel(&id, session).await,
        ClientCommand::Vault(VaultCommand::PlantHoneytoken(args)) => honeytokens::plant(&args, session).await,
        ClientCommand::Vault(VaultCommand::Honeytokens) => honeytokens::list(session).await,
        ClientCommand::Vault(VaultCommand::RemoveHoneytoken { id }) => honeytokens::remove(&id, session).await,
        ClientCommand::Sessions(SessionsCommand::Open { label }) => sessions::open(label, session).await,
        ClientCommand::Sessions(SessionsCommand::List(args)) => sessions::list(&args, session).await,
        ClientCommand::Sessions(SessionsCommand::Show { id }) => sessions::show(&id, session).await,
        ClientCommand::Sessions(SessionsCommand::Close { id }) => sessions::close(&id, session).await,
        ClientCommand::Sessions(SessionsCommand::Tail) => sessions::tail(session).await,
        ClientCommand::ApiKeys(ApiKeysCommand::Create(args)) => api_keys::create(&args, session).await,
        ClientCommand::ApiKeys(ApiKeysCommand::List) => api_keys::list(session).await,
        ClientCommand::ApiKeys(ApiKeysCommand::Show { id }) => api_keys::show(&id, session).await,
        ClientCommand::ApiKeys(ApiKeysCommand::Rotate(args)) => api_keys::rotate(&args, session).await,
        ClientCommand::ApiKeys(ApiKeysCommand::Revoke { id }) => api_keys::revoke(&id, session).await,
        ClientCommand::Keys(KeysCommand::Generate { kid }) => keys::generate(&kid, session),
        ClientCommand::Keys(KeysCommand::Fingerprint { kid }) => keys::fingerprint(&kid, session),
        ClientCommand::Keys(KeysCommand::Status) => keys::status(session).await,
        ClientCommand::Keys(KeysCommand::Reload) => keys::reload(session).await,
        ClientCommand::Policy(PolicyCommand::Validate { path }) => policy::validate(&path, session),
        ClientCommand::Policy(PolicyCommand::Show { name }) => policy::show(name.as_deref(), session).await,
        ClientCommand::Policy(PolicyCommand::Diff { before, after }) => policy::diff(&before, &after, session).await,
        ClientCommand::Policy(PolicyCommand::Reload) => policy::reload(session).await,
        ClientCommand::Audit(AuditCommand::Verify(args)) => audit::verify(&args, session),
        ClientCommand::Audit(AuditCommand::Show(args)) => audit_events::show(&args, session).await,
        ClientCommand::Audit(AuditCommand::Tail(args)) => audit_events::tail(&args, session).await,
        ClientCommand::Health => status::health(session).await,
        ClientCommand::Status(args) => live::run(&args, session).await,
        ClientCommand::Doctor => doctor::command::run(session).await,
        ClientCommand::Whoami => status::whoami(session).await,
        ClientCommand::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "masker", &mut script);
            session.output.bytes(&script)?;
            Ok(Exit::Done)
        }
    }
}
