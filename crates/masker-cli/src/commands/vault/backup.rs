//! `masker vault export`, `import` and `inspect`.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    args::{ExportArgs, ImportArgs},
    context::{CommandContext, CommandError},
    destination,
    exit::Exit,
    format::io_error,
    offline::MissingKey,
    output::{Output, yes_or_no},
    progress::Progress,
};
use masker_api::{ImportReport, KeyList};
use masker_core::export::{ExportError, ExportHeader, PREFIX_BYTES};
use masker_files::PendingFile;

/// The path that means standard input or standard output.
const STANDARD: &str = "-";
/// What an export does not have.
const LEFT_OUT: &str = "an export has records and tombstones: API keys, honeytokens, sessions and the register of keys are not in \
                        it. `masker backup create` saves them too";
/// The error of an export whose header is incomplete.
const CUT_SHORT: ExportError = ExportError::Damaged("it ends within its header");

/// The header of an export.
#[derive(Serialize)]
pub(in crate::commands) struct ExportDescription {
    pub(in crate::commands) vault_id: String,
    created_at: Option<String>,
    pub(in crate::commands) keys: Vec<ExportKey>,
}

/// A key that seals records of an export, or opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct ExportKey {
    pub(in crate::commands) kid: String,
    pub(in crate::commands) fingerprint: String,
    /// Records under it when the export began.
    pub(in crate::commands) records: u64,
    /// Whether it opens the export.
    pub(in crate::commands) opens: bool,
}

impl ExportDescription {
    /// Describes a header.
    fn of(header: &ExportHeader) -> Self {
        let created_at = i64::try_from(header.created_at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let keys = header.keys.iter().map(|key| ExportKey {
            kid: key.kid.to_string(),
            fingerprint: key.fingerprint.to_string(),
            records: key.records,
            opens: key.wrapped.is_some(),
        });
        ExportDescription {
            vault_id: HEXLOWER.encode(&header.vault_id),
            created_at: created_at.map(|at| at.to_string()),
            keys: keys.collect(),
        }
    }

    /// Describes the export that begins with these bytes. Returns `None` if its header is incomplete.
    ///
    /// # Errors
    /// The header is invalid.
    fn parse(beginning: &[u8]) -> Result<Option<Self>, ExportError> {
        let Some((prefix, rest)) = beginning.split_first_chunk() else { return Ok(None) };
        let fields = rest.get(..ExportHeader::fields_bytes(prefix)?);
        fields.map(|fields| ExportHeader::parse_fields(fields).map(|header| Self::of(&header))).transpose()
    }

    /// Reads the header of an export from `source`, which is the file at `path` or standard input.
    pub(in crate::commands) fn read(mut source: impl Read, path: &Path) -> Result<Self, CommandError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid_export(path, &CUT_SHORT),
            _ if path == Path::new(STANDARD) => CommandError::Input(error),
            _ => read_error(path, &error),
        };
        let invalid = |error: ExportError| invalid_export(path, &error);
        let mut prefix = [0; PREFIX_BYTES];
        source.read_exact(&mut prefix).map_err(failed)?;
        let mut fields = vec![0; ExportHeader::fields_bytes(&prefix).map_err(invalid)?];
        source.read_exact(&mut fields).map_err(failed)?;
        Ok(Self::of(&ExportHeader::parse_fields(&fields).map_err(invalid)?))
    }

    pub(in crate::commands) fn records(&self) -> u64 {
        // Nothing vouches for the numbers of a file.
        self.keys.iter().fold(0, |records, key| records.saturating_add(key.records))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            vec!["vault".to_owned(), self.vault_id.clone()],
            vec!["created at".to_owned(), self.created_at.clone().unwrap_or_else(|| "-".to_owned())],
            vec!["records when it began".to_owned(), self.records().to_string()],
        ];
        for key in &self.keys {
            let opens = if key.opens { ", which opens the file" } else { "" };
            rows.push(vec![format!("records under {} {}{opens}", key.kid, key.fingerprint), key.records.to_string()]);
        }
        rows
    }
}

/// The result of `masker vault export`, as `--json` prints it.
#[derive(Serialize)]
struct ExportReport<'a> {
    file: &'a str,
    bytes: u64,
    #[serde(flatten)]
    description: ExportDescription,
    missing_keys: Vec<MissingKey>,
}

/// `masker vault export`.
pub(super) async fn export(args: &ExportArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let to_standard_output = args.output == Path::new(STANDARD);
    if to_standard_output && ctx.output.is_terminal() {
        let message = "--output: an export is binary and cannot be written to a terminal: use a file, or redirect standard output";
        return Err(CommandError::Usage(message.to_owned()));
    }
    if !to_standard_output {
        destination::check_with_daemon(&args.output, ctx).await?;
    }
    let mut target = if to_standard_output { None } else { Some(create(&args.output, args.force)?) };
    let (description, bytes) = download(ctx, "/api/v1/vault/export", |piece, ctx| match &mut target {
        Some(target) => target.write_all(piece).map_err(|error| write_error(&args.output, &error)),
        None => ctx.output.bytes(piece),
    })
    .await?;
    if let Some(target) = target {
        target.persist(args.force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&args.output),
            _ => write_error(&args.output, &error),
        })?;
    }
    let missing_keys = missing_keys("export", "An import", ctx).await;
    let output = &mut ctx.output;
    let file = args.output.to_string_lossy();
    output.note(LEFT_OUT);
    if to_standard_output {
        output.flush()?;
        output.note(&format!("at least {} records in {bytes} bytes", description.records()));
    } else if output.is_json() {
        output.json(&ExportReport { file: &file, bytes, description, missing_keys })?;
    } else {
        let mut rows = vec![vec!["file".to_owned(), file.into_owned()], vec!["bytes".to_owned(), bytes.to_string()]];
        rows.extend(description.rows());
        output.table(&["EXPORT", ""], rows)?;
    }
    Ok(Exit::Done)
}

