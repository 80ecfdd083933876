//! Tokens: each token has a single text form.

use masker_core::token::Token;

/// Checks that a parsed token is printed as the same text, and that no similar text is the same token.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(token) = Token::parse(text) else { return };
    assert_eq!(token.to_text(), text, "a token has one text");
    assert!(!token.kind().as_str().is_empty() && !token.kid().as_str().is_empty());
    let mut written = String::from("before ");
    token.write_to(&mut written);
    assert_eq!(written.strip_prefix("before "), Some(text));
    for near in [format!(" {text}"), format!("{text} "), format!("{text}A"), format!("{text}="), text.to_lowercase()] {
        if let Ok(other) = Token::parse(&near) {
            assert_eq!(other.to_text(), near, "a token has one text");
        }
    }
}
