//! The tag by which the vault remembers a token.

use masker_core::{
    crypto::TokenId,
    token::{AeadBody, Token},
};

/// Identifies a token in 16 bytes: its id, or the first bytes of its nonce if it contains its value. It has no `Debug`, for
/// an id is a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TokenTag([u8; 16]);

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
        let mut tag = [0; 16];
        tag.copy_from_slice(&body.nonce()[..16]);
        TokenTag(tag)
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        TokenTag(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
