//! The parsed command line, validated before any input is read.

use std::path::PathBuf;

use serde::Serialize;

use super::encoding::FileEncoding;
use crate::{
    args::{BulkArgs, OnError, RehydrateArgs, TokenizeArgs},
    context::CommandError,
};
use masker_csv::{Dialect, Quoting};
use masker_types::{error_code::Code, grant::Limit};

/// The operation, the format, and the columns or fields.
pub(super) struct BulkPlan {
    pub(super) operation: BulkOperation,
    pub(super) form: InputFormat,
    /// The columns or fields to swap.
    pub(super) columns: Vec<BulkColumn>,
    pub(super) on_error: OnError,
    /// Whether values that never were tokens are expected.
    pub(super) passthrough: bool,
    pub(super) dry_run: bool,
    pub(super) skip_rows: u64,
    pub(super) failures: Option<PathBuf>,
    /// Maximum values in a request.
    pub(super) batch: usize,
    pub(super) connections: usize,
    /// The beginning of every request body, up to its list.
    pub(super) opening: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BulkOperation {
    Tokenize,
    Rehydrate,
}

/// The format of the input and the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputFormat {
    Table(TableFormat),
    JsonLines,
}

/// The format of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableFormat {
    pub(super) dialect: Dialect,
    pub(super) header: bool,
    pub(super) encoding: FileEncoding,
    /// Unquoted cells that are copied, in the encoding of the cells.
    pub(super) nulls: Vec<Vec<u8>>,
}

/// A column or a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BulkColumn {
    /// Its name, as given without the kind.
    pub(super) name: String,
    /// The bytes before each of its values in a request.
    pub(super) item_opening: Vec<u8>,
}

impl BulkOperation {
    /// Returns the path of the route.
    pub(super) fn path(self) -> &'static str {
        match self {
            BulkOperation::Tokenize => "/api/v1/tokenize",
            BulkOperation::Rehydrate => "/api/v1/rehydrate",
        }
    }

    /// Returns the bytes after each value in a request.
    pub(super) fn item_end(self) -> &'static [u8] {
        match self {
            BulkOperation::Tokenize => b"}",
            BulkOperation::Rehydrate => b"",
        }
    }

    /// Returns the limits of a day that its values count against.
    pub(super) fn daily_limits(self) -> [Limit; 2] {
        match self {
            BulkOperation::Tokenize => [Limit::OperationsPerDay, Limit::DistinctValuesPerDay],
            BulkOperation::Rehydrate => [Limit::OperationsPerDay, Limit::RehydrationsPerDay],
        }
    }

    /// Returns the code of a value that cannot be sent.
    pub(super) fn invalid_code(self) -> Code {
        match self {
            BulkOperation::Tokenize => Code::ValueInvalid,
            BulkOperation::Rehydrate => Code::TokenMalformed,
        }
    }
}

/// A request body without its list.
#[derive(Serialize)]
struct RequestEnvelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
}

impl RequestEnvelope<'_> {
    /// Returns the request body up to its list, which has this name.
    fn opening(&self, list: &str) -> Result<Vec<u8>, CommandError> {
        let mut opening = json(self)?;
        // Without the closing brace. The object is empty if there is neither a policy nor a context.
        opening.pop();
        if opening.len() > 1 {
            opening.push(b',');
        }
        opening.extend_from_slice(format!("\"{list}\":[").as_bytes());
        Ok(opening)
    }
}

impl BulkPlan {
    pub(super) fn tokenize(args: &TokenizeArgs) -> Result<Self, CommandError> {
        refuse_arguments(args.values.is_empty())?;
        let envelope = RequestEnvelope { policy: args.policy.as_deref(), context: args.context.as_deref() };
        let mut columns = Vec::new();
        for text in named(&args.bulk) {
            // What follows a quote is a part of a quoted name.
            let split = text.rsplit_once('=').filter(|(_, kind)| args.bulk.csv || !kind.contains('"'));
            let (name, kind) = match (split, &args.kind) {
                (Some((name, kind)), _) if !kind.is_empty() => (name, kind),
                (None, Some(kind)) => (text.as_str(), kind.as_str()),
                _ => {
                    return Err(usage(format!(
                        "{text}: the kind is missing, as in {}=PHONE",
                        text.trim_end_matches('=')
                    )));
                }
            };
            let mut item_opening = b"{\"kind\":".to_vec();
            item_opening.extend(json(kind)?);
            item_opening.extend_from_slice(b",\"value\":");
            columns.push(BulkColumn { name: name.to_owned(), item_opening });
        }
        Self::new(BulkOperation::Tokenize, &args.bulk, columns, envelope.opening("items")?)
    }

