//! Finding and placing the placeholders of a batch of values.

use super::{
    VaultError,
    keys::KeysInForce,
    mint::MintChange,
    placeholders::{PlacedToken, Placement, PlacementChange, PlacementOutcome},
    rehydrate::open_token,
    tokenize::{Tokenized, Tokenizer, ValueInput, note_minted},
};
use masker_access::CallerId;
use masker_core::{
    crypto::PlaceholderKey,
    placeholder::{CODE_CHARS_MIN, Placeholder, PlaceholderCode},
    token::Token,
};
use masker_store::record::PlaceholderOwner;
use masker_types::{
    kind::{Context, EntityKind, Value},
    mode::Mode,
};

/// Gives values their placeholders.
pub(super) struct Placer<'r> {
    pub(super) tokenizer: &'r Tokenizer,
    pub(super) keys: &'r KeysInForce,
    pub(super) mode: Mode,
    pub(super) owner: PlaceholderOwner,
    pub(super) caller: CallerId,
    pub(super) items: &'r [ValueInput<'r>],
}

/// A value without a placeholder yet.
struct Unplaced {
    position: usize,
    kind: EntityKind,
    hash: [u8; 32],
    /// The length of the next code that is tried.
    chars: usize,
    token: PlacedToken,
}

impl Placer<'_> {
    /// Commits a mint, whose tokens are those of the items at `minting`, and gives every item with a token its placeholder.
    pub(super) async fn place(
        &self,
        mint: MintChange,
        minting: &[usize],
        results: &mut [Option<Tokenized>],
        placeholders: &mut [Option<Placeholder>],
    ) -> Result<(), VaultError> {
        let with_token = results.iter().enumerate().filter_map(|(position, result)| match result {
            Some(Tokenized::Token { text, .. }) => Some((position, PlacedToken::Known(text.clone()))),
            _ => None,
        });
        let minted = minting.iter().enumerate().map(|(mint, position)| (*position, PlacedToken::Minted(mint)));
        let with_token: Vec<(usize, PlacedToken)> = with_token.chain(minted).collect();
        if with_token.is_empty() {
            return Ok(());
        }
        let key = self.tokenizer.placeholders.key(self.owner, self.caller.clone()).await?;
        let mut unplaced: Vec<Unplaced> =
            with_token.into_iter().filter_map(|(position, token)| self.unplaced(&key, position, token)).collect();
        let mut mint = Some(mint).filter(|_| !minting.is_empty());
        loop {
            let placements = self.find(&mut unplaced, results, placeholders).await?;
            if placements.is_empty() && mint.is_none() {
                return Ok(());
            }
            let lane = super::writer::Lane::Caller(self.caller.clone());
            let change = mint.take().unwrap_or_else(|| MintChange::new(lane, Vec::new()));
            let change = PlacementChange::new(self.owner, change, &placements);
            let (minted, placed) = self.tokenizer.writer.commit(change).await?.ok_or(VaultError::SessionEnded)?;
            note_minted(results, minting.get(..minted.len()).unwrap_or_default(), minted);
            for (placement, outcome) in placements.into_iter().zip(placed) {
                let position = placement.position;
                match outcome {
                    PlacementOutcome::Placed(token) => {
                        self.set(position, placement.placeholder, token, results, placeholders);
                    }
                    PlacementOutcome::Taken { own, other } => {
                        let mut one = Unplaced {
                            position,
                            kind: placement.placeholder.kind,
                            hash: placement.hash,
                            chars: placement.placeholder.code.digits().len(),
                            token: PlacedToken::Known(own),
                        };
                        if self.is_same_value(position, &other) {
                            self.set(position, placement.placeholder, other, results, placeholders);
                        } else {
                            one.chars += 1;
                            unplaced.push(one);
                        }
                    }
                    PlacementOutcome::Failed(failure) => results[position] = Some(Tokenized::Failed(failure)),
                }
            }
        }
    }

    fn unplaced(&self, key: &PlaceholderKey, position: usize, token: PlacedToken) -> Option<Unplaced> {
        let item = &self.items[position];
        // What has a token was checked before.
        let kind = EntityKind::parse(item.kind)?;
        let hash = key.hash(kind, Context::new(item.context)?, Value::new(item.value)?);
        Some(Unplaced { position, kind, hash, chars: CODE_CHARS_MIN, token })
    }

    /// Finds the placeholders that values have already. Returns those that need a row, and takes all from the list.
    async fn find(
        &self,
        unplaced: &mut Vec<Unplaced>,
        results: &mut [Option<Tokenized>],
        placeholders: &mut [Option<Placeholder>],
    ) -> Result<Vec<Placement>, VaultError> {
        let mut placements = Vec::new();
        while !unplaced.is_empty() {
            let mut tried = Vec::with_capacity(unplaced.len());
            for one in unplaced.drain(..) {
                match PlaceholderCode::of_hash(&one.hash, one.chars) {
                    // Whether the code is free depends on the token that the writer finds or mints.
                    Some(code) if matches!(one.token, PlacedToken::Minted(_)) => {
                        let Unplaced { position, kind, hash, token, .. } = one;
                        placements.push(Placement { position, placeholder: Placeholder { kind, code }, hash, token });
                    }
                    Some(code) => tried.push((Placeholder { kind: one.kind, code }, one)),
                    // A value that was forgotten again and again. It stays out of the text.
                    None => results[one.position] = Some(Tokenized::Redacted(one.kind)),
                }
            }
            let codes: Vec<Placeholder> = tried.iter().map(|(placeholder, _)| *placeholder).collect();
            let tokens = self.tokenizer.placeholders.tokens(self.owner, &codes).await?;
            for ((placeholder, mut one), token) in tried.into_iter().zip(tokens) {
                let Some(other) = token else {
                    let Unplaced { position, hash, token, .. } = one;
                    placements.push(Placement { position, placeholder, hash, token });
                    continue;
                };
                let is_own = matches!(&one.token, PlacedToken::Known(own) if *own == other);
                if is_own || self.is_same_value(one.position, &other) {
                    self.set(one.position, placeholder, other, results, placeholders);
                } else {
                    one.chars += 1;
                    unplaced.push(one);
                }
            }
        }
        Ok(placements)
    }

    /// Sets the placeholder of an item, and its token.
    fn set(
        &self,
        position: usize,
        placeholder: Placeholder,
        token: String,
        results: &mut [Option<Tokenized>],
        placeholders: &mut [Option<Placeholder>],
    ) {
        placeholders[position] = Some(placeholder);
        if let Some(Tokenized::Token { text, .. }) = &mut results[position] {
            *text = token;
        }
    }

    /// Returns whether a token that contains its value has that of an item. Such tokens can differ though their values do
    /// not; those of records do not.
    fn is_same_value(&self, position: usize, token: &str) -> bool {
        let item = &self.items[position];
        let (Ok(Token::Aead { kind, kid, body }), Some(context)) = (Token::parse(token), Context::new(item.context))
        else {
            return false;
        };
        open_token(&self.keys.ring, self.mode, kind, kid, &body, context)
            .is_ok_and(|(value, _)| value.as_str() == item.value)
    }
}
