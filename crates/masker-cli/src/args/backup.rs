//! The arguments of `masker backup`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, value_parser};

use super::help;

/// `masker backup`.
#[derive(Subcommand)]
pub enum BackupCommand {
    /// Write a backup into a new directory, while the daemon serves
    #[command(after_help = help::BACKUP_CREATE)]
    Create(CreateBackupArgs),
    /// Verify a backup; asks no daemon
    #[command(after_help = help::BACKUP_VERIFY)]
    Verify {
        /// The directory of the backup
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Restore a backup into a new vault, while the daemon is stopped
    #[command(after_help = help::BACKUP_RESTORE)]
    Restore(RestoreBackupArgs),
}

/// `masker backup restore`.
#[derive(Clone, Args)]
pub struct RestoreBackupArgs {
    /// The directory of the backup
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Leave out records whose key is not provided; they stay in the backup
    #[arg(long)]
    pub skip_missing_keys: bool,
    /// Restore the vault from the export alone if other files of the backup are damaged, and suspend all API keys
    #[arg(long)]
    pub export_only: bool,
}

/// `masker backup create`.
#[derive(Clone, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["directory", "into"])))]
pub struct CreateBackupArgs {
    /// The directory of the backup, which must not exist
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Make the backup in this directory, under a name with the time
    #[arg(long, value_name = "PARENT")]
    pub into: Option<PathBuf>,
    /// With --into: keep so many backups, and remove older ones once this one is complete [default: all]
    #[arg(long, value_name = "N", requires = "into", conflicts_with = "directory", value_parser = value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
}
