//! The tag by which the vault remembers a token.

use masker_core::{
    crypto::TokenId,
    token::{AeadBody, Token},
};

/// Identifies a token in 20 bytes: its id, or the first bytes of its nonce if it contains its value. It has no `Debug`, for
/// an id is a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TokenTag([u8; 20]);

impl TokenTag {
    pub(super) fn of(token: &Token) -> Self {
        match token {
            Token::Vault { id, .. } => TokenTag::of_id(*id),
            Token::Aead { body, .. } => TokenTag::of_body(body),
        }
    }

    pub(super) fn of_id(id: TokenId) -> Self {
        TokenTag(*id.as_bytes())
    }

    pub(super) fn of_body(body: &AeadBody) -> Self {
        let mut tag = [0; 20];
        tag.copy_from_slice(&body.nonce()[..20]);
        TokenTag(tag)
    }

    pub(super) const fn from_bytes(bytes: [u8; 20]) -> Self {
        TokenTag(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}