/// Downloads an export. Returns its description and its length in bytes.
pub(in crate::commands) async fn download(
    ctx: &mut CommandContext<'_>,
    path: &str,
    mut write: impl FnMut(&[u8], &mut CommandContext<'_>) -> Result<(), CommandError>,
) -> Result<(ExportDescription, u64), CommandError> {
    let mut download = ctx.download(path).await?;
    let progress = Progress::bytes(None, "exported", &ctx.output);
    let invalid = |error: ExportError| CommandError::Other(format!("the daemon sent no valid export: {error}"));
    // Kept until the header is complete.
    let mut beginning = Vec::new();
    let mut description = None;
    let mut bytes = 0;
    while let Some(piece) = download.next().await? {
        write(&piece, ctx)?;
        bytes += piece.len() as u64;
        progress.advance(piece.len() as u64);
        if description.is_none() {
            beginning.extend_from_slice(&piece);
            description = ExportDescription::parse(&beginning).map_err(invalid)?;
        }
    }
    progress.finish();
    Ok((description.ok_or(CUT_SHORT).map_err(invalid)?, bytes))
}

/// Returns the keys that records of the daemon's vault need and that it has not loaded, and warns of them. `what` is the file
/// that was made, and `user` what needs the keys. The file is complete without the answer.
pub(in crate::commands) async fn missing_keys(what: &str, user: &str, ctx: &mut CommandContext<'_>) -> Vec<MissingKey> {
    let list = match ctx.get("/api/v1/keys").await {
        Ok(reply) => reply.json::<KeyList>().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let keys = match list {
        Ok(list) => list.keys,
        Err(error) => {
            ctx.output
                .note(&format!("it is not known whether records need keys that the daemon has not loaded: {error}"));
            return Vec::new();
        }
    };
    let missing: Vec<MissingKey> = keys
        .into_iter()
        .filter(|key| !key.loaded && key.vault_records > 0)
        .map(|key| MissingKey { kid: key.kid, fingerprint: key.fingerprint, records: key.vault_records })
        .collect();
    if !missing.is_empty() {
        ctx.output.note(&format!(
            "warning: records of this {what} need keys that the daemon has not loaded: {}. {user} needs these keys, or leaves these \
             records out with --skip-missing-keys",
            MissingKey::counted(&missing)
        ));
    }
    missing
}

/// Creates the file of an export. It gets its name when it is complete and on disk. With `force` it replaces an earlier export.
fn create(path: &Path, force: bool) -> Result<PendingFile, CommandError> {
    match path.symlink_metadata() {
        Err(_) => {}
        Ok(_) if !force => return Err(exists(path)),
        Ok(found) => {
            if !found.is_file() {
                return Err(not_replaced(path, "is not a regular file"));
            }
            let file = File::open(path).map_err(|error| read_error(path, &error))?;
            if ExportDescription::read(file, path).is_err() {
                return Err(not_replaced(path, "does not begin as an export does"));
            }
        }
    }
    PendingFile::create(path).map_err(|error| write_error(path, &error))
}

fn not_replaced(path: &Path, why: &str) -> CommandError {
    CommandError::Other(format!(
        "{} {why}, and --force replaces only an export of masker: use another name, or move the file away",
        path.display()
    ))
}

fn exists(path: &Path) -> CommandError {
    CommandError::Other(format!("{} exists already: use another name or --force", path.display()))
}

fn write_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("failed to write {}: {}", path.display(), io_error(error)))
}

/// `masker vault import`.
pub(super) async fn import(args: &ImportArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let from_standard_input = args.file == Path::new(STANDARD);
    let open = || File::open(&args.file).map_err(|error| read_error(&args.file, &error));
    let (source, length): (Box<dyn Read + Send>, Option<u64>) = if from_standard_input {
        (Box::new(io::stdin()), None)
    } else {
        // A file that is not an export is rejected before it is sent.
        ExportDescription::read(open()?, &args.file)?;
        let file = open()?;
        let length = file.metadata().map_err(|error| read_error(&args.file, &error))?.len();
        (Box::new(file), Some(length))
    };
    let rules = [(args.restore_erased, "restore_erased=true"), (args.skip_missing_keys, "skip_missing_keys=true")];
    let query: Vec<&str> = rules.into_iter().filter_map(|(is_set, rule)| is_set.then_some(rule)).collect();
    let path = match query.is_empty() {
        true => "/api/v1/vault/import".to_owned(),
        false => format!("/api/v1/vault/import?{}", query.join("&")),
    };
    let progress = Progress::bytes(length, "sent", &ctx.output);
    let reply = ctx.upload(&path, source, length, progress).await?;
    let report: ImportReport = reply.json()?;
    let exit = if report.damaged == 0 { Exit::Done } else { Exit::Failure };
    show_import(&report, &mut ctx.output)?;
    Ok(exit)
}

