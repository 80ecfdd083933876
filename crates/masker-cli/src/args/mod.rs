//! The arguments of every command.
//!
//! Users learn a command from its help. So each help text ends with examples, and explains what the names of the options
//! do not.

mod access;
mod backup;
mod help;
mod report;
mod text;
mod values;
mod vault;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::PossibleValue};
use clap_complete::Shell;
use masker_config::AcceptedKind;
use masker_types::log::LogLevel;

pub use self::{
    access::{
        ApiKeyCreateArgs, ApiKeyRotateArgs, ApiKeysCommand, AuditCommand, EventArgs, GenerateArgs, KeysCommand,
        PolicyCommand, RemoveOldArgs, RotateKeyFileArgs, SessionListArgs, SessionStatusArg, SessionsCommand,
        VerifyArgs,
    },
    backup::{BackupCommand, CreateBackupArgs, RestoreBackupArgs},
    report::{ReportArgs, ReportFormatArg},
    text::{
        TextCommand, TextDetectArgs, TextFormatArg, TextInputArgs, TextMaskArgs, TextReplacementArg, TextRestoreArgs,
        TextSearchArgs,
    },
    values::{BulkArgs, ForgetArgs, OnError, RehydrateArgs, TokenArgs, TokenizeArgs, ValueArgs},
    vault::{ExportArgs, ImportArgs, PlantArgs, PurgeArgs, RotateArgs, VaultCommand},
};
use crate::exit::Exit;

/// Swap personal data for tokens and back
///
/// masker keeps personal data out of the systems that do not need it. `masker serve` runs the daemon, which holds the
/// keys and the vault. The other commands connect to its Unix socket, or with `--server` to a gateway in front of it.
#[derive(Parser)]
#[command(name = "masker", version, args_override_self = true, max_term_width = 100, after_help = help::MASKER)]
pub struct Arguments {
    /// The options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The options that every command takes.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration file [default: MASKER_CONFIG, or the first of ./masker.toml,
    /// ~/.config/masker/config.toml, /etc/masker/masker.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's socket [default: MASKER_SERVER, MASKER_SOCKET, or the configuration's]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A gateway, as https://HOST, or the daemon's socket, as unix:///PATH [default: MASKER_SERVER]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    pub server: Option<String>,
    /// The authority of the gateway's certificate, in PEM [default: MASKER_CA, or those that this host trusts]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The client certificate to show to the gateway, with its chain, in PEM [default: MASKER_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// The private key of the client certificate, in PEM [default: MASKER_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only results and errors; serve logs warnings and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print each request and its duration on standard error (of files of records, the rate); serve logs more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// A command.
#[derive(Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = help::SERVE)]
    Serve,
    /// Demonstrate masker in a minute, with temporary keys and a temporary vault
    #[command(after_help = help::DEMO)]
    Demo,
    /// Every other command.
    #[command(flatten)]
    Client(ClientCommand),
}

/// A command that asks a daemon, or needs none.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Make a configuration, a policy and keys for a first start; replaces nothing
    #[command(after_help = help::INIT)]
    Init(InitArgs),
    /// Show what a start refuses and why, and accept exactly that
    #[command(after_help = help::RECOVER)]
    Recover(RecoverArgs),
    /// Swap values for tokens
    #[command(after_help = help::TOKENIZE)]
    Tokenize(TokenizeArgs),
    /// Swap tokens back for values
    #[command(after_help = help::REHYDRATE)]
    Rehydrate(RehydrateArgs),
    /// Look up the tokens of values without minting any
    #[command(after_help = help::LOOKUP)]
    Lookup(ValueArgs),
    /// Mask, restore and search texts
    #[command(subcommand, after_help = text::TEXT)]
    Text(TextCommand),
    /// Create, change and revoke API keys
    #[command(subcommand, after_help = help::API_KEYS)]
    ApiKeys(ApiKeysCommand),
    /// Generate keys, and show the state of the daemon's keys
    #[command(subcommand, after_help = help::KEYS)]
    Keys(KeysCommand),
    /// Manage the vault
    #[command(subcommand, after_help = help::VAULT)]
    Vault(VaultCommand),
    /// Make, verify and restore backups
    #[command(subcommand, after_help = help::BACKUP)]
    Backup(BackupCommand),
    /// Open, list and close sessions
    #[command(subcommand, after_help = help::SESSIONS)]
    Sessions(SessionsCommand),
    /// Read and verify the audit log
    #[command(subcommand, after_help = help::AUDIT)]
    Audit(AuditCommand),
    /// Report on a period: who was given what, failures, keys and changes
    #[command(after_help = help::REPORT)]
    Report(ReportArgs),
    /// Validate, show and reload policies
    #[command(subcommand, after_help = help::POLICY)]
    Policy(PolicyCommand),
    /// Print the daemon's health
    #[command(after_help = help::HEALTH)]
    Health,
    /// Watch the daemon at work; without a terminal, print one line
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Examine this host's installation of masker
    #[command(after_help = help::DOCTOR)]
    Doctor,
    /// Print who the daemon thinks you are, and your scopes
    #[command(after_help = help::WHOAMI)]
    Whoami,
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `masker init`.
#[derive(Clone, Args)]
pub struct InitArgs {
    /// The directory [default: /etc/masker for root, ~/.config/masker for other users]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Use the policies at this path, a file or a directory, in place of a new one
    #[arg(long, value_name = "PATH")]
    pub policies: Option<PathBuf>,
}

/// `masker recover`.
#[derive(Clone, Args)]
pub struct RecoverArgs {
    /// Accept what the command shows of this kind; can be repeated
    #[arg(long, value_name = "KIND")]
    pub accept: Vec<AcceptedKindArg>,
}

/// A kind of state that can be accepted, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedKindArg(pub AcceptedKind);

impl ValueEnum for AcceptedKindArg {
    fn value_variants<'a>() -> &'a [Self] {
        const {
            let [first, second, third, fourth, fifth, sixth] = AcceptedKind::ALL;
            &[
                AcceptedKindArg(first),
                AcceptedKindArg(second),
                AcceptedKindArg(third),
                AcceptedKindArg(fourth),
                AcceptedKindArg(fifth),
                AcceptedKindArg(sixth),
            ]
        }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.as_str()))
    }
}

/// `masker status`.
#[derive(Clone, Copy, Args)]
pub struct StatusArgs {
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub interval: u64,
}

impl Global {
    /// Returns the log level that the flags set, if they set one.
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
    /// Parses a command line, beginning with the program's name.
    ///
    /// # Errors
    /// The exit code: help or the version was printed, or the command line is invalid, which standard error explains.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(words).map_err(|error| {
            // If printing fails, there is no other place to report it.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }
}
