//! Requests and responses of the operations on texts: mask, restore, detect.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ItemError, Text};

/// The request of `mask` and `detect`. `detect` ignores `replace_with`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct TextMaskRequest<'a> {
    /// A text. Give either `text` or `texts`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Call Maria Lopez at (212) 555-0147.")]
    pub text: Option<Text<'a>>,
    /// Several texts: at most 10,000.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub texts: Option<Vec<Text<'a>>>,
    /// The policy to use; the configured default if absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "healthcare-default")]
    pub policy: Option<Text<'a>>,
    /// The context of every value: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "clinic-7")]
    pub context: Option<Text<'a>>,
    /// A language of the policy, such as `de`, whose labels and months are used; all of the policy's languages if absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "en")]
    pub language: Option<Text<'a>>,
    /// The unit of `start` and `end` in the response.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offsets: TextOffsets,
    /// Whether findings say what led to them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub explain: bool,
    /// What replaces values of kinds that the policy tokenizes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace_with: TextReplacement,
    /// What the texts are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: TextFormat,
}

/// The request of `restore`.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct TextRestoreRequest<'a> {
    /// A text. Give either `text` or `texts`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub text: Option<Text<'a>>,
    /// Several texts: at most 10,000.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub texts: Option<Vec<Text<'a>>>,
    /// The context of every token and placeholder: 0 to 256 bytes.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "clinic-7")]
    pub context: Option<Text<'a>>,
    /// The unit of `start` and `end` in the response.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offsets: TextOffsets,
    /// What the texts are. In JSON, only string values are restored, and values are escaped where the document would not
    /// stay JSON otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: TextFormat,
}

/// The unit of offsets in texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextOffsets {
    /// Bytes of UTF-8.
    #[default]
    Bytes,
    /// Unicode characters (code points).
    Chars,
    /// UTF-16 code units, as in JavaScript and Java.
    Utf16,
}

/// What replaces values of kinds that the policy tokenizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextReplacement {
    /// The token.
    #[default]
    Token,
    /// A placeholder such as `[PHONE_7F3KQ2XA]`, which only the session or the caller can restore.
    Placeholder,
}

/// What a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextFormat {
    /// Any text: notes, chats, HTML, Markdown.
    #[default]
    Plain,
    /// A JSON document. Only its string values change; keys, order, white space and escapes stay.
    Json,
}

/// The response of `mask`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextMaskResponse<'a> {
    /// One result for each text, in the order of the request.
    #[serde(borrow)]
    pub results: Vec<TextMaskResult<'a>>,
    /// The unit of `start` and `end`.
    pub offsets: TextOffsets,
}

/// The result of masking one text.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextMaskResult<'a> {
    /// The text is masked.
    Masked {
        /// The masked text.
        #[serde(borrow)]
        #[schema(value_type = String)]
        text: Text<'a>,
        /// What was found, in the order of the text.
        #[serde(borrow)]
        findings: Vec<TextFinding<'a>>,
        /// Tokens and placeholders that were in the text already and stay as they are.
        existing: u64,
    },
    /// The text was not masked.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// The response of `detect`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextDetectResponse<'a> {
    /// One result for each text, in the order of the request.
    #[serde(borrow)]
    pub results: Vec<TextDetectResult<'a>>,
    /// The unit of `start` and `end`.
    pub offsets: TextOffsets,
}

/// The result of searching one text.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextDetectResult<'a> {
    /// The text was searched.
    Detected {
        /// What was found, in the order of the text. `token` and `placeholder` are absent.
        #[serde(borrow)]
        findings: Vec<TextFinding<'a>>,
        /// Tokens and placeholders in the text.
        existing: u64,
    },
    /// The text was not searched to its end.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// Personal data in a text.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextFinding<'a> {
    /// Where it begins in the text of the request.
    #[schema(example = 19)]
    pub start: u64,
    /// Where it ends: the offset after its last character.
    #[schema(example = 33)]
    pub end: u64,
    /// The kind, such as `PHONE`.
    #[serde(borrow)]
    #[schema(value_type = String, example = "PHONE")]
    pub kind: Text<'a>,
    /// What the policy does with it.
    pub action: TextAction,
    /// The token, if it was tokenized.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token: Option<Text<'a>>,
    /// The placeholder in the masked text, if the request asked for placeholders.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "[PHONE_7F3KQ2XA]")]
    pub placeholder: Option<Text<'a>>,
    /// The confidence of the detector, from 0 to 1.
    #[schema(example = 0.95)]
    pub confidence: f64,
    /// The rule or the policy's recognizer that decided, such as `phone-nanp`.
    #[serde(borrow)]
    #[schema(value_type = String, example = "phone-nanp")]
    pub rule: Text<'a>,
    /// What led to the finding, if the request asked for it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub why: Option<TextWhy<'a>>,
}

/// What a policy does with a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextAction {
    /// A token or a placeholder replaces it.
    Tokenize,
    /// `[REDACTED:KIND]` replaces it: the policy redacts the kind, does not name it, or refuses the value.
    Redact,
    /// It stays in the text.
    Passthrough,
}

