//! `masker report`: a report on a period. The daemon makes it; HTML and PDF are rendered here.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::{
    args::{ReportArgs, ReportFormatArg},
    context::{CommandContext, CommandError},
    destination,
    exit::Exit,
    format::io_error,
    url::encode,
};
use masker_api::{Report, ReportVerification};
use masker_files::PendingFile;
use masker_report::{html, pdf};

/// The name of standard output.
const STANDARD: &str = "-";

/// `masker report`.
pub(super) async fn run(args: &ReportArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let file = args.output.as_deref().filter(|path| *path != Path::new(STANDARD));
    let format = format(args, file, ctx.output.is_json())?;
    if file.is_none() && format == ReportFormatArg::Pdf && ctx.output.is_terminal() {
        let message = "a PDF does not belong on a terminal: name a file with --output, or redirect standard output";
        return Err(CommandError::Usage(message.to_owned()));
    }
    if file.is_some_and(|path| path.metadata().is_ok_and(|found| !found.is_file())) {
        return Err(CommandError::Usage("--output: it is not a file; redirect standard output instead".to_owned()));
    }
    if let Some(path) = file {
        destination::check(path, ctx)?;
    }
    let (bytes, is_verified) = made(args, format, ctx).await?;
    match file {
        Some(path) => write(path, &bytes).map_err(|error| write_error(path, &error))?,
        None => ctx.output.bytes(&bytes)?,
    }
    if is_verified {
        return Ok(Exit::Done);
    }
    ctx.output.error("masker: the audit log does not verify: the report says where; `masker audit verify` examines it");
    Ok(Exit::Failure)
}

/// Returns the format that is asked for, or else that of the suffix of the file, or else JSON.
fn format(args: &ReportArgs, file: Option<&Path>, is_json: bool) -> Result<ReportFormatArg, CommandError> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    let Some(file) = file.filter(|_| !is_json) else { return Ok(ReportFormatArg::Json) };
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
    match &*suffix {
        "json" => Ok(ReportFormatArg::Json),
        "csv" => Ok(ReportFormatArg::Csv),
        "html" | "htm" => Ok(ReportFormatArg::Html),
        "pdf" => Ok(ReportFormatArg::Pdf),
        _ => {
            let message = "--output: the suffix is not .json, .csv, .html or .pdf: name the format with --format";
            Err(CommandError::Usage(message.to_owned()))
        }
    }
}

/// Returns the report, and whether the audit log verifies.
async fn made(
    args: &ReportArgs,
    format: ReportFormatArg,
    ctx: &mut CommandContext<'_>,
) -> Result<(Vec<u8>, bool), CommandError> {
    let mut path = format!("/api/v1/reports?since={}", encode(&args.since));
    if let Some(until) = &args.until {
        path.push_str(&format!("&until={}", encode(until)));
    }
    if args.full {
        path.push_str("&full=true");
    }
    if format == ReportFormatArg::Csv {
        let table = ctx.client().await?.text(&format!("{path}&format=csv")).await?;
        let is_verified = !table.contains("\nreport,,,verification,,,,,,,,,,,,failed");
        return Ok((table.into_bytes(), is_verified));
    }
    let reply = ctx.get(&path).await?;
    let report: Report = reply.json()?;
    let is_verified = report.log.verification == ReportVerification::Verified;
    let failed = |error: masker_report::RenderError| CommandError::Other(error.to_string());
    let bytes = match format {
        ReportFormatArg::Html => html(&report).map_err(failed)?.into_bytes(),
        ReportFormatArg::Pdf => pdf(&report).map_err(failed)?,
        ReportFormatArg::Json | ReportFormatArg::Csv => [reply.body(), b"\n"].concat(),
    };
    Ok((bytes, is_verified))
}

/// Writes a file that only this user can read. It gets its name once it is on disk, and replaces one of that name.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of a link, the file that it leads to is replaced.
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    let mut file = PendingFile::create(&target)?;
    file.write_all(bytes)?;
    file.persist(true)
}

fn write_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("failed to write {}: {}", path.display(), io_error(error)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn args(format: Option<ReportFormatArg>, output: &str) -> ReportArgs {
        let output = Some(PathBuf::from(output)).filter(|path| !path.as_os_str().is_empty());
        ReportArgs { since: "7d".to_owned(), until: None, format, output, full: false }
    }

    #[test]
    fn the_format_is_that_of_the_option_or_of_the_file() {
        let of = |wanted, output: &str| {
            let args = args(wanted, output);
            format(&args, args.output.as_deref(), false)
        };
        assert_eq!(of(None, "").ok(), Some(ReportFormatArg::Json));
        assert_eq!(of(None, "weekly.pdf").ok(), Some(ReportFormatArg::Pdf));
        assert_eq!(of(None, "weekly.HTML").ok(), Some(ReportFormatArg::Html));
        assert_eq!(of(None, "a/weekly.csv").ok(), Some(ReportFormatArg::Csv));
        assert_eq!(of(Some(ReportFormatArg::Html), "weekly.pdf").ok(), Some(ReportFormatArg::Html));
        let error = of(None, "weekly").unwrap_err();
        assert_eq!((error.exit(), error.to_string().contains("--format")), (Exit::Usage, true));
    }

    #[test]
    fn a_report_is_private_and_replaces_one_of_its_name() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weekly.pdf");
        fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
