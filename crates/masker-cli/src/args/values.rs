//! What the commands on values take: values and tokens one by one, or files of records.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgGroup, Args};

/// `masker tokenize`: [`ValueArgs`], or files of records.
#[derive(Clone, Debug, Args)]
pub struct TokenizeArgs {
    /// The kind of all the values, as the policy names it, such as PHONE
    #[arg(long, short, value_name = "KIND", required_unless_present_any = ["form", "columns", "fields"])]
    pub kind: Option<String>,
    /// The policy; else the daemon's default
    #[arg(long, short, value_name = "NAME")]
    pub policy: Option<String>,
    /// What the tokens are bound to, such as a tenant
    #[arg(long, short, value_name = "TEXT")]
    pub context: Option<String>,
    /// The values; better one a line on standard input, for arguments can be seen in the list of processes
    #[arg(value_name = "VALUE")]
    pub values: Vec<OsString>,
    /// Files of records; boxed, for commands are as large as the largest of them.
    #[command(flatten)]
    pub bulk: Box<BulkArgs>,
}

impl From<TokenizeArgs> for ValueArgs {
    fn from(args: TokenizeArgs) -> Self {
        let TokenizeArgs { kind, policy, context, values, bulk: _ } = args;
        // The command line is not understood without it.
        ValueArgs { kind: kind.unwrap_or_default(), policy, context, values }
    }
}

/// `masker rehydrate`: [`TokenArgs`], or files of records.
#[derive(Clone, Debug, Args)]
pub struct RehydrateArgs {
    /// Tokens one by one.
    #[command(flatten)]
    pub tokens: TokenArgs,
    /// Files of records; boxed, for commands are as large as the largest of them.
    #[command(flatten)]
    pub bulk: Box<BulkArgs>,
}

// What one form alone has conflicts with the other one, too: clap does not ask for what an argument requires where that
// is in conflict with what is given.
/// Files of records, as `masker tokenize` and `masker rehydrate` take them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Files of records", group(ArgGroup::new("form").args(["csv", "jsonl"])))]
pub struct BulkArgs {
    /// Standard input is CSV: swap some of its columns, and copy the others
    #[arg(long)]
    pub csv: bool,
    /// Standard input has a JSON value on each line: swap some of its fields, and copy the rest
    #[arg(long)]
    pub jsonl: bool,
    /// A column by its name in the header: NAME=KIND, or NAME where --kind says the kind, or where tokens do
    #[arg(long = "column", value_name = "NAME[=KIND]", requires = "csv", conflicts_with = "jsonl")]
    pub columns: Vec<String>,
    /// A field by the names that lead to it: patient.phone=PHONE
    #[arg(long = "field", value_name = "PATH[=KIND]", requires = "jsonl", conflicts_with = "csv")]
    pub fields: Vec<String>,
    /// What stands between cells: one character, \t for a tab; else a comma
    #[arg(long, value_name = "CHARACTER", requires = "csv", conflicts_with = "jsonl")]
    pub delimiter: Option<String>,
    /// The first line is a row; columns have numbers, from 1 on
    #[arg(long, requires = "csv", conflicts_with = "jsonl")]
    pub no_header: bool,
    /// Leave out so many rows, and the header: go on where a run has ended
    #[arg(long, value_name = "N", default_value_t = 0, requires = "form")]
    pub skip_rows: u64,
    /// Write every failure to this file, as CSV: row, column, code, detail
    #[arg(long, value_name = "FILE", requires = "form")]
    pub failures: Option<PathBuf>,
    /// Values in a request at most
    #[arg(
        long, value_name = "N", default_value_t = 1_000, requires = "form",
        value_parser = clap::value_parser!(u16).range(1..=10_000)
    )]
    pub batch: u16,
    /// Connections at once
    #[arg(
        long, value_name = "N", default_value_t = 4, requires = "form",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub connections: u16,
}

impl BulkArgs {
    /// Whether standard input is a file of records.
    pub fn is_wanted(&self) -> bool {
        self.csv || self.jsonl
    }
}

/// `masker lookup`.
#[derive(Clone, Debug, Args)]
pub struct ValueArgs {
    /// The kind of all the values, as the policy names it, such as PHONE
    #[arg(long, short, value_name = "KIND")]
    pub kind: String,
    /// The policy; else the daemon's default
    #[arg(long, short, value_name = "NAME")]
    pub policy: Option<String>,
    /// What the tokens are bound to, such as a tenant
    #[arg(long, short, value_name = "TEXT")]
    pub context: Option<String>,
    /// The values; better one a line on standard input, for arguments can be seen in the list of processes
    #[arg(value_name = "VALUE")]
    pub values: Vec<OsString>,
}

/// `masker rehydrate` and `masker vault forget`.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// What the tokens are bound to: what was given when they were made
    #[arg(long, short, value_name = "TEXT")]
    pub context: Option<String>,
    /// The tokens; without any, one a line from standard input
    #[arg(value_name = "TOKEN")]
    pub tokens: Vec<OsString>,
}
