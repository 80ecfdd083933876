//! `masker keys`.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    exit::Exit,
    output::yes_or_no,
    session::{CommandError, Session},
};
use crate::{
    api::KeyList,
    crypto::{GenerationKeys, SecretKey, World},
    kind::Kid,
};

#[derive(Serialize)]
struct Generated<'a> {
    kid: &'a str,
    variable: &'a str,
    key: &'a str,
    fingerprint: &'a str,
}

/// `masker keys generate`.
pub(super) fn generate(kid: &str, session: &mut Session<'_>) -> Result<Exit, CommandError> {
    let kid = Kid::parse(&kid.to_ascii_uppercase()).ok_or_else(|| {
        CommandError::Usage(
            "--kid: a key id is a letter and then at most 47 letters, digits and `_`; it does not end in `_OLD` or \
             `_FILE`, and is not `ROTATION_GRACE_DAYS`"
                .to_owned(),
        )
    })?;
    let failed = |error: &dyn std::fmt::Display| CommandError::Other(format!("no key could be made: {error}"));
    let key = SecretKey::generate(&mut rand::rng()).map_err(|error| failed(&error))?;
    let fingerprint = GenerationKeys::derive(kid, &key, World::Live).map_err(|error| failed(&error))?.fingerprint();
    let (variable, fingerprint) = (format!("MASKER_KEY_{kid}"), fingerprint.to_string());
    let key = key.to_base64();
    let output = &mut session.output;
    if output.is_json() {
        output.json(&Generated { kid: kid.as_str(), variable: &variable, key: &key, fingerprint: &fingerprint })?;
    } else {
        output.line(&Zeroizing::new(format!("{variable}={}", *key)))?;
    }
    output.flush()?;
    output.note(&format!("its fingerprint, by which `masker keys status` names it: {fingerprint}"));
    Ok(Exit::Done)
}

/// `masker keys status`.
pub(super) async fn status(session: &mut Session<'_>) -> Result<Exit, CommandError> {
    let reply = session.get("/api/v1/keys").await?;
    let list: KeyList = reply.json()?;
    let output = &mut session.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = list.keys.into_iter().map(|key| {
        vec![
            key.kid,
            key.generation,
            key.fingerprint,
            yes_or_no(key.loaded),
            key.vault_records.to_string(),
            dash(key.first_seen),
            dash(key.old_since),
            dash(key.grace_ends),
            dash(key.last_used),
            yes_or_no(key.removable),
            key.reason,
        ]
    });
    let header = [
        "KID",
        "GENERATION",
        "FINGERPRINT",
        "LOADED",
        "RECORDS",
        "FIRST SEEN",
        "OLD SINCE",
        "GRACE ENDS",
        "LAST USED",
        "REMOVABLE",
        "WHY",
    ];
    output.table(&header, rows.collect())?;
    Ok(Exit::Done)
}
