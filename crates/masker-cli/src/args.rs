//! What can stand on the command line.
//!
//! Help is where people learn a command, so each one's help ends with examples, and says what cannot be guessed.

mod values;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::values::{BulkArgs, RehydrateArgs, TokenArgs, TokenizeArgs, ValueArgs};
use super::{exit::Exit, help};
use masker_config::LogLevel;
use masker_types::engine::EngineKind;

/// Swaps personal data for tokens and back
///
/// masker keeps personal data out of the systems that do not need it: `masker serve` runs the daemon, which holds
/// the keys and the vault, and the other commands ask it over its Unix socket.
#[derive(Debug, Parser)]
#[command(name = "masker", version, args_override_self = true, max_term_width = 100, after_help = help::MASKER)]
pub struct Arguments {
    /// What goes for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be said of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration file; else MASKER_CONFIG, ./masker.toml, ~/.config/masker/config.toml,
    /// /etc/masker/masker.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's socket; else MASKER_SERVER, MASKER_SOCKET, the configuration's
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The daemon's address: unix:///run/masker/masker.sock
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    pub server: Option<String>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and errors; for serve, log warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say on standard error what is asked of the daemon and how long it took; for serve, log more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = help::SERVE)]
    Serve(ServeArgs),
    /// The whole story in a minute, on throwaway keys and a throwaway vault
    #[command(after_help = help::DEMO)]
    Demo,
    /// Every other command.
    #[command(flatten)]
    Client(ClientCommand),
}

/// The commands that ask a daemon, or work on their own.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Swap values for tokens
    #[command(after_help = help::TOKENIZE)]
    Tokenize(TokenizeArgs),
    /// Swap tokens back for values
    #[command(after_help = help::REHYDRATE)]
    Rehydrate(RehydrateArgs),
    /// Say by which tokens values may be stored now, without making new ones
    #[command(after_help = help::LOOKUP)]
    Lookup(ValueArgs),
    /// Hand out credentials for applications, change and revoke them
    #[command(subcommand, after_help = help::API_KEYS)]
    ApiKeys(ApiKeysCommand),
    /// Make keys, and see how they stand
    #[command(subcommand, after_help = help::KEYS)]
    Keys(KeysCommand),
    /// Look after the vault
    #[command(subcommand, after_help = help::VAULT)]
    Vault(VaultCommand),
    /// See what applications were handed out, one run at a time
    #[command(subcommand, after_help = help::SESSIONS)]
    Sessions(SessionsCommand),
    /// Read the audit log, and prove that it is whole
    #[command(subcommand, after_help = help::AUDIT)]
    Audit(AuditCommand),
    /// Look after the policies
    #[command(subcommand, after_help = help::POLICY)]
    Policy(PolicyCommand),
    /// Say whether the daemon is well
    #[command(after_help = help::HEALTH)]
    Health,
    /// Watch the daemon at work; one line where there is no terminal
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Say what is wrong with masker on this host, or is about to be
    #[command(after_help = help::DOCTOR)]
    Doctor,
    /// Say whom the daemon takes you for, and what you may do
    #[command(after_help = help::WHOAMI)]
    Whoami,
    /// Write a script that completes masker's commands in a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `masker serve`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ServeArgs {
    /// Serve a vault that has lost acknowledged records, as after a restored disk
    #[arg(long)]
    pub accept_loss: bool,
    /// Let a key be active again that another one had replaced
    #[arg(long)]
    pub accept_key_rollback: bool,
    /// Take note of a broken chain of the audit log, and call the log healthy again
    #[arg(long)]
    pub accept_audit_break: bool,
}

/// `masker status`.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub interval: u64,
}

/// `masker keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it for a secret store; the daemon is not asked
    #[command(after_help = help::KEYS_GENERATE)]
    Generate {
        /// The key id that a policy names
        #[arg(long, value_name = "KID", default_value = "K_HEALTHCARE")]
        kid: String,
    },
    /// Say which key a key is: reads it from standard input; the daemon is not asked
    #[command(after_help = help::KEYS_FINGERPRINT)]
    Fingerprint {
        /// The key id that it is a key of
        #[arg(long, value_name = "KID", default_value = "K_HEALTHCARE")]
        kid: String,
    },
    /// Generations, grace periods, what still needs an old key, and whether it can go
    #[command(after_help = help::KEYS_STATUS)]
    Status,
    /// Let the daemon read its keys again where they come from files: all of them, or none
    #[command(after_help = help::KEYS_RELOAD)]
    Reload,
}