fn read_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("failed to read {}: {}", path.display(), io_error(error)))
}

fn invalid_export(path: &Path, error: &ExportError) -> CommandError {
    let source = if path == Path::new(STANDARD) { "standard input".into() } else { path.to_string_lossy() };
    CommandError::Other(format!("{source}: {error}"))
}

/// `masker vault inspect`.
pub(super) fn inspect(file: &Path, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let description = if file == Path::new(STANDARD) {
        ExportDescription::read(io::stdin(), file)?
    } else {
        ExportDescription::read(File::open(file).map_err(|error| read_error(file, &error))?, file)?
    };
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&description)?;
    } else {
        output.table(&["EXPORT", ""], description.rows())?;
    }
    output.flush()?;
    output.note("the header is not authenticated: verifying it needs one of the keys");
    Ok(Exit::Done)
}

fn show_import(report: &ImportReport, output: &mut Output) -> Result<(), CommandError> {
    if output.is_json() {
        output.json(report)?;
        return Ok(());
    }
    let rows = [
        ("sound", yes_or_no(report.damaged == 0)),
        ("records in the export", report.records.to_string()),
        ("imported", report.imported.to_string()),
        ("of these, resealed under the active key", report.resealed.to_string()),
        ("of these, erased before and restored", report.restored.to_string()),
        ("already present", report.present.to_string()),
        ("conflicts: the vault's record is kept", report.conflicts.to_string()),
        ("values that also have another token here", report.index_conflicts.to_string()),
        ("left out: no room for another token", report.rows_failed.to_string()),
        ("skipped: erased", report.erased_skipped.to_string()),
        ("skipped: damaged in the exported vault", report.damaged.to_string()),
        ("skipped: their key is not loaded", report.key_missing.to_string()),
        ("tombstones in the export", report.tombstones.to_string()),
        ("tombstones written", report.tombstones_added.to_string()),
        ("tombstones skipped: the vault has the record", report.records_kept.to_string()),
    ];
    output.table(&["IMPORT", ""], rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec())?;
    output.flush()?;
    if report.erased_skipped > 0 {
        output.note("erased records were skipped: use --restore-erased to restore them");
    }
    if report.key_missing > 0 {
        output.note("records whose key is not loaded were skipped: they stay in the export. Import it again once their key is back");
    }
    if report.control_rows > 0 {
        output.note(
            "API keys, honeytokens, sessions and the register of keys were left out: only `masker backup restore` restores them",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_core::{
        crypto::{Fingerprint, export::SALT_BYTES},
        export::HeaderKey,
    };
    use masker_types::kind::Kid;

    /// Returns a header with one key for each number of records.
    fn header(records: &[u64]) -> Vec<u8> {
        let (kid, fingerprint) = (Kid::parse("K").unwrap(), Fingerprint::from_bytes([3; 8]));
        let keys = records.iter().map(|records| HeaderKey { kid, fingerprint, records: *records, wrapped: None });
        let keys = keys.collect();
        ExportHeader { vault_id: [1; 16], created_at_ms: 2, salt: [0; SALT_BYTES], keys }.encode()
    }

    #[test]
    fn a_header_is_incomplete_up_to_its_last_byte_and_invalid_from_its_first() {
        let header = header(&[7]);
        for length in 0..header.len() {
            assert!(ExportDescription::parse(&header[..length]).is_ok_and(|found| found.is_none()), "{length} bytes");
        }
        let rest = [&header[..], b"payload"].concat();
        assert_eq!(ExportDescription::parse(&rest).unwrap().unwrap().records(), 7);
        assert_eq!(ExportDescription::parse(&[b'?'; PREFIX_BYTES]).err(), Some(ExportError::Foreign));
    }

    #[test]
    fn forged_numbers_of_records_do_not_overflow() {
        let forged = ExportDescription::parse(&header(&[u64::MAX, 1])).unwrap().unwrap();
        assert_eq!(forged.records(), u64::MAX);
    }

    #[test]
    fn errors_of_a_file_name_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk failed"))
            }
        }
        let message = |error: Option<CommandError>| error.unwrap().to_string();
        let (file, standard) = (Path::new("a.export"), Path::new(STANDARD));
        assert_eq!(message(ExportDescription::read(Broken, file).err()), "failed to read a.export: the disk failed");
        let of_standard = "failed to read standard input: the disk failed";
        assert_eq!(message(ExportDescription::read(Broken, standard).err()), of_standard);
        let short = message(ExportDescription::read(&header(&[7])[..40], file).err());
        assert!(short.starts_with("a.export: ") && short.contains("within its header"), "{short}");
    }
}
