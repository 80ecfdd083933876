//! Strings of requests and responses, borrowed from the body if possible.

use std::{borrow::Cow, ops::Deref};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A string of a request or response. It borrows from the body unless the JSON has escapes. An owned copy is wiped when
/// it is dropped. It has no `Debug`, because it may be personal data.
#[derive(Deserialize, Serialize, Default, Clone, PartialEq, Eq)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl utoipa::PartialSchema for Text<'_> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Text<'_> {}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_escapes_is_not_copied() {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            plain: Option<Text<'a>>,
            #[serde(borrow)]
            escaped: Text<'a>,
        }
        let body: Body<'_> = serde_json::from_str(r#"{"plain": "a", "escaped": "a\n"}"#).unwrap();
        assert!(matches!(body.plain.as_ref().map(|t| &t.0), Some(Cow::Borrowed("a"))));
        assert!(matches!(&body.escaped.0, Cow::Owned(t) if t == "a\n"));
    }
}
