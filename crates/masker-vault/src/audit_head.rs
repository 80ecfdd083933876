//! The audit log's head, noted in the vault: a log that was truncated is detected by comparing it with this. The head is
//! written with every group commit, which costs nothing extra, and otherwise from time to time.

use std::sync::Arc;

use super::{
    VaultError,
    audit_anchor::AuditAnchor,
    handles::Handles,
    kept_rows::KeepRows,
    keyrings::KeyUseChange,
    keys::CurrentKeys,
    reader::Reader,
    writer::{Change, CommitDraft, Lane, WriterHandle},
};
use masker_audit::{AuditLog, CurrentPosition};
use masker_store::{
    RowKey, StoreError,
    record::{AuditHeadRow, RecordError},
};

/// Keeps the audit log's head.
pub(crate) struct AuditHeads {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    audit_anchor: Arc<AuditAnchor>,
}

impl AuditHeads {
    pub(crate) fn new(handles: &Handles, audit_anchor: Arc<AuditAnchor>) -> Self {
        AuditHeads { reader: Arc::clone(&handles.reader), writer: Arc::clone(&handles.writer), audit_anchor }
    }

    /// Implements [`Vault::audit_head`](crate::Vault::audit_head).
    pub(crate) async fn audit_head(&self) -> Result<Option<AuditHeadRow>, VaultError> {
        let rows = self.reader.store().get_many(vec![RowKey::audit_head()]).await?;
        let row = rows.into_iter().next().flatten();
        let damaged = |damage: RecordError| StoreError::Damaged(damage.to_string());
        Ok(row.map(|row| AuditHeadRow::decode(&row)).transpose().map_err(damaged)?)
    }

    /// Implements [`Vault::anchor`](crate::Vault::anchor).
    pub(crate) fn anchor(&self, log: Arc<AuditLog>) {
        self.audit_anchor.set_log(log);
    }

    /// Implements [`Vault::position`](crate::Vault::position).
    pub(crate) fn position(&self) -> CurrentPosition {
        self.reader.position()
    }

    /// Implements [`Vault::write_audit_head`](crate::Vault::write_audit_head).
    pub(crate) async fn write_audit_head(&self) -> Result<(), VaultError> {
        match self.audit_anchor.unwritten_head() {
            Some((_, change)) if self.audit_anchor.has_unwritten_operation() => {
                self.writer.commit(KeepRows(vec![change])).await
            }
            _ => Ok(()),
        }
    }

    /// Returns the last change of the vault.
    pub(crate) fn last_change(&self) -> LastChange {
        LastChange { key_use: KeyUseChange, audit_anchor: Arc::clone(&self.audit_anchor) }
    }
}

/// The last change of a vault: the last use of keys and the audit log's head, in one commit. The next start expects no
/// other commit after the event of an orderly stop.
pub(crate) struct LastChange {
    key_use: KeyUseChange,
    audit_anchor: Arc<AuditAnchor>,
}

impl Change for LastChange {
    type Outcome = <KeyUseChange as Change>::Outcome;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        if let Some((_, head)) = self.audit_anchor.unwritten_head() {
            draft.write(head);
        }
        self.key_use.decide(draft)
    }

    fn committed(&self, outcome: &Self::Outcome, keys: &CurrentKeys) {
        self.key_use.committed(outcome, keys);
    }
}