/// `masker api-keys`.
#[derive(Debug, Subcommand)]
pub enum ApiKeysCommand {
    /// Make an API key and print it, this once
    #[command(after_help = help::API_KEYS_CREATE)]
    Create(ApiKeyCreateArgs),
    /// List the API keys, without their secrets
    #[command(after_help = help::API_KEYS_LIST)]
    List,
    /// Show one: what it may do, who made it, who last used it
    #[command(after_help = help::API_KEYS_SHOW)]
    Show {
        /// Its id
        id: String,
    },
    /// Give it another secret and print that, this once; the one before it works for a while
    #[command(after_help = help::API_KEYS_ROTATE)]
    Rotate(ApiKeyRotateArgs),
    /// End it, at once and for good
    #[command(after_help = help::API_KEYS_REVOKE)]
    Revoke {
        /// Its id
        id: String,
    },
}

/// `masker api-keys create`.
#[derive(Clone, Debug, Args)]
pub struct ApiKeyCreateArgs {
    /// What people call it
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it may do, such as tokenize or rehydrate:PHONE; several with commas between, or --scope again
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// The workspace that it is counted in; else `default`
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// Whose it is: a person, or the organization; else the caller
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// A policy that it is held to; several with commas between, or --policy again; else all
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',')]
    pub policies: Vec<String>,
    /// A context that it is held to, or `clinic-7/*` for all that begin so; --context again for another; else all
    #[arg(long = "context", value_name = "TEXT")]
    pub contexts: Vec<String>,
    /// When it expires: a date (its first moment in UTC), a time as in RFC 3339, or days from now, 90d; else never
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// For made-up data: its tokens and those of other keys do not know each other
    #[arg(long)]
    pub test: bool,
    /// How much it may do: none, standard, or such as requests_per_hour=100,values_per_hour=5000; else standard
    #[arg(long, value_name = "LIMITS")]
    pub limits: Option<String>,
}

/// `masker api-keys rotate`.
#[derive(Clone, Debug, Args)]
pub struct ApiKeyRotateArgs {
    /// Its id
    pub id: String,
    /// How long the secret before it works on: 0, 90s, 30m, 24h, up to 30d; else 24h
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,
}

/// `masker vault`.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// How many records there are, and under which keys
    #[command(after_help = help::VAULT_STATS)]
    Stats,
    /// Move records to the active key of a key id, while the daemon serves
    #[command(after_help = help::VAULT_ROTATE_KEY)]
    RotateKey(RotateArgs),
    /// List rotations, the latest first
    #[command(after_help = help::VAULT_ROTATIONS)]
    Rotations,
    /// End a rotation before its time
    #[command(after_help = help::VAULT_CANCEL_ROTATION)]
    CancelRotation {
        /// The rotation's id
        id: String,
    },
    /// Erase the records behind tokens, for good
    #[command(after_help = help::VAULT_FORGET)]
    Forget(TokenArgs),
    /// Read every record and verify it
    #[command(after_help = help::VAULT_CHECK)]
    Check,
    /// Write all records into one encrypted file, while the daemon serves
    #[command(after_help = help::VAULT_EXPORT)]
    Export(ExportArgs),
    /// Merge such a file into the vault, once all of it is verified
    #[command(after_help = help::VAULT_IMPORT)]
    Import(ImportArgs),
    /// Say what a file's header tells: whose export it is, and which keys it needs; no daemon and no key is asked
    #[command(after_help = help::VAULT_INSPECT)]
    Inspect {
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Erase the records minted before a time, or sealed under a key that is not active
    #[command(after_help = help::VAULT_PURGE)]
    Purge(PurgeArgs),
    /// Make a token that nobody should ever use, to be laid where a thief would look
    #[command(after_help = help::VAULT_PLANT_HONEYTOKEN)]
    PlantHoneytoken(PlantArgs),
    /// List the honeytokens, without their tokens
    #[command(after_help = help::VAULT_HONEYTOKENS)]
    Honeytokens,
    /// Make a honeytoken a token like any other
    #[command(after_help = help::VAULT_REMOVE_HONEYTOKEN)]
    RemoveHoneytoken {
        /// The id of its mark
        id: String,
    },
    /// Write the vault's files anew, without what was erased or replaced, while the daemon serves
    #[command(after_help = help::VAULT_COMPACT)]
    Compact,
    /// Move the vault to another engine, while no daemon has it
    #[command(after_help = help::VAULT_MIGRATE)]
    Migrate {
        /// The engine that is to keep it: sled or fjall
        #[arg(long, value_name = "ENGINE", value_parser = engine)]
        to: EngineKind,
    },
}

fn engine(name: &str) -> Result<EngineKind, String> {
    let found = EngineKind::CHOICES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| kind).ok_or_else(|| "it is sled or fjall".to_owned())
}

/// `masker vault export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The file; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `masker vault import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Bring back records that were erased
    #[arg(long)]
    pub restore_erased: bool,
}

/// `masker vault purge`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["before", "key"])))]
pub struct PurgeArgs {
    /// Records minted before: a date (its first moment in UTC), or a time as in RFC 3339
    #[arg(long, value_name = "DATE")]
    pub before: Option<String>,
    /// Records sealed under the key with this fingerprint; it must not be an active one
    #[arg(long, value_name = "FINGERPRINT")]
    pub key: Option<String>,
    /// Erase without asking
    #[arg(long)]
    pub yes: bool,
}

