//! Placeholders that get their rows, together with the tokens that are minted for them.

use super::{can_write, plan_owner, row_key, tag_of};
use crate::{
    ItemFailure,
    mint::{MintChange, Minted},
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::placeholder::Placeholder;
use masker_store::{
    RowChange,
    record::{PlaceholderOwner, PlaceholderRow},
};

/// A value whose placeholder needs a row.
pub(crate) struct Placement {
    /// The position of its item in the request.
    pub(crate) position: usize,
    pub(crate) placeholder: Placeholder,
    /// The hash that its code is the beginning of.
    pub(crate) hash: [u8; 32],
    pub(crate) token: PlacedToken,
}

/// The token of a value that gets a placeholder.
#[derive(Clone)]
pub(crate) enum PlacedToken {
    Known(String),
    /// That of a mint in the same change.
    Minted(usize),
}

/// What became of a placement.
pub(crate) enum PlacementOutcome {
    /// The placeholder is that of this token, which is durable with it.
    Placed(String),
    /// It is that of this other token.
    Taken { own: String, other: String },
    /// There is no token.
    Failed(ItemFailure),
}

/// Mints tokens and writes the rows of placeholders.
pub(crate) struct PlacementChange {
    owner: PlaceholderOwner,
    mint: MintChange,
    placements: Vec<(Placeholder, PlacedToken)>,
}

impl PlacementChange {
    pub(crate) fn new(owner: PlaceholderOwner, mint: MintChange, placements: &[Placement]) -> Self {
        let placements = placements.iter().map(|one| (one.placeholder, one.token.clone())).collect();
        PlacementChange { owner, mint, placements }
    }
}

/// The outcomes of the mints and of the placements of a change.
type PlacedBatch = (Vec<Result<Minted, ItemFailure>>, Vec<PlacementOutcome>);

impl Change for PlacementChange {
    /// `None` if the owner is a session that has ended. Then nothing was minted.
    type Outcome = Option<PlacedBatch>;

    fn row_count(&self) -> usize {
        self.mint.row_count() + self.placements.len()
    }

    fn lane(&self) -> Lane {
        self.mint.lane()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        plan_owner(self.owner, plan);
        self.mint.plan_reads(plan);
        self.placements.iter().for_each(|(placeholder, _)| plan.row(row_key(self.owner, placeholder)));
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        if !can_write(self.owner, draft) {
            return None;
        }
        let minted = self.mint.decide(draft);
        let placed = self.placements.iter().map(|(placeholder, token)| {
            let token = match token {
                PlacedToken::Known(token) => token.clone(),
                PlacedToken::Minted(position) => match &minted[*position] {
                    Ok(minted) => minted.found.token(),
                    Err(failure) => return PlacementOutcome::Failed(failure.clone()),
                },
            };
            place(draft, self.owner, placeholder, token)
        });
        let placed = placed.collect();
        Some((minted, placed))
    }
}

fn place(
    draft: &mut CommitDraft<'_>,
    owner: PlaceholderOwner,
    placeholder: &Placeholder,
    token: String,
) -> PlacementOutcome {
    let key = row_key(owner, placeholder);
    let Some(row) = draft.row(&key) else {
        if let Some(tag) = tag_of(&token) {
            draft.note_in_flight(tag);
        }
        draft.write(RowChange::Put(key, PlaceholderRow { token: token.clone() }.encode()));
        return PlacementOutcome::Placed(token);
    };
    match PlaceholderRow::decode(row) {
        Ok(row) if row.token == token => PlacementOutcome::Placed(token),
        Ok(row) => PlacementOutcome::Taken { own: token, other: row.token },
        Err(_) => {
            draft.count_damage();
            PlacementOutcome::Failed(ItemFailure::Damaged)
        }
    }
}
