//! Uses of honeytokens: what requests showed, and how the audit log and the daemon's log name them.

use std::collections::BTreeMap;

use tracing::warn;

use super::request_id::RequestId;
use masker_audit::{AuditError, AuditEvent, AuditLog, AuditOperation, DetailValue};
use masker_types::limits::HONEYTOKENS_PER_EVENT_MAX;
use masker_vault::HoneytokenId;

/// The honeytokens that one or several requests showed, with how often.
#[derive(Clone, Default)]
pub(super) struct HoneytokenUses {
    times: BTreeMap<HoneytokenId, u64>,
    /// How often others were shown, for which a list of several requests had no room.
    unlisted: u64,
}

impl HoneytokenUses {
    /// Notes that a request showed this one once more.
    pub(super) fn note(&mut self, id: HoneytokenId) {
        *self.times.entry(id).or_default() += 1;
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.unlisted == 0
    }

    /// Returns those of both, with at most [`HONEYTOKENS_PER_EVENT_MAX`] different ones. Of the others, only the number
    /// of uses is kept.
    #[must_use]
    pub(super) fn merged_with(&self, later: &HoneytokenUses) -> Self {
        let mut merged = HoneytokenUses { times: BTreeMap::new(), unlisted: self.unlisted + later.unlisted };
        for (id, times) in self.times.iter().chain(&later.times) {
            if merged.times.len() < HONEYTOKENS_PER_EVENT_MAX || merged.times.contains_key(id) {
                *merged.times.entry(*id).or_default() += times;
            } else {
                merged.unlisted += times;
            }
        }
        merged
    }

    /// Writes a line of the daemon's log for each [`HONEYTOKENS_PER_EVENT_MAX`] of them.
    pub(super) fn log(&self, request_id: RequestId, uid: u32, caller: &str) {
        for Listed { ids, times, unlisted } in self.lists() {
            let (request_id, honeytokens) = (request_id.as_str(), ids.join(" "));
            warn!(request_id, uid, caller, honeytokens, times, unlisted, "honeytoken used");
        }
    }

    /// Records an event for each [`HONEYTOKENS_PER_EVENT_MAX`] of them. `own` is the event of the request, or of several.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(super) async fn record(&self, log: &AuditLog, own: &AuditEvent<'_>) -> Result<(), AuditError> {
        for Listed { ids, times, unlisted } in self.lists() {
            let named = match ids.as_slice() {
                [id] => ("honeytoken_id", DetailValue::Text(id)),
                ids => ("honeytoken_ids", DetailValue::List(ids)),
            };
            let mut detail = vec![named, ("times", DetailValue::Number(times))];
            if unlisted > 0 {
                detail.push(("listed_max", DetailValue::Number(HONEYTOKENS_PER_EVENT_MAX as u64)));
                detail.push(("times_unlisted", DetailValue::Number(unlisted)));
            }
            let event =
                AuditEvent { detail: &detail, op: AuditOperation::HoneytokenRehydrated, outcome: "warning", ..*own };
            log.record(&event).await?;
        }
        Ok(())
    }

    fn lists(&self) -> Vec<Listed> {
        let uses: Vec<(&HoneytokenId, &u64)> = self.times.iter().collect();
        let list = |uses: &[(&HoneytokenId, &u64)]| Listed {
            ids: uses.iter().map(|(id, _)| id.to_string()).collect(),
            times: uses.iter().map(|(_, times)| **times).sum(),
            // Only a single list has any.
            unlisted: self.unlisted,
        };
        uses.chunks(HONEYTOKENS_PER_EVENT_MAX).map(list).collect()
    }
}

/// Honeytokens that one event names.
struct Listed {
    ids: Vec<String>,
    /// How often they were shown.
    times: u64,
    /// How often others were shown.
    unlisted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(numbers: impl IntoIterator<Item = usize>) -> HoneytokenUses {
        let mut uses = HoneytokenUses::default();
        for number in numbers {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            uses.note(HoneytokenId::from_bytes(bytes));
        }
        uses
    }

    fn lists(uses: &HoneytokenUses) -> Vec<(usize, u64, u64)> {
        uses.lists().iter().map(|list| (list.ids.len(), list.times, list.unlisted)).collect()
    }

    #[test]
    fn merged_lists_are_bounded_and_count_what_has_no_room() {
        const MAX: usize = HONEYTOKENS_PER_EVENT_MAX;
        assert!(lists(&HoneytokenUses::default()).is_empty());
        let merged = uses([1, 2, 2]).merged_with(&uses([2, 3]));
        assert_eq!(lists(&merged), [(3, 5, 0)]);
        let many = uses(0..MAX + 5);
        assert_eq!(lists(&many), [(MAX, MAX as u64, 0), (5, 5, 0)], "one request is listed as a whole");
        let merged = HoneytokenUses::default().merged_with(&many);
        assert_eq!(lists(&merged), [(MAX, MAX as u64, 5)]);
        assert_eq!(lists(&merged.merged_with(&uses([0, MAX + 9]))), [(MAX, MAX as u64 + 1, 6)]);
    }
}
