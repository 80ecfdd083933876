//! What the daemon does with API keys from time to time: it stores their last use and how they end, and counts them.

use super::{Service, api_keys::state};
use masker_vault::VaultError;

impl Service {
    /// Notes which keys have expired and which grace periods are over, and stores that.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; it can be tried again.
    pub async fn end_api_keys(&self) -> Result<(), VaultError> {
        self.note_ended_keys();
        if self.access.keys().has_unsaved_ends() { self.note_api_key_use().await } else { Ok(()) }
    }

    /// Notes which keys have expired and which grace periods are over. They end for good, so nothing is noted while the audit
    /// log does not trust the clock.
    pub(super) fn note_ended_keys(&self) {
        let before_ms = self.now_ms();
        if self.audit.as_ref().is_none_or(|log| log.clock_is_trusted()) {
            // The log has read the clock between these two times: a clock that was ahead in one of them only is not used.
            self.access.keys().note_ends(before_ms.min(self.now_ms()));
        }
    }

    /// Stores when API keys were last used, and which of their secrets have ended.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails; it can be tried again.
    pub async fn note_api_key_use(&self) -> Result<(), VaultError> {
        // A key is written as a whole. Without the lock, a key that is revoked meanwhile would be written as it was before,
        // and be valid again after the next start.
        let _guard = self.key_changes.lock().await;
        let used = self.access.keys().unsaved_uses();
        self.vault.note_api_key_use(&used).await?;
        self.access.keys().mark_uses_saved(&used);
        Ok(())
    }

    /// Brings the gauges of API keys up to date.
    pub(super) fn measure_api_keys(&self) {
        let now_ms = self.now_ms();
        self.access.prune_metrics(&self.metrics.access, now_ms);
        let gauge = &self.metrics.access.api_keys;
        gauge.reset();
        for key in self.access.keys().list() {
            let state = if key.is_inactive(now_ms) { "inactive" } else { state(&key, now_ms) };
            gauge.with_label_values(&[state]).inc();
        }
    }
}
