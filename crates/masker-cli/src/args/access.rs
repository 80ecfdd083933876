//! The arguments of `masker keys`, `api-keys`, `sessions`, `policy` and `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::help;
use crate::completion;

/// `masker keys`.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Generate a key and print it, or write it to a file; does not ask the daemon
    #[command(after_help = help::KEYS_GENERATE)]
    Generate(GenerateArgs),
    /// Make the key in a file the old one, and put a new key into its place
    #[command(after_help = help::KEYS_ROTATE)]
    Rotate(RotateKeyFileArgs),
    /// Remove the file of an old key that the vault no longer needs
    #[command(after_help = help::KEYS_REMOVE_OLD)]
    RemoveOld(RemoveOldArgs),
    /// Print the fingerprint of a key from standard input; does not ask the daemon
    #[command(after_help = help::KEYS_FINGERPRINT)]
    Fingerprint {
        /// The key id of the key
        #[arg(long, value_name = "KID", default_value = "K_HEALTHCARE", add = ArgValueCandidates::new(completion::kids))]
        kid: String,
    },
    /// Show generations, grace periods, the records of each key, and which keys can be removed
    #[command(after_help = help::KEYS_STATUS)]
    Status,
    /// Reload the keys that come from files, all or none
    #[command(after_help = help::KEYS_RELOAD)]
    Reload,
}

/// `masker keys generate`.
#[derive(Clone, Args)]
pub struct GenerateArgs {
    /// The key id that policies use [default: the name of the file if it is a key id, else K_HEALTHCARE]
    #[arg(long, value_name = "KID", add = ArgValueCandidates::new(completion::kids))]
    pub kid: Option<String>,
    /// Write the key to this file, which must not exist, and print its fingerprint [default: print the key]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `masker keys rotate`.
#[derive(Clone, Args)]
pub struct RotateKeyFileArgs {
    /// The directory of the daemon's key files, such as /etc/masker/keys
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The key id of the key
    #[arg(long, value_name = "KID", add = ArgValueCandidates::new(completion::kids))]
    pub kid: String,
}

/// `masker keys remove-old`.
#[derive(Clone, Args)]
pub struct RemoveOldArgs {
    /// The directory of the daemon's key files, such as /etc/masker/keys
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The key id of the key
    #[arg(long, value_name = "KID", add = ArgValueCandidates::new(completion::kids))]
    pub kid: String,
    /// Remove the file; without this option, only check whether it can be removed
    #[arg(long)]
    pub yes: bool,
}

/// `masker api-keys`.
#[derive(Subcommand)]
pub enum ApiKeysCommand {
    /// Create an API key and print it once
    #[command(after_help = help::API_KEYS_CREATE)]
    Create(ApiKeyCreateArgs),
    /// List the API keys, without their secrets
    #[command(after_help = help::API_KEYS_LIST)]
    List,
    /// Show an API key: its scopes, who created it, its last use
    #[command(after_help = help::API_KEYS_SHOW)]
    Show {
        /// The id of the API key
        #[arg(value_name = "ID", add = ArgValueCandidates::new(completion::api_key_ids))]
        id: String,
    },
    /// Replace the secret of an API key and print the new one once
    #[command(after_help = help::API_KEYS_ROTATE)]
    Rotate(ApiKeyRotateArgs),
    /// Suspend an API key: it is refused until it is resumed
    #[command(after_help = help::API_KEYS_SUSPEND)]
    Suspend {
        /// The id of the API key
        #[arg(value_name = "ID", add = ArgValueCandidates::new(completion::api_key_ids))]
        id: String,
    },
    /// Resume a suspended API key
    #[command(after_help = help::API_KEYS_RESUME)]
    Resume {
        /// The id of the API key
        #[arg(value_name = "ID", add = ArgValueCandidates::new(completion::api_key_ids))]
        id: String,
    },
    /// Revoke an API key, with all keys that it has created, immediately and permanently
    #[command(after_help = help::API_KEYS_REVOKE)]
    Revoke {
        /// The id of the API key
        #[arg(value_name = "ID", add = ArgValueCandidates::new(completion::api_key_ids))]
        id: String,
        /// Do not revoke the API keys that it has created
        #[arg(long)]
        keep_descendants: bool,
    },
}

/// `masker api-keys create`.
#[derive(Clone, Args)]
pub struct ApiKeyCreateArgs {
    /// The name of the API key
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A scope, such as tokenize or rehydrate:PHONE; separate several with commas, or repeat the option
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', add = ArgValueCandidates::new(completion::scopes))]
    pub scopes: Vec<String>,
    /// The workspace that the API key belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// The owner, a person or an organization [default: the caller]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// A policy that the API key may use; separate several with commas, or repeat the option [default: all]
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',', add = ArgValueCandidates::new(completion::policies))]
    pub policies: Vec<String>,
    /// A context that the API key may use, or a prefix such as `clinic-7/*`; can be repeated [default: all]
    #[arg(long = "context", value_name = "TEXT")]
    pub contexts: Vec<String>,
    /// When the API key expires: a date (00:00 UTC), a time in RFC 3339, or a number of days, such as 90d
    /// [default: never]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Create a test key; its tokens and those of live keys are separate
    #[arg(long)]
    pub test: bool,
    /// The limits: none, standard, or numbers such as requests_per_hour=100,values_per_hour=5000
    /// [default: standard]
    #[arg(long, value_name = "LIMITS")]
    pub limits: Option<String>,
}

