//! Ids that find a request in the log.

use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;

/// Makes ids that are unique across runs of the daemon: 64 random bits for each run, then a count.
pub(super) struct RequestIds {
    run: u64,
    count: AtomicU64,
}

/// A request id: 32 hex digits.
#[derive(Clone, Copy)]
pub(super) struct RequestId([u8; 32]);

impl RequestIds {
    pub(super) fn new() -> Self {
        RequestIds { run: rand::random(), count: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 32];
        HEXLOWER.encode_mut(&self.run.to_be_bytes(), &mut id[..16]);
        HEXLOWER.encode_mut(&count.to_be_bytes(), &mut id[16..]);
        RequestId(id)
    }
}

impl RequestId {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_str(&self) -> &str {
        // Hex digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::RequestIds;

    #[test]
    fn ids_differ_within_and_between_runs() {
        let (a, b) = (RequestIds::new(), RequestIds::new());
        assert_ne!(a.next().as_str(), a.next().as_str());
        assert_ne!(a.next().as_str()[..16], b.next().as_str()[..16]);
        assert_eq!(a.next().as_str().len(), 32);
    }
}
