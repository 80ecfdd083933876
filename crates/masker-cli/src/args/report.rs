//! The arguments of `masker report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `masker report`.
#[derive(Clone, Args)]
pub struct ReportArgs {
    /// From this time on: a duration before now such as 7d, a date (00:00 UTC), or a time in RFC 3339
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub since: String,
    /// Before this time, in the same forms [default: now]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The format [default: by the suffix of --output, or else json]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ReportFormatArg>,
    /// The file to write, readable by this user alone; replaces one of that name; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Read all segments of the audit log again, also those with a rollup
    #[arg(long)]
    pub full: bool,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormatArg {
    /// All facts, for programs
    Json,
    /// One table of all facts, for spreadsheets
    Csv,
    /// A page with charts
    Html,
    /// Two pages of PDF/A with charts, and the JSON attached
    Pdf,
}
