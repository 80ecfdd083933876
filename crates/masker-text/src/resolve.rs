//! Overlaps: no byte is in two findings.

use crate::candidate::Candidate;
use std::cmp::Reverse;

/// Keeps the strongest candidates that do not overlap: by rank, then the longer one, then the one that begins first.
pub(crate) fn resolve(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| {
        (
            Reverse(candidate.rank),
            Reverse(candidate.end - candidate.start),
            candidate.start,
            Reverse(candidate.confidence),
        )
    });
    let mut kept: Vec<Candidate> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        // Kept candidates are sorted and disjoint, so only the neighbours can overlap.
        let index = kept.partition_point(|other| other.start < candidate.start);
        let left = index.checked_sub(1).is_some_and(|index| kept[index].end > candidate.start);
        let right = kept.get(index).is_some_and(|other| other.start < candidate.end);
        if !left && !right && candidate.start < candidate.end {
            kept.insert(index, candidate);
        }
    }
    kept
}