    pub(super) fn rehydrate(args: &RehydrateArgs) -> Result<Self, CommandError> {
        refuse_arguments(args.tokens.tokens.is_empty())?;
        let envelope = RequestEnvelope { policy: None, context: args.tokens.context.as_deref() };
        let columns = named(&args.bulk).iter().map(|name| BulkColumn { name: name.clone(), item_opening: Vec::new() });
        Self::new(BulkOperation::Rehydrate, &args.bulk, columns.collect(), envelope.opening("tokens")?)
            .map(|plan| BulkPlan { passthrough: args.passthrough, ..plan })
    }

    fn new(
        operation: BulkOperation,
        args: &BulkArgs,
        columns: Vec<BulkColumn>,
        opening: Vec<u8>,
    ) -> Result<Self, CommandError> {
        let form = if args.csv { InputFormat::Table(TableFormat::new(args)?) } else { InputFormat::JsonLines };
        if columns.is_empty() {
            let flag = if args.csv { "--column" } else { "--field" };
            return Err(usage(format!("at least one {flag} is required")));
        }
        for (index, column) in columns.iter().enumerate() {
            if args.csv && column.name.is_empty() {
                return Err(usage("--column: the name is empty; use --no-header and column numbers".to_owned()));
            }
            if columns[..index].iter().any(|before| before.name == column.name) {
                return Err(usage(format!("{}: given twice", column.name)));
            }
        }
        Ok(BulkPlan {
            operation,
            form,
            columns,
            // A dry run reads everything, and reports every failure.
            on_error: if args.dry_run { OnError::KeepOthers } else { args.on_error },
            passthrough: false,
            dry_run: args.dry_run,
            skip_rows: args.skip_rows,
            failures: args.failures.clone(),
            batch: args.batch.into(),
            connections: args.connections.into(),
            opening,
        })
    }

    /// Returns the encoding of the input.
    pub(super) fn encoding(&self) -> FileEncoding {
        match &self.form {
            InputFormat::Table(format) => format.encoding,
            InputFormat::JsonLines => FileEncoding::UTF_8,
        }
    }

    /// Returns the name of a column for messages.
    pub(super) fn name(&self, column: usize) -> &str {
        self.columns.get(column).map_or("", |column| &column.name)
    }
}

fn usage(message: String) -> CommandError {
    CommandError::Usage(message)
}

fn refuse_arguments(none: bool) -> Result<(), CommandError> {
    if none {
        return Ok(());
    }
    Err(usage("--csv and --jsonl read standard input and take no values as arguments".to_owned()))
}

/// Returns the columns or fields, as given.
fn named(args: &BulkArgs) -> &[String] {
    if args.csv { &args.columns } else { &args.fields }
}

impl TableFormat {
    fn new(args: &BulkArgs) -> Result<Self, CommandError> {
        let encoding = match args.encoding.as_deref() {
            None => FileEncoding::UTF_8,
            Some(name) => FileEncoding::parse(name).ok_or_else(|| {
                let known = "--encoding: unknown. Known are utf-8 (also for ASCII), utf-16, latin-1, and the names of the \
                             Encoding Standard, such as windows-1252, iso-8859-15, macintosh and shift_jis. Convert others, \
                             such as cp850, with `iconv`";
                usage(known.to_owned())
            })?,
        };
        let quoting = match (args.no_quotes, args.lenient_quotes) {
            (true, _) => Quoting::None,
            (false, true) => Quoting::Lenient,
            (false, false) => Quoting::Strict,
        };
        let delimiter = delimiter(args.delimiter.as_deref())?;
        let escape = args.escape.as_deref().map(escape).transpose()?;
        let cells = encoding.cells();
        for (flag, byte) in [("--delimiter", Some(delimiter)), ("--escape", escape)] {
            if byte.is_some_and(|byte| !cells.is_single(byte)) {
                return Err(usage(format!("{flag}: in {}, this byte can be a part of other characters", cells.name())));
            }
        }
        if escape == Some(delimiter) {
            return Err(usage("--escape: the same as --delimiter".to_owned()));
        }
        let nulls = args.nulls.iter().map(|text| cells.encode(text).map(|bytes| bytes.into_owned()));
        let nulls = nulls.collect::<Option<Vec<_>>>();
        let mut nulls =
            nulls.ok_or_else(|| usage(format!("--null: the text cannot be written in {}", cells.name())))?;
        // What MySQL writes for NULL.
        nulls.extend(escape.map(|escape| vec![escape, b'N']));
        Ok(TableFormat { dialect: Dialect { delimiter, quoting, escape }, header: !args.no_header, encoding, nulls })
    }
}

fn delimiter(text: Option<&str>) -> Result<u8, CommandError> {
    match text {
        None => Ok(b','),
        Some("\\t" | "tab") => Ok(b'\t'),
        Some(text) => special_byte(text).ok_or_else(|| {
            usage("--delimiter: expected one ASCII character other than a quote; \\t is a tab".to_owned())
        }),
    }
}

fn escape(text: &str) -> Result<u8, CommandError> {
    special_byte(text).ok_or_else(|| usage("--escape: expected one ASCII character other than a quote".to_owned()))
}

