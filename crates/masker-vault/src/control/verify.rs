//! The check of all rows that the control key authenticates.

use super::{spaces, state::ControlState, store::ControlledStore};
use masker_core::crypto::RowSum;
use masker_store::{
    RowKey, StoreError,
    record::{RowName, split_tag},
};

/// Rows read at a time.
const PAGE_ROWS: usize = 1_000;

/// What is wrong with the rows of a vault; nothing if the list is empty.
#[derive(Debug, Default)]
pub(crate) struct ControlCheck {
    pub(crate) problems: Vec<String>,
}

impl ControlledStore {
    /// Verifies the tag of every row that has one, the manifest of the control rows, and the sum of the tombstones. The sum
    /// is compared if no tombstone was written meanwhile.
    pub(crate) async fn verify(&self) -> Result<ControlCheck, StoreError> {
        let mut check = ControlCheck::default();
        let before = self.state.load_full();
        let mut tombstones = RowSum::default();
        for space in spaces::TAGGED {
            let mut unverified = 0_u64;
            let mut after = None;
            loop {
                let state = self.state.load_full();
                let page = self.store.scan_after(space, after.clone(), PAGE_ROWS).await?;
                let bad = page.rows.iter().filter(|(key, stored)| !state.is_verified(key, stored)).count() as u64;
                if bad > 0 && !state.trusts_as(&self.state.load()) {
                    // The control key was replaced meanwhile.
                    continue;
                }
                unverified += bad;
                if space == RowName::TOMBSTONES {
                    let sums = page.rows.iter().map(|(key, stored)| state.sum_of(key, split_tag(stored).0));
                    tombstones = sums.fold(tombstones, RowSum::plus);
                }
                after = page.rows.last().map(|(key, _): &(RowKey, _)| key.clone());
                if page.is_last {
                    break;
                }
            }
            if unverified > 0 {
                let rows = if unverified == 1 { "row does" } else { "rows do" };
                check.problems.push(format!(
                    "{}: {unverified} {rows} not verify under the vault's control key",
                    spaces::name(space)
                ));
            }
        }
        if !before.is_sound {
            check.problems.push("the control rows are not those that the vault wrote".to_owned());
        }
        if are_tombstones_unchanged(&before, &self.state.load()) && before.tombstones != Some(tombstones) {
            check.problems.push("tombstones were added or removed without the vault's control key".to_owned());
        }
        Ok(check)
    }
}

/// Returns whether no tombstone changed between two states.
fn are_tombstones_unchanged(before: &ControlState, now: &ControlState) -> bool {
    before.trusts_as(now)
        && before.tombstone_nonce == now.tombstone_nonce
        && !before.tombstones_in_flight
        && !now.tombstones_in_flight
}