/// What led to a finding. It contains no part of the text.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextWhy<'a> {
    /// The strength of the evidence: `listed`, `validated`, `labelled`, `pattern` or `model`.
    #[serde(borrow)]
    #[schema(value_type = String, example = "labelled")]
    pub evidence: Text<'a>,
    /// Where the label is that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<TextSpan>,
    /// The check that the value passed, such as `modulo 97`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub check: Option<Text<'a>>,
    /// Whether the value was read through an encoding: entities, escapes, invisible characters, spelled-out digits.
    pub rewritten: bool,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct TextSpan {
    /// Where it begins in the text of the request.
    pub start: u64,
    /// Where it ends: the offset after its last character.
    pub end: u64,
}

/// The response of `restore`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextRestoreResponse<'a> {
    /// One result for each text, in the order of the request.
    #[serde(borrow)]
    pub results: Vec<TextRestoreResult<'a>>,
    /// The unit of `start` and `end`.
    pub offsets: TextOffsets,
}

/// The result of restoring one text.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextRestoreResult<'a> {
    /// The text, restored as far as possible.
    Restored {
        /// The text.
        #[serde(borrow)]
        #[schema(value_type = String)]
        text: Text<'a>,
        /// Tokens and placeholders that were replaced by their values.
        restored: u64,
        /// Those that stay in the text, in its order.
        unrestored: Vec<TextUnrestored>,
    },
    /// The text was not restored.
    Error {
        /// The failure.
        error: ItemError,
    },
}

/// A token or a placeholder that stays in the text.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextUnrestored {
    /// Where it begins in the text of the request.
    pub start: u64,
    /// Where it ends: the offset after its last character.
    pub end: u64,
    /// Why: a stable code, such as `token.not_found`, or `placeholder.check` for a wrong check character.
    #[schema(example = "placeholder.check")]
    pub reason: String,
}

/// The first line of a stream to mask.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TextMaskStreamOptions {
    /// The policy to use; the configured default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The context of every value: 0 to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// A language of the policy that counts first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The unit of `start` and `end`, which are offsets in the whole text.
    #[serde(skip_serializing_if = "is_default")]
    pub offsets: TextOffsets,
    /// Whether findings say what led to them.
    #[serde(skip_serializing_if = "is_default")]
    pub explain: bool,
    /// What replaces values of kinds that the policy tokenizes.
    #[serde(skip_serializing_if = "is_default")]
    pub replace_with: TextReplacement,
}

/// The first line of a stream to restore.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TextRestoreStreamOptions {
    /// The context of every token and placeholder: 0 to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The unit of `start` and `end`, which are offsets in the whole text.
    #[serde(skip_serializing_if = "is_default")]
    pub offsets: TextOffsets,
}

/// A further line of a stream: a part of its text. Parts can be split anywhere between two characters.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextStreamPart {
    /// The part.
    pub text: String,
}

/// A line of the answer to a stream that is masked.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextMaskStreamPart<'a> {
    /// The next part of the masked text.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub text: Text<'a>,
    /// What was found in it, with offsets in the whole text of the request.
    #[serde(borrow)]
    pub findings: Vec<TextFinding<'a>>,
    /// Tokens and placeholders that were in it already.
    pub existing: u64,
}

/// A line of the answer to a stream that is restored.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextRestoreStreamPart<'a> {
    /// The next part of the text.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub text: Text<'a>,
    /// Tokens and placeholders in it that were replaced by their values.
    pub restored: u64,
    /// Those that stay, with offsets in the whole text of the request.
    pub unrestored: Vec<TextUnrestored>,
}

/// The last line of the answer to a stream: all parts were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct TextStreamEnd {
    /// `true`.
    pub end: bool,
    /// The length of the text of the request, in bytes.
    pub bytes: u64,
}

/// The last line of the answer to a stream that failed: the parts before it are not the whole text.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct TextStreamError {
    /// The failure.
    pub error: ItemError,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_defaults_and_no_other_fields() {
        let request: TextMaskRequest<'_> = serde_json::from_str(r#"{"text": "a\n"}"#).unwrap();
        assert_eq!(request.text.as_deref(), Some("a\n"));
        assert_eq!((request.offsets, request.explain), (TextOffsets::Bytes, false));
        assert_eq!((request.replace_with, request.format), (TextReplacement::Token, TextFormat::Plain));
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"text":"a\n"}"#);
        let every = r#"{"texts":["a"],"policy":"p","context":"c","language":"de","offsets":"utf16","explain":true,"replace_with":"placeholder","format":"json"}"#;
        let request: TextMaskRequest<'_> = serde_json::from_str(every).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), every);
        for body in [r#"{"text": "a", "x": 1}"#, r#"{"offsets": "words"}"#, r#"{"text": 1}"#, r#"{"texts": [null]}"#] {
            assert!(serde_json::from_str::<TextMaskRequest<'_>>(body).is_err(), "{body}");
            assert!(serde_json::from_str::<TextRestoreRequest<'_>>(body).is_err(), "{body}");
        }
    }

    #[test]
    fn results_and_errors_are_told_apart() {
        let response: TextMaskResponse<'_> = serde_json::from_str(
            r#"{"results": [{"text": "a", "findings": [], "existing": 0}, {"error": {"code": "text.too_long", "detail": "d"}}], "offsets": "bytes"}"#,
        )
        .unwrap();
        assert!(matches!(&response.results[0], TextMaskResult::Masked { text, .. } if &**text == "a"));
        assert!(matches!(&response.results[1], TextMaskResult::Error { error } if error.code == "text.too_long"));
    }
}