/// `masker api-keys rotate`.
#[derive(Clone, Args)]
pub struct ApiKeyRotateArgs {
    /// The id of the API key
    #[arg(value_name = "ID", add = ArgValueCandidates::new(completion::api_key_ids))]
    pub id: String,
    /// How long the previous secret remains valid: 0, 90s, 30m, 24h, at most 30d [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
}

/// `masker sessions`.
#[derive(Subcommand)]
pub enum SessionsCommand {
    /// Open a session and print its id
    #[command(after_help = help::SESSIONS_OPEN)]
    Open {
        /// A label for the session
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// List sessions, the oldest first
    #[command(after_help = help::SESSIONS_LIST)]
    List(SessionListArgs),
    /// Show a session, and the keys that its tokens need
    #[command(after_help = help::SESSIONS_SHOW)]
    Show {
        /// The id of the session
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Close a session
    #[command(after_help = help::SESSIONS_CLOSE)]
    Close {
        /// The id of the session
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Print the open sessions, then each change, until interrupted
    #[command(after_help = help::SESSIONS_TAIL)]
    Tail,
}

/// `masker sessions list`.
#[derive(Clone, Args)]
pub struct SessionListArgs {
    /// List sessions opened at this time or later: a duration before now, such as 24h, a date, or a time in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// List sessions with this status
    #[arg(long, value_enum)]
    pub status: Option<SessionStatusArg>,
    /// List at most this many sessions [default: all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// The status of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SessionStatusArg {
    /// The session is open
    Open,
    /// The session is closed
    Closed,
}

/// `masker policy`.
#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Validate a policy, or a directory of policies; does not ask the daemon
    #[command(after_help = help::POLICY_VALIDATE)]
    Validate {
        /// A policy file, or a directory of *.toml files
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Show the policies in force, or one of them
    #[command(after_help = help::POLICY_SHOW)]
    Show {
        /// The policy [default: a list of all]
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Compare two policies, and show which known values would get new tokens
    #[command(after_help = help::POLICY_DIFF)]
    Diff {
        /// A policy file, or the name of a policy in force
        #[arg(value_name = "BEFORE")]
        before: String,
        /// The policy to compare with
        #[arg(value_name = "AFTER")]
        after: String,
    },
    /// Reload the daemon's policies, all or none
    #[command(after_help = help::POLICY_RELOAD)]
    Reload,
}

/// `masker audit`.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Verify that no event was changed, removed, inserted or cut off; does not ask the daemon
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify(VerifyArgs),
    /// Print events, the oldest first
    #[command(after_help = help::AUDIT_SHOW)]
    Show(EventArgs),
    /// Print events as they are written, until interrupted
    #[command(after_help = help::AUDIT_TAIL)]
    Tail(EventArgs),
}

/// `masker audit verify`.
#[derive(Clone, Args)]
pub struct VerifyArgs {
    /// The directory of the log, or some of its segments [default: the configured directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A head that the log must contain: NUMBER:HASH, or the hash [default: the head of the daemon or its vault]
    #[arg(long, value_name = "HEAD")]
    pub head: Option<String>,
}

/// `masker audit show` and `masker audit tail`.
#[derive(Clone, Default, Args)]
pub struct EventArgs {
    /// Print events from this time on: a duration before now, such as 24h, a date, or a time in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print events before this time, in the same forms
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print events of this caller: the name of a client or of an API key
    #[arg(long, value_name = "NAME")]
    pub caller: Option<String>,
    /// Print events of this operation, such as rehydrate; the book's page on the audit format lists them
    #[arg(long, value_name = "OPERATION")]
    pub op: Option<String>,
}
