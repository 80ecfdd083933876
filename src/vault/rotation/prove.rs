//! The proving pass: every row read again, to show that nothing is left under the keys that records were moved from.
//!
//! What is written while it goes on is known from the books, which change with every commit: a key is proven unneeded
//! where the pass found nothing under it and the books, at its end, have nothing under it either. So nothing escapes that
//! comes behind the pass.

use std::collections::HashMap;

use super::{
    RotationId, Route,
    step::{Stepped, Transition},
};
use crate::{
    crypto::{Fingerprint, TokenId},
    kind::Kid,
    store::{
        Page, RowKey,
        record::{Alias, Named, Record, RotationRow},
    },
    vault::{Vault, VaultError, parallel},
};

/// Rows read at a time: requests are served between.
const PAGE_ROWS: usize = 1_000;

/// How far a proving pass is. It begins anew after a restart.
#[derive(Default)]
pub(super) struct Pass {
    aliases: bool,
    after: Option<RowKey>,
    found: u64,
}

impl Vault {
    /// Reads some rows of the proving pass; at its end, ends the rotation.
    pub(super) async fn prove_rotation(&self, id: RotationId, row: &RotationRow) -> Result<Stepped, VaultError> {
        let route = Route::of(row);
        let mut pass = self.shared.rotations.take_pass(id);
        let space = if pass.aliases { Named::ALIASES } else { Named::RECORDS };
        let Page { rows, end } = self.shared.store.scan_after(space, pass.after.take(), PAGE_ROWS).await?;
        let read = rows.len();
        if pass.aliases {
            pass.found += self.aliases_left(&route, &rows).await?;
        } else {
            // A record that cannot be read may be under any key.
            let left = parallel::map(&rows, |(_, row)| Record::decode(row).map_or(true, |record| route.moves(&record)));
            pass.found += left.into_iter().map(u64::from).sum::<u64>();
        }
        match (end, pass.aliases) {
            (false, _) => pass.after = rows.last().map(|(key, _)| key.clone()),
            (true, false) => pass.aliases = true,
            (true, true) => {
                let ended = self.writer.change_rotation(id, Transition::Proven(pass.found == 0)).await?;
                // It may have been cancelled meanwhile, which ends it as well.
                drop(ended);
                return Ok(Stepped::Read(read));
            }
        }
        self.shared.rotations.keep_pass(id, pass);
        Ok(Stepped::Read(read))
    }

    /// How many of these aliases are not those of their records, or of records that were to be moved.
    async fn aliases_left(&self, route: &Route, rows: &[(RowKey, Vec<u8>)]) -> Result<u64, VaultError> {
        let aliases: Vec<Option<(TokenId, Alias)>> = rows
            .iter()
            .map(|(key, row)| match (Named::parse(key), Alias::decode(row)) {
                (Ok(Named::Alias(index)), Ok(alias)) => Some((TokenId::from_bytes(index), alias)),
                _ => None,
            })
            .collect();
        let targets: Vec<[u8; 16]> = aliases.iter().flatten().map(|(_, alias)| alias.target).collect();
        let found = self.shared.store.get_many(targets.iter().map(RowKey::record).collect()).await?;
        let records: HashMap<[u8; 16], Record> =
            targets.into_iter().zip(found).filter_map(|(id, row)| Some((id, Record::decode(&row?).ok()?))).collect();
        let keys = self.shared.keys.load();
        let is_sound = |(index, alias): &(TokenId, Alias)| {
            let Some(record) = records.get(&alias.target) else { return false };
            let name: (Kid, Fingerprint) = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
            // Of a key that is not loaded nothing can be verified, and nothing was moved from it either.
            let verifies = keys
                .ring
                .by_fingerprint(name.0, name.1)
                .is_none_or(|generation| generation.vouches_for(*index, TokenId::from_bytes(alias.target), &alias.tag));
            record.alias == Some(*index.as_bytes()) && !route.moves(record) && verifies
        };
        let suspects: Vec<(RowKey, Vec<u8>)> = rows
            .iter()
            .zip(&aliases)
            .filter(|(_, alias)| !alias.as_ref().is_some_and(is_sound))
            .map(|(row, _)| row.clone())
            .collect();
        // An alias goes with its record, in one batch: one that is still there had none when its record was read.
        let still = self.shared.store.get_many(suspects.iter().map(|(key, _)| key.clone()).collect()).await?;
        Ok(suspects.iter().zip(still).filter(|((_, before), now)| now.as_ref() == Some(before)).count() as u64)
    }
}
