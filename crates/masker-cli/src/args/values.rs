//! The arguments of the commands on values: single values and tokens, or files of records.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use clap_complete::ArgValueCandidates;

use crate::completion;
use masker_types::limits::CONTEXT_BYTES_MAX;

/// `masker tokenize`: [`ValueArgs`], or a file of records.
#[derive(Clone, Args)]
pub struct TokenizeArgs {
    /// The kind of the values, such as PHONE
    #[arg(long, short, value_name = "KIND", required_unless_present_any = ["form", "columns", "fields"], add = ArgValueCandidates::new(completion::kinds))]
    pub kind: Option<String>,
    /// The policy [default: the daemon's default policy]
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(completion::policies))]
    pub policy: Option<String>,
    /// The context that the tokens are bound to, such as a tenant
    #[arg(long, short, value_name = "TEXT", value_parser = context)]
    pub context: Option<String>,
    /// The values [default: standard input, one per line; other users can read arguments in the list of processes]
    #[arg(value_name = "VALUE")]
    pub values: Vec<OsString>,
    /// Read values that end in a NUL byte instead of a line end, so that they can contain line breaks
    #[arg(long, conflicts_with = "form")]
    pub null_separated: bool,
    /// A file of records. Boxed, because a command enum is as large as its largest variant.
    #[command(flatten)]
    pub bulk: Box<BulkArgs>,
}

impl From<TokenizeArgs> for ValueArgs {
    fn from(args: TokenizeArgs) -> Self {
        let TokenizeArgs { kind, policy, context, values, null_separated, bulk: _ } = args;
        // clap requires the kind without files of records.
        ValueArgs { kind: kind.unwrap_or_default(), policy, context, values, null_separated }
    }
}

/// `masker rehydrate`: [`TokenArgs`], or a file of records.
#[derive(Clone, Args)]
pub struct RehydrateArgs {
    /// Single tokens.
    #[command(flatten)]
    pub tokens: TokenArgs,
    /// Write values that end in a NUL byte instead of a line end, so that they can contain line breaks
    #[arg(long, conflicts_with_all = ["form", "json"])]
    pub null_separated: bool,
    /// Copy cells and strings that never were tokens, such as those that a policy passed through or redacted, and do not
    /// report them
    #[arg(long, requires = "form", help_heading = "Files of records")]
    pub passthrough: bool,
    /// A file of records. Boxed, because a command enum is as large as its largest variant.
    #[command(flatten)]
    pub bulk: Box<BulkArgs>,
}

// An option of one format requires that format and also conflicts with the other one: clap does not enforce a requirement
// that conflicts with a given argument.
/// A file of records, for `masker tokenize` and `masker rehydrate`.
#[derive(Clone, Args)]
#[command(next_help_heading = "Files of records", group(ArgGroup::new("form").args(["csv", "jsonl"])))]
pub struct BulkArgs {
    /// Read CSV from standard input, swap some columns, and copy the others
    #[arg(long)]
    pub csv: bool,
    /// Read JSON lines from standard input, swap some fields, and copy the rest
    #[arg(long)]
    pub jsonl: bool,
    /// A column to swap, by its name in the header; can be repeated. To tokenize, KIND is its kind, or else --kind; to
    /// rehydrate, give the name alone
    #[arg(long = "column", value_name = "NAME[=KIND]", requires = "csv", conflicts_with = "jsonl")]
    pub columns: Vec<String>,
    /// A field to swap, by its path, such as patient.phone, and its kind as with --column; a name with a dot is in quotes; `?` after the path says
    /// that it can be missing in all rows; can be repeated
    #[arg(long = "field", value_name = "PATH[=KIND]", requires = "jsonl", conflicts_with = "csv")]
    pub fields: Vec<String>,
    /// The character between cells; \t is a tab [default: a comma]
    #[arg(long, value_name = "CHARACTER", requires = "csv", conflicts_with = "jsonl")]
    pub delimiter: Option<String>,
    /// Treat the first line as a row; columns are numbered from 1
    #[arg(long, requires = "csv", conflicts_with = "jsonl")]
    pub no_header: bool,
    /// Take quotes as ordinary characters, as many programs that write TSV do
    #[arg(long, requires = "csv", conflicts_with = "jsonl")]
    pub no_quotes: bool,
    /// Accept quotes inside cells that do not begin with one
    #[arg(long, requires = "csv", conflicts_with_all = ["jsonl", "no_quotes"])]
    pub lenient_quotes: bool,
    /// The character before escaped ones: '\' for files of MySQL
    #[arg(long, value_name = "CHARACTER", requires = "csv", conflicts_with = "jsonl")]
    pub escape: Option<String>,
    /// Copy cells that have this text and no quotes, such as NULL or \N; can be repeated
    #[arg(long = "null", value_name = "TEXT", requires = "csv", conflicts_with = "jsonl", allow_hyphen_values = true)]
    pub nulls: Vec<String>,
    /// The encoding, such as windows-1252, latin-1, shift_jis, utf-16 [default: UTF-8]
    #[arg(long, value_name = "NAME", requires = "csv", conflicts_with = "jsonl")]
    pub encoding: Option<String>,
    /// What to do if a row or a value fails
    #[arg(long, value_name = "ACTION", value_enum, default_value_t = OnError::Stop, requires = "form")]
    pub on_error: OnError,
    /// Read everything, report what would be swapped and what fails, and swap nothing
    #[arg(long, requires = "form")]
    pub dry_run: bool,
    /// Skip this many rows and the header, to continue a run that ended early
    #[arg(long, value_name = "N", default_value_t = 0, requires = "form")]
    pub skip_rows: u64,
    /// Write every failure to this new file as CSV: row, column, code, detail. With --skip-rows, append to it
    #[arg(long, value_name = "FILE", requires = "form")]
    pub failures: Option<PathBuf>,
    /// Maximum values in a request
    #[arg(
        long, value_name = "N", default_value_t = 1_000, requires = "form",
        value_parser = clap::value_parser!(u16).range(1..=10_000)
    )]
    pub batch: u16,
    /// Number of connections
    #[arg(
        long, value_name = "N", default_value_t = 4, requires = "form",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub connections: u16,
}

