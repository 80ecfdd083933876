//! A clinical note that goes to a model, and the model's answer that comes back.
//!
//! The model is a function of this program. It gets what a model of a provider would get: the masked note, and nothing else.

use super::DemoError;
use masker_api::{
    ItemError, TextFinding, TextMaskRequest, TextMaskResponse, TextMaskResult, TextReplacement, TextRestoreRequest,
    TextRestoreResponse, TextRestoreResult,
};
use masker_client::Client;

/// The note.
const NOTE: &str = "Maria Lopez (MRN: 00455-21) was seen on 03/14/2031 with a mild fever. Call her at (212) 555-0147.";
/// The personal data in it, by kind.
const VALUES: [(&str, &str); 4] =
    [("NAME", "Maria Lopez"), ("MRN", "00455-21"), ("DATE", "03/14/2031"), ("PHONE", "(212) 555-0147")];

/// A note on its way to a model and back.
pub(super) struct Exchange {
    /// The note.
    pub(super) note: &'static str,
    /// What the model gets.
    pub(super) masked: String,
    /// What the model answers.
    pub(super) answer: String,
    /// The answer with the values.
    pub(super) restored: String,
}

/// Masks the note, asks the model, and restores its answer.
pub(super) async fn exchange(client: &mut Client) -> Result<Exchange, DemoError> {
    let masked = mask(client).await?;
    let answer = model(&masked).ok_or_else(|| DemoError::Check("expected a name and a number to call".to_owned()))?;
    let restored = restore(client, &answer).await?;
    if restored != "Reminder: call **Maria Lopez** at (212) 555-0147, and ask about the fever." {
        return Err(DemoError::Check(format!("the answer of the model came back as {restored:?}")));
    }
    Ok(Exchange { note: NOTE, masked, answer, restored })
}

async fn mask(client: &mut Client) -> Result<String, DemoError> {
    let request = TextMaskRequest {
        text: Some(NOTE.into()),
        replace_with: TextReplacement::Placeholder,
        ..TextMaskRequest::default()
    };
    let reply = client.post("/api/v1/text/mask", &request).await?;
    let response: TextMaskResponse<'_> = reply.json()?;
    let (text, findings) = match response.results.first() {
        Some(TextMaskResult::Masked { text, findings, .. }) => (text.to_string(), findings),
        Some(TextMaskResult::Error { error }) => return Err(failed(error)),
        None => return Err(DemoError::Check("a text got no result".to_owned())),
    };
    let found = |finding: &TextFinding<'_>| {
        let range = usize::try_from(finding.start).ok()?..usize::try_from(finding.end).ok()?;
        Some((finding.kind.to_string(), NOTE.get(range)?.to_owned()))
    };
    let found: Option<Vec<(String, String)>> = findings.iter().map(found).collect();
    if found.is_none_or(|found| !found.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).eq(VALUES)) {
        return Err(DemoError::Check("other values were found in the note".to_owned()));
    }
    if VALUES.iter().any(|(_, value)| text.contains(value)) {
        return Err(DemoError::Check("a value is left in the masked note".to_owned()));
    }
    Ok(text)
}

/// Answers as models do: they change brackets and case.
fn model(prompt: &str) -> Option<String> {
    let placeholder = |kind: &str| {
        let rest = &prompt[prompt.find(&format!("[{kind}_"))? + 1..];
        rest.split_once(']').map(|(placeholder, _)| placeholder)
    };
    let (name, phone) = (placeholder("NAME")?, placeholder("PHONE")?.to_lowercase());
    Some(format!("Reminder: call **{name}** at {phone}, and ask about the fever."))
}

async fn restore(client: &mut Client, answer: &str) -> Result<String, DemoError> {
    let request = TextRestoreRequest { text: Some(answer.into()), ..TextRestoreRequest::default() };
    let reply = client.post("/api/v1/text/restore", &request).await?;
    let response: TextRestoreResponse<'_> = reply.json()?;
    match response.results.first() {
        Some(TextRestoreResult::Restored { text, .. }) => Ok(text.to_string()),
        Some(TextRestoreResult::Error { error }) => Err(failed(error)),
        None => Err(DemoError::Check("a text got no result".to_owned())),
    }
}

fn failed(error: &ItemError) -> DemoError {
    DemoError::Check(format!("a text failed with {}: {}", error.code, error.detail))
}
