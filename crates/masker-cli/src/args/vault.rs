//! The arguments of `masker vault`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use clap_complete::ArgValueCandidates;
use masker_types::engine::EngineKind;

use super::{ForgetArgs, help};
use crate::completion;

/// `masker vault`.
#[derive(Subcommand)]
pub enum VaultCommand {
    /// Print the number of records, in total and for each key
    #[command(after_help = help::VAULT_STATS)]
    Stats,
    /// Move records to the active key of a key id, while the daemon serves
    #[command(after_help = help::VAULT_ROTATE_KEY)]
    RotateKey(RotateArgs),
    /// List rotations, the latest first
    #[command(after_help = help::VAULT_ROTATIONS)]
    Rotations,
    /// Cancel a rotation
    #[command(after_help = help::VAULT_CANCEL_ROTATION)]
    CancelRotation {
        /// The id of the rotation
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Erase the records of tokens permanently
    #[command(after_help = help::VAULT_FORGET)]
    Forget(ForgetArgs),
    /// Read and verify every record
    #[command(after_help = help::VAULT_CHECK)]
    Check,
    /// Write all records into one encrypted file, while the daemon serves
    #[command(after_help = help::VAULT_EXPORT)]
    Export(ExportArgs),
    /// Verify an export completely, then merge it into the vault
    #[command(after_help = help::VAULT_IMPORT)]
    Import(ImportArgs),
    /// Print the header of an export: its vault, and the keys that it needs; asks no daemon and needs no key
    #[command(after_help = help::VAULT_INSPECT)]
    Inspect {
        /// The export; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Erase the records minted before a time, or sealed under a key that is not active
    #[command(after_help = help::VAULT_PURGE)]
    Purge(PurgeArgs),
    /// Mint a honeytoken: a token that nobody should use, to be placed where a thief would look
    #[command(after_help = help::VAULT_PLANT_HONEYTOKEN)]
    PlantHoneytoken(PlantArgs),
    /// List the honeytokens, without their tokens
    #[command(after_help = help::VAULT_HONEYTOKENS)]
    Honeytokens,
    /// Turn a honeytoken into an ordinary token
    #[command(after_help = help::VAULT_REMOVE_HONEYTOKEN)]
    RemoveHoneytoken {
        /// The id of the honeytoken
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Rewrite the vault's files without erased and replaced records, while the daemon serves
    #[command(after_help = help::VAULT_COMPACT)]
    Compact,
    /// Put a new control key in the place of the present one, and remove rows that are void
    #[command(after_help = help::VAULT_NEW_CONTROL_KEY)]
    NewControlKey,
    /// Move the vault to another engine, while no daemon has it open
    #[command(after_help = help::VAULT_MIGRATE)]
    Migrate {
        /// The new engine: fjall or sled
        #[arg(long, value_name = "ENGINE", value_parser = engine)]
        to: EngineKind,
    },
}

fn engine(name: &str) -> Result<EngineKind, String> {
    let found = EngineKind::CHOICES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| kind).ok_or_else(|| "expected fjall or sled".to_owned())
}

/// `masker vault export`.
#[derive(Clone, Args)]
pub struct ExportArgs {
    /// The file to write; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace an existing file, if it is an export
    #[arg(long)]
    pub force: bool,
}

/// `masker vault import`.
#[derive(Clone, Args)]
pub struct ImportArgs {
    /// The export; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Restore records that were erased
    #[arg(long)]
    pub restore_erased: bool,
    /// Leave out records whose key is not loaded; they stay in the export
    #[arg(long)]
    pub skip_missing_keys: bool,
}

/// `masker vault purge`.
#[derive(Clone, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["before", "key"])))]
pub struct PurgeArgs {
    /// Erase records minted before this time: a date (00:00 UTC), or a time in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
    /// Erase records sealed under the key with this fingerprint, which must not be active
    #[arg(long, value_name = "FINGERPRINT")]
    pub key: Option<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// `masker vault rotate-key`.
#[derive(Clone, Args)]
pub struct RotateArgs {
    /// The key id whose active key the records move to
    #[arg(long, value_name = "KID", add = ArgValueCandidates::new(completion::kids))]
    pub new_kid: String,
    /// The key id whose records move [default: the same key id, records under its old keys]
    #[arg(long, value_name = "KID", add = ArgValueCandidates::new(completion::kids))]
    pub old_kid: Option<String>,
    /// Open every record and report what would happen, without writing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until the rotation ends
    #[arg(long)]
    pub detach: bool,
    /// Maximum rows per second; 0 is unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_rows_per_second: u64,
}

/// `masker vault plant-honeytoken`.
#[derive(Clone, Args)]
pub struct PlantArgs {
    /// The kind of the value, such as PHONE
    #[arg(long, short, value_name = "KIND", add = ArgValueCandidates::new(completion::kinds))]
    pub kind: String,
    /// Read the value from standard input; it must belong to nobody [default: a generated value]
    #[arg(long)]
    pub value_stdin: bool,
    /// The policy [default: the daemon's default policy]
    #[arg(long, short, value_name = "NAME")]
    pub policy: Option<String>,
    /// The context that the token is bound to
    #[arg(long, short, value_name = "TEXT")]
    pub context: Option<String>,
    /// A label, such as where the token is placed
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}