/// Returns the byte of a text that is one ASCII character without another meaning.
fn special_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        &[byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Some(byte),
        _ => None,
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CommandError> {
    serde_json::to_vec(value).map_err(|error| CommandError::Other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, ClientCommand, Command};

    fn plan(line: &str) -> Result<BulkPlan, String> {
        let arguments = Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let plan = match arguments.command {
            Command::Client(ClientCommand::Tokenize(args)) => BulkPlan::tokenize(&args),
            Command::Client(ClientCommand::Rehydrate(args)) => BulkPlan::rehydrate(&args),
            _ => panic!("{line}"),
        };
        plan.map_err(|error| error.to_string())
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn request_bodies_begin_with_policy_and_context() {
        let plan = plan("masker tokenize --csv --column a=b=PHONE --column c -k SSN -p p -c \"").unwrap();
        assert_eq!(text(&plan.opening), r#"{"policy":"p","context":"\"","items":["#);
        assert_eq!(plan.columns[0].name, "a=b");
        assert_eq!(text(&plan.columns[0].item_opening), r#"{"kind":"PHONE","value":"#);
        assert_eq!(text(&plan.columns[1].item_opening), r#"{"kind":"SSN","value":"#);
        let plan = self::plan("masker rehydrate --jsonl --field a.b --skip-rows 7").unwrap();
        assert_eq!((text(&plan.opening), plan.skip_rows), (r#"{"tokens":["#, 7));
        assert_eq!(plan.columns, [BulkColumn { name: "a.b".to_owned(), item_opening: Vec::new() }]);
    }

    #[test]
    fn a_delimiter_is_one_character() {
        for (text, byte) in [(";", b';'), ("|", b'|'), ("\\t", b'\t'), ("tab", b'\t')] {
            assert_eq!(delimiter(Some(text)).ok(), Some(byte), "{text}");
        }
        for text in ["", "\"", "\n", ";;", "é"] {
            assert!(delimiter(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn rejects_incomplete_command_lines() {
        for (line, part) in [
            ("masker tokenize --csv --column a", "a=PHONE"),
            ("masker tokenize --csv --column a=", "a=PHONE"),
            ("masker tokenize --csv --column =PHONE", "the name is empty"),
            ("masker rehydrate --csv --column=", "the name is empty"),
            ("masker tokenize --csv", "--column"),
            ("masker tokenize --jsonl", "--field"),
            ("masker rehydrate --csv --column a --column a", "given twice"),
            ("masker tokenize --csv --column a=A x", "no values as arguments"),
            ("masker rehydrate --csv --column a x", "no values as arguments"),
            ("masker tokenize --csv --column a=A --field b=B", "cannot be used"),
            ("masker tokenize --jsonl --field a=A --column b=B", "cannot be used"),
            ("masker rehydrate --jsonl --field a --delimiter ;", "cannot be used"),
            ("masker rehydrate --jsonl --field a --no-header", "cannot be used"),
            ("masker tokenize --field a=A", "--jsonl"),
            ("masker tokenize --csv --jsonl --column a=A", "cannot be used"),
            ("masker tokenize --column a=A", "--csv"),
            ("masker rehydrate --skip-rows 1", "--csv"),
            ("masker rehydrate --passthrough", "--csv"),
            ("masker tokenize --csv --column a=A --passthrough", "unexpected argument"),
            ("masker tokenize --csv --column a=A --null-separated", "cannot be used"),
            ("masker tokenize --csv --column a=A --no-quotes --lenient-quotes", "cannot be used"),
            ("masker tokenize --csv --column a=A --escape ab", "one ASCII character"),
            ("masker tokenize --csv --column a=A --escape ,", "the same as --delimiter"),
            ("masker tokenize --csv --column a=A --encoding klingon", "windows-1252"),
            ("masker tokenize --csv --column a=A --encoding cp850", "with `iconv`"),
            ("masker tokenize --csv --column a=A --encoding ascii", "utf-8 (also for ASCII)"),
            ("masker tokenize --csv --column a=A --encoding shift_jis --delimiter |", "part of other characters"),
            ("masker tokenize --csv --column a=A --encoding latin-1 --null €", "cannot be written"),
            ("masker tokenize --csv --column a=A --on-error ignore", "keep-others"),
        ] {
            let Err(message) = plan(line) else { panic!("{line}") };
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn a_quoted_name_can_contain_an_equals_sign() {
        let plan = plan("masker tokenize --jsonl -k A --field \"a=b\" --field \"c=d\".e=F").unwrap();
        let names: Vec<&str> = plan.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["\"a=b\"", "\"c=d\".e"]);
    }

    #[test]
    fn cells_of_mysql_have_its_null() {
        let plan = plan("masker rehydrate --csv --column a --escape \\ --null NULL").unwrap();
        let InputFormat::Table(format) = plan.form else { panic!("a table") };
        assert_eq!((format.nulls, format.dialect.escape), (vec![b"NULL".to_vec(), b"\\N".to_vec()], Some(b'\\')));
    }
}
