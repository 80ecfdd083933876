//! A map over a batch on all cores, without a task or a thread for each item.

use rayon::prelude::*;
use tokio::runtime::{Handle, RuntimeFlavor};

use masker_types::limits::PARALLEL_ITEMS_MIN;

/// Returns `f` of every item, in order. Small batches run on this thread; large ones on all cores, while the runtime moves
/// this thread's other tasks to another.
pub(super) fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    if items.len() < PARALLEL_ITEMS_MIN {
        return items.iter().map(f).collect();
    }
    let work = || items.par_iter().with_min_len(PARALLEL_ITEMS_MIN / 4).map(f).collect();
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_the_order_at_every_size() {
        for size in [0, 1, 127, 128, 129, 10_000] {
            let items: Vec<usize> = (0..size).collect();
            assert_eq!(super::map(&items, |i| i * 2), items.iter().map(|i| i * 2).collect::<Vec<_>>());
        }
    }
}
