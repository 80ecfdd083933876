//! Personal data in texts: mask, restore, detect.

mod access;
mod command_ends;
mod commands;
mod formats;
mod mask;
pub(crate) mod open_stream;
mod open_streams;
mod placeholders;
mod policies;
mod properties;
mod stream;

use serde_json::{Value, json};

use super::harness::{Client, Launch, Site, TestKey, shape_of};

const MASK: &str = "/api/v1/text/mask";
const RESTORE: &str = "/api/v1/text/restore";
const DETECT: &str = "/api/v1/text/detect";
pub(crate) const MASK_STREAM: &str = "/api/v1/text/mask/stream";
pub(crate) const RESTORE_STREAM: &str = "/api/v1/text/restore/stream";

/// A policy for texts: the default of each site here.
const NOTES: &str = r#"
name = "notes"
version = 1
kid = "K_CARE"
tokenization = "vault-deterministic"

[entities.NAME]
normalize = "casefold"
[entities.PHONE]
normalize = "phone_nanp"
[entities.EMAIL]
[entities.SSN]
context = "required"
[entities.MRN]
[entities.DATE]
[entities.DOB]
[entities.CARD]
kid = "k_pay"
tokenization = "reversible-aead"
deterministic = false
[entities.LOCATION]
action = "passthrough"
[entities.SECRET]
action = "redact"
[entities.TICKET]
[[recognizer]]
name = "ticket"
kind = "TICKET"
regex = 'TCK-[0-9]{6}'
"#;

const NOTE: &str = "Maria Lopez (MRN: 00455-21) called from (212) 555-0147, her mail is maria.lopez@mail-host.net.";

/// Returns a site with the policy [`NOTES`].
fn notes() -> Site {
    let mut site = Site::new();
    site.policy("notes.toml", NOTES);
    site.set("policy", "default", "\"notes\"");
    site
}

/// Starts with an audit log.
fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

/// Asks about texts, and returns the results: one for each.
fn ask_all(client: &mut Client, path: &str, body: &Value, texts: usize) -> Vec<Value> {
    let mut answer = client.post(path, body).ok();
    assert_eq!(shape_of(&answer), ["offsets", "results"], "{answer}");
    assert_eq!(answer["offsets"], body.get("offsets").cloned().unwrap_or_else(|| json!("bytes")));
    let Value::Array(results) = answer["results"].take() else { panic!("results are a list") };
    assert_eq!(results.len(), texts, "one result for each text");
    results
}

/// Asks about one text. `more` are further fields of the request.
fn ask(client: &mut Client, path: &str, text: &str, more: Value) -> Value {
    let mut body = json!({ "text": text });
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("as written above").extend(more);
    ask_all(client, path, &body, 1).remove(0)
}

/// Masks a text, and returns it.
fn mask(client: &mut Client, text: &str, more: Value) -> String {
    let result = ask(client, MASK, text, more);
    result["text"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// Restores a text whole.
fn restore(client: &mut Client, text: &str, more: Value) -> String {
    let result = ask(client, RESTORE, text, more);
    assert_eq!(result["unrestored"], json!([]), "{result}");
    result["text"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// Returns the kinds of findings.
fn kinds(result: &Value) -> Vec<&str> {
    let findings = result["findings"].as_array().unwrap_or_else(|| panic!("{result}"));
    findings.iter().map(|finding| finding["kind"].as_str().expect("a kind")).collect()
}