/// What to do if a row or a value fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// End the run before the row
    #[default]
    Stop,
    /// Write the row with all cells empty; in JSON lines, null
    KeepRowEmpty,
    /// Write an empty cell or null in place of the value, and the other cells
    KeepOthers,
}

impl BulkArgs {
    /// Returns whether standard input is a file of records.
    pub fn is_wanted(&self) -> bool {
        self.csv || self.jsonl
    }
}

/// `masker lookup`.
#[derive(Clone, Args)]
pub struct ValueArgs {
    /// The kind of the values, such as PHONE
    #[arg(long, short, value_name = "KIND", add = ArgValueCandidates::new(completion::kinds))]
    pub kind: String,
    /// The policy [default: the daemon's default policy]
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(completion::policies))]
    pub policy: Option<String>,
    /// The context that the tokens are bound to, such as a tenant
    #[arg(long, short, value_name = "TEXT", value_parser = context)]
    pub context: Option<String>,
    /// The values [default: standard input, one per line; other users can read arguments in the list of processes]
    #[arg(value_name = "VALUE")]
    pub values: Vec<OsString>,
    /// Read values that end in a NUL byte instead of a line end, so that they can contain line breaks
    #[arg(long)]
    pub null_separated: bool,
}

/// `masker vault forget`.
#[derive(Clone, Args)]
pub struct ForgetArgs {
    /// Take values of this kind instead of tokens, and erase every token of each, in every spelling that matches
    #[arg(long, short, value_name = "KIND", add = ArgValueCandidates::new(completion::kinds))]
    pub kind: Option<String>,
    /// The policy that tokenized the values [default: the daemon's default policy]
    #[arg(long, short, value_name = "NAME", requires = "kind", add = ArgValueCandidates::new(completion::policies))]
    pub policy: Option<String>,
    /// The context that the tokens were minted with
    #[arg(long, short, value_name = "TEXT", value_parser = context)]
    pub context: Option<String>,
    /// The tokens or values [default: standard input, one per line; other users can read arguments in the list of processes]
    #[arg(value_name = "ITEM")]
    pub items: Vec<OsString>,
    /// Read values that end in a NUL byte instead of a line end, so that they can contain line breaks
    #[arg(long, requires = "kind")]
    pub null_separated: bool,
}

/// `masker rehydrate`.
#[derive(Clone, Args)]
pub struct TokenArgs {
    /// The context that the tokens were minted with
    #[arg(long, short, value_name = "TEXT", value_parser = context)]
    pub context: Option<String>,
    /// The tokens [default: standard input, one per line]
    #[arg(value_name = "TOKEN")]
    pub tokens: Vec<OsString>,
}

/// Checks the length of a context.
pub(super) fn context(text: &str) -> Result<String, String> {
    if text.len() > CONTEXT_BYTES_MAX {
        return Err(format!("a context has at most {CONTEXT_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}