/// `masker vault rotate-key`.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// The key id whose active key records are moved to
    #[arg(long, value_name = "KID")]
    pub new_kid: String,
    /// The key id whose records are moved; left out, those of the new one under its old keys
    #[arg(long, value_name = "KID")]
    pub old_kid: Option<String>,
    /// Open every record and say what would happen, without writing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    pub detach: bool,
    /// Rows a second at most; 0 for as many as there is room for
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_rows_per_second: u64,
}

/// `masker vault plant-honeytoken`.
#[derive(Clone, Debug, Args)]
pub struct PlantArgs {
    /// The kind, as the policy names it, such as PHONE
    #[arg(long, short, value_name = "KIND")]
    pub kind: String,
    /// Read the value behind it from standard input, one that nobody has; else a fictitious one is made up
    #[arg(long)]
    pub value_stdin: bool,
    /// The policy; else the daemon's default
    #[arg(long, short, value_name = "NAME")]
    pub policy: Option<String>,
    /// What the token is bound to
    #[arg(long, short, value_name = "TEXT")]
    pub context: Option<String>,
    /// What it is for, such as where it is laid
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

/// `masker sessions`.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Open a session and print its id
    #[command(after_help = help::SESSIONS_OPEN)]
    Open {
        /// What to call it
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// List sessions, those opened first first
    #[command(after_help = help::SESSIONS_LIST)]
    List(SessionListArgs),
    /// One session, and the keys that its tokens need
    #[command(after_help = help::SESSIONS_SHOW)]
    Show {
        /// The session's id
        id: String,
    },
    /// Close a session
    #[command(after_help = help::SESSIONS_CLOSE)]
    Close {
        /// The session's id
        id: String,
    },
    /// Show open sessions, and then each that changes, until it is interrupted
    #[command(after_help = help::SESSIONS_TAIL)]
    Tail,
}

/// `masker sessions list`.
#[derive(Clone, Debug, Args)]
pub struct SessionListArgs {
    /// Those opened at this time or later: a time as in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Those that stand so
    #[arg(long, value_enum)]
    pub status: Option<SessionStatusArg>,
    /// So many at most; else all
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SessionStatusArg {
    /// It goes on
    Open,
    /// It was closed
    Closed,
}

/// `masker policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say what is wrong with a policy, or a directory of them; the daemon is not asked
    #[command(after_help = help::POLICY_VALIDATE)]
    Validate {
        /// A policy, or a directory of *.toml
        path: PathBuf,
    },
    /// Show the policies in force, or one of them
    #[command(after_help = help::POLICY_SHOW)]
    Show {
        /// The policy; without it, all by name
        name: Option<String>,
    },
    /// Say what changes from one policy to another, and which known values would get new tokens
    #[command(after_help = help::POLICY_DIFF)]
    Diff {
        /// A file, or the name of a policy in force
        #[arg(value_name = "A")]
        before: String,
        /// Another
        #[arg(value_name = "B")]
        after: String,
    },
    /// Let the daemon read its policies again: all of them, or none
    #[command(after_help = help::POLICY_RELOAD)]
    Reload,
}

/// `masker audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Prove that no event was changed, taken out, put in or cut off; the daemon is not asked
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify(VerifyArgs),
    /// Show events, oldest first
    #[command(after_help = help::AUDIT_SHOW)]
    Show(EventArgs),
    /// Show events as they come
    #[command(after_help = help::AUDIT_TAIL)]
    Tail(EventArgs),
}

/// `masker audit verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The log's directory, or some of its segments; without any, the directory of the configuration
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A head that the log must have had: NUMBER:HASH, or the hash; else what the vault has noted, where it can be read
    #[arg(long, value_name = "HEAD")]
    pub head: Option<String>,
}

/// `masker audit show` and `masker audit tail`.
#[derive(Clone, Debug, Default, Args)]
pub struct EventArgs {
    /// From this time on: 24h for so long ago, a date, or a time as in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of this caller: the name of a client or of an API key
    #[arg(long, value_name = "NAME")]
    pub caller: Option<String>,
    /// Of this operation, such as rehydrate
    #[arg(long, value_name = "OPERATION")]
    pub op: Option<String>,
}

impl Global {
    /// The log level that the flags ask for, if they ask for one.
    pub fn log_level(&self) -> Option<LogLevel> {
        match (self.quiet, self.verbose) {
            (_, 2..) => Some(LogLevel::Trace),
            (_, 1) => Some(LogLevel::Debug),
            (true, 0) => Some(LogLevel::Warn),
            (false, 0) => None,
        }
    }
}

impl Arguments {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// With what to exit: help and version were asked for and printed, or the command line was not understood, which
    /// standard error says.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(words).map_err(|error| {
            // Nobody is left to tell that nothing could be printed.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }
}
