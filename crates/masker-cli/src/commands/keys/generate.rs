//! `masker keys generate`.

use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use super::parse_kid;
use crate::{
    args::GenerateArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    key_files::{self, KeyPaths, fingerprint_of},
};

/// The key id of a key whose file does not name one.
const KID_DEFAULT: &str = "K_HEALTHCARE";

#[derive(Serialize)]
struct GeneratedKey<'a> {
    kid: &'a str,
    variable: &'a str,
    key: &'a str,
    fingerprint: &'a str,
}

/// A key that is in a file.
#[derive(Serialize)]
struct WrittenKey<'a> {
    kid: &'a str,
    file: &'a Path,
    fingerprint: &'a str,
}

/// Runs the command.
pub(super) fn run(args: &GenerateArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let paths = args.output.as_deref().and_then(KeyPaths::of_active);
    let kid = match (&args.kid, &paths) {
        (Some(named), Some((kid, _))) if parse_kid(named)? != *kid => {
            return Err(CommandError::Usage(format!(
                "--output names a file of the key {kid}, and --kid the key {named}: a daemon takes the key id from the file's name"
            )));
        }
        (Some(kid), _) => parse_kid(kid)?,
        (None, Some((kid, _))) => *kid,
        (None, None) => parse_kid(KID_DEFAULT)?,
    };
    if let Some((_, paths)) = &paths
        && paths.old.exists()
        && !paths.active.exists()
    {
        return Err(CommandError::Other(format!("no key was generated: {}", paths.only_old_text())));
    }
    let key = key_files::generate()?;
    let fingerprint = fingerprint_of(kid, &key);
    let Some(file) = &args.output else {
        let variable = format!("MASKER_KEY_{kid}");
        let key = key.to_base64();
        if ctx.output.is_json() {
            let (kid, key) = (kid.as_str(), key.expose_secret());
            ctx.output.json(&GeneratedKey { kid, variable: &variable, key, fingerprint: &fingerprint })?;
        } else {
            ctx.output.line(&Zeroizing::new(format!("{variable}={}", key.expose_secret())))?;
        }
        ctx.output.flush()?;
        ctx.output.note(&format!("the fingerprint of the key: {fingerprint}"));
        return Ok(Exit::Done);
    };
    key_files::create(file, &key, None)?;
    if ctx.output.is_json() {
        ctx.output.json(&WrittenKey { kid: kid.as_str(), file, fingerprint: &fingerprint })?;
    } else {
        ctx.output.line(&fingerprint)?;
    }
    ctx.output.flush()?;
    ctx.output.note(&format!(
        "{} has a new key of {kid}, with this fingerprint. Store a copy of it away from this host, before anything else",
        file.display()
    ));
    Ok(Exit::Done)
}
