//! The arguments of `masker text`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;

use super::values::context;
use crate::completion;
use masker_api::{TextFormat, TextReplacement};

pub(super) const TEXT: &str = "\
Examples:
  masker text mask --replace-with placeholder < note.txt > masked.txt
  masker text restore < answer.txt
  masker text detect --check notes/*.txt";

const TEXT_MASK: &str = "\
Examples:
  masker text mask < note.txt > masked.txt
  masker text mask --replace-with placeholder note.txt | llm 'Summarize' | masker text restore
  masker text mask --output masked.txt note.txt
  masker text mask --explain note.txt > masked.txt
  masker text mask --format json --context clinic-7 record.json
  masker text mask --json notes/*.txt | jq -c '{file, found: (.findings | length)}'

Each file is a text of its own, and several are written one after the other. Texts must be UTF-8; line ends and a byte order \
mark stay. That all files can be read is checked before anything is written. A text goes through the daemon in parts, so it can have any length; a JSON document (--format \
json) has at most 4 MiB.

What fails ends the run: what is in the output then is masked, but not whole. With --output, the file gets its new content when all \
of it is complete and on disk, and keeps the old one otherwise; only its owner can read a new one.

With --json the output is a line for each file: `file`, and the fields of a result of the HTTP interface, with offsets in bytes. \
--explain writes a line for each finding to standard error: the place of the value, its kind, what led to it, and the place of the \
label that decided. It contains no part of the text. NO_COLOR turns colors off.

Placeholders belong to the session of MASKER_APP_SESSION; without one, to the caller.";

const TEXT_RESTORE: &str = "\
Examples:
  masker text restore < answer.txt
  masker text restore --output note.txt masked.txt
  masker text restore --format json --context clinic-7 record.json

Files and output work as with `masker text mask`. Tokens and placeholders that cannot be restored stay in the text; standard error \
has the place and the reason of each, and the exit code is 2. Placeholders are restored in the session that made them.";

const TEXT_DETECT: &str = "\
Examples:
  masker text detect note.txt
  masker text detect --explain < note.txt
  masker text detect --check notes/*.txt > /dev/null || echo there is personal data
  masker text detect --json note.txt | jq '.findings[].kind'

The output has a line for each value that is found: its file, line and column, its offsets in bytes, its kind, what `masker text \
mask` would do with it, the confidence, and the rule that decided. It never contains the value. With --explain, the line says what led \
to the finding. With --json it is one line for each file. A text has at most 4 MiB.

With --check, the exit code is 2 if something was found that `masker text mask` would replace.";

/// `masker text`.
#[derive(Subcommand)]
pub enum TextCommand {
    /// Replace the personal data in texts by tokens or placeholders
    #[command(after_help = TEXT_MASK)]
    Mask(TextMaskArgs),
    /// Replace the tokens and placeholders in texts by their values
    #[command(after_help = TEXT_RESTORE)]
    Restore(TextRestoreArgs),
    /// Show what masking would replace, and mint nothing
    #[command(after_help = TEXT_DETECT)]
    Detect(TextDetectArgs),
}

/// `masker text mask`.
#[derive(Clone, Args)]
pub struct TextMaskArgs {
    /// The texts.
    #[command(flatten)]
    pub input: TextInputArgs,
    /// How they are searched.
    #[command(flatten)]
    pub search: TextSearchArgs,
    /// What replaces a value
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub replace_with: TextReplacementArg,
    /// Write to this file when everything is complete, in place of its old content; `-` is standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// `masker text restore`.
#[derive(Clone, Args)]
pub struct TextRestoreArgs {
    /// The texts.
    #[command(flatten)]
    pub input: TextInputArgs,
    /// Write to this file when everything is complete, in place of its old content; `-` is standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// `masker text detect`.
#[derive(Clone, Args)]
pub struct TextDetectArgs {
    /// The texts.
    #[command(flatten)]
    pub input: TextInputArgs,
    /// How they are searched.
    #[command(flatten)]
    pub search: TextSearchArgs,
    /// Exit with 2 if something was found that masking would replace
    #[arg(long)]
    pub check: bool,
}

/// The texts of a command.
#[derive(Clone, Args)]
pub struct TextInputArgs {
    /// The files; `-` is standard input [default: standard input]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// What the files are
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TextFormatArg,
    /// The context that the tokens are bound to, such as a tenant
    #[arg(long, short, value_name = "TEXT", value_parser = context)]
    pub context: Option<String>,
}

/// How texts are searched.
#[derive(Clone, Args)]
pub struct TextSearchArgs {
    /// The policy [default: the daemon's default policy]
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(completion::policies))]
    pub policy: Option<String>,
    /// The language of the texts, such as de; one of the policy's [default: all of the policy's]
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Explain each finding
    #[arg(long)]
    pub explain: bool,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextFormatArg {
    /// Any text: notes, HTML, Markdown
    #[default]
    Plain,
    /// A JSON document, of which only string values change
    Json,
}

impl From<TextFormatArg> for TextFormat {
    fn from(format: TextFormatArg) -> Self {
        match format {
            TextFormatArg::Plain => TextFormat::Plain,
            TextFormatArg::Json => TextFormat::Json,
        }
    }
}

/// What replaces a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextReplacementArg {
    /// The token
    #[default]
    Token,
    /// A placeholder such as `[PHONE_7F3KQ2XA]`
    Placeholder,
}

impl From<TextReplacementArg> for TextReplacement {
    fn from(form: TextReplacementArg) -> Self {
        match form {
            TextReplacementArg::Token => TextReplacement::Token,
            TextReplacementArg::Placeholder => TextReplacement::Placeholder,
        }
    }
}
